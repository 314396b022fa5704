"""Zip archives written by hand, each with one fault."""

import bz2
import lzma
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.data import fetch
from crnn_jax.errors import DataError
from tests.data.fetch_test import png, texts
from tests.faults import archives


def entry(
    name: str | bytes, content: bytes = b"", method: int = 0, **fields: Any
) -> tuple[Any, Any, Any]:
    """A local and a central header, with `fields` in place of the true values."""
    raw_name = name if isinstance(name, bytes) else name.encode()
    pack = {0: bytes, 8: lambda c: zlib_raw(c), 12: bz2.compress, 14: lzma_raw}.get(method, bytes)
    packed = fields.get("packed", pack(content))
    values = {
        "flags": 0, "crc": zlib.crc32(content), "size": len(content), "extra": b"",
        "stored": len(packed), **fields,
    }  # fmt: skip
    common = struct.pack(
        "<HHHHHIIIHH", 63, values["flags"], method, 0, 33, values["crc"], values["stored"],
        values["size"], len(raw_name), len(values["extra"]),
    )[2:]  # fmt: skip
    local = b"PK\3\4" + struct.pack("<H", 63) + common + raw_name + values["extra"] + packed
    central = b"PK\1\2" + struct.pack("<HH", 63, 63) + common
    return local, central + struct.pack("<HHHI", 0, 0, 0, 0), raw_name + values["extra"]


def zlib_raw(content: bytes) -> Any:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def lzma_raw(content: bytes) -> Any:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}]
    raw_stream = lzma.compress(content, lzma.FORMAT_RAW, filters=filters)
    properties = bytes([93]) + struct.pack("<I", 1 << 16)
    return struct.pack("<BBH", 9, 4, 5) + properties + raw_stream


def archive(*entries: Any, at: Any = None) -> Any:
    body, directory = bytearray(), bytearray()
    for i, (local, central, rest) in enumerate(entries):
        place = len(body) if at is None else at[i]
        directory += central + struct.pack("<I", place) + rest
        body += local
    end = struct.pack("<HHHHIIH", 0, 0, *[len(entries) % 65536] * 2, len(directory), len(body), 0)
    return body + directory + b"PK\5\6" + end


NAMES = [f"{text}.png" for text in texts(12)]
PNG = png()
REST = [entry(name, PNG) for name in NAMES[1:]]


@pytest.mark.parametrize("method", [0, 8, 12, 14])
def test_entries_of_each_compression_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: int
) -> None:
    """Without their faults, the archives of the next test are valid."""
    monkeypatch.setattr(fetch, "COUNT", 12)
    odd = [entry(name) for name in (".", "./", "", "a/./", "/".join("abc") + "/")]
    (tmp_path / "zip").write_bytes(archive(entry(NAMES[0], PNG, method), *REST, *odd) + b"after")
    (tmp_path / "out").mkdir()
    fetch.unpack(tmp_path / "zip", tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == dict.fromkeys(
        NAMES, PNG
    )


ONE, LARGE = NAMES[0], b"\0" * 2**20
WRONG = {
    "crc": (entry(ONE, PNG, crc=1), "Bad CRC-32"),
    "encrypted": (entry(ONE, PNG, flags=1), "is encrypted"),
    "unknown compression": (entry(ONE, PNG, 77), "not a valid zip"),
    "corrupt deflate": (entry(ONE, PNG, 8, packed=b"\xff" * 99), "not a valid zip"),
    "corrupt bzip2": (entry(ONE, PNG, 12, packed=b"BZh9" + b"\xff" * 99), "not a valid zip"),
    "corrupt lzma": (entry(ONE, PNG, 14, packed=lzma_raw(PNG)[:9] + b"\xff" * 99), "not a valid"),
    "no lzma header": (entry(ONE, PNG, 14, packed=b"\1"), "not a valid zip"),
    "cut off deflate": (entry(ONE, PNG, 8, packed=zlib_raw(PNG)[:-9]), "not a valid zip"),
    "too large": (entry(ONE, PNG, 8, size=2**31), "unpacks to more than 64 MiB"),
    "smaller than it is": (entry(ONE, LARGE, 8, size=9), "not a valid zip"),
    "larger than it is": (entry(ONE, PNG, size=len(PNG) + 9, stored=len(PNG) + 9), "overlap"),
    "zip64 without sizes": (entry(ONE, PNG, size=2**32 - 1, extra=b"\1\0\0\0"), "not a valid zip"),
    "zip64 of 2**62": (
        entry(ONE, PNG, size=2**32 - 1, extra=b"\1\0\x08\0" + struct.pack("<Q", 2**62)),
        "unpacks to more than 64 MiB",
    ),
    "not UTF-8": (entry(b"\xff\xfe.png", PNG, flags=0x800), "not a valid zip"),
    "a surrogate": (entry(b"\xed\xa0\x80.png", PNG, flags=0x800), "not a valid zip"),
    "NUL": (entry(b"aaaaa\0.png", PNG), "contains 11 images"),
    "control characters": (entry(b"\r\n\x1b[2J.png", PNG), r"the name \\r\\n\\x1b\[2J.png is"),
    "a long name": (entry("a" * 60_000 + ".png", PNG), r"the name a+\.\.\. is not"),
    "twice": (entry(NAMES[1], PNG), "two images with the same name"),
    "nested": (entry("a.zip", archive(*REST)), "contains 11 images"),
    "a drive": (entry("c:/22222.png", PNG), "leads out of its folder"),
    "no image": (entry(ONE, b"text"), f"{ONE}: "),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_entry_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(fetch, "COUNT", 12)
    bad, message = WRONG[name]
    (tmp_path / "zip").write_bytes(archive(bad, *REST))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=message) as error:
        fetch.unpack(tmp_path / "zip", tmp_path / "out")
    assert "\n" not in str(error.value)


def test_entries_that_share_bytes_or_are_too_many_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "COUNT", 12)
    shared = archive(entry(ONE, PNG), *REST, at=[0] * 12)
    empty = entry("a")
    many = archive(*[empty] * 300_000)
    for content, message in ((shared, "overlap"), (many, "more than 20000 entries")):
        (tmp_path / "zip").write_bytes(content)
        with pytest.raises(DataError, match=message):
            fetch.unpack(tmp_path / "zip", tmp_path)


def test_mutated_archives_are_read_or_refused(tmp_path: Path) -> None:
    figures = archives.archives(tmp_path, random.Random(0), 200 / 5000)
    assert figures["archives"] == 200
    assert figures["refused"] > 100
