"""Downloads from a server on the loopback address that behaves badly on request."""

import bz2
import io
import itertools
import lzma
import os
import random
import socketserver
import struct
import threading
import zipfile
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from crnn_jax import __main__, download, fetch
from crnn_jax.errors import DataError, RunError
from tests.faults import archives


def png(size=(200, 50)):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros(size[::-1], np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def zipped(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def texts(count):
    """`count` distinct names of five of the 19 symbols."""
    symbols, base = fetch.SYMBOLS, len(fetch.SYMBOLS)
    return ["".join(symbols[i // base**k % base] for k in range(5)) for i in range(count)]


GOOD = {f"captcha_images_v2/{text}.png": png() for text in texts(12)}


class Server(ThreadingHTTPServer):
    """Serves `content`; each entry of `faults` spoils one request."""

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.faults, self.ranges = content, [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        content, given = self.server.content, self.headers.get("Range")
        self.server.ranges.append(given)
        fault = self.server.faults.pop(0) if self.server.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        start = int(given[6:-1]) if given and fault != "no range" else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : len(content) // 2] if fault == "cut" else content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def serve(monkeypatch):
    monkeypatch.setattr(fetch, "COUNT", 12)
    servers = []

    def start(content):
        servers.append(Server(content))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_set_is_fetched_once(serve, tmp_path):
    server = serve(zipped(GOOD | {"__MACOSX/._22222.png": b"?", "captcha_images_v2/.x": b""}))
    folder = tmp_path / "data" / "set"
    assert fetch.fetch(server.url, folder, 0)
    assert sorted(p.stem for p in folder.iterdir()) == sorted(texts(12))
    assert not fetch.fetch(server.url, folder, 0)
    assert server.ranges == [None]
    assert [p.name for p in folder.parent.iterdir()] == ["set"]


def test_a_download_that_is_cut_off_goes_on(serve, tmp_path):
    server = serve(zipped(GOOD))
    server.faults = ["cut", 503, "no range"]
    download.download(server.url, tmp_path / "set.zip", 2**20, 0)
    half = f"bytes={len(server.content) // 2}-"
    assert server.ranges == [None, half, half]
    # The last answer was the whole again, in the place of the first half.
    assert (tmp_path / "set.zip").read_bytes() == server.content
    server.faults = ["cut"]
    download.download(server.url, tmp_path / "other.zip", 2**20, 0)
    assert (tmp_path / "other.zip").read_bytes() == server.content


def test_what_was_got_stays_for_the_next_command(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "TRIES", 1)
    server = serve(zipped(GOOD))
    server.faults = ["cut"]
    with pytest.raises(DataError, match=r"connection ended after \d+ of \d+ bytes"):
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert fetch.fetch(server.url, tmp_path / "set", 0)
    assert server.ranges[1] == f"bytes={len(server.content) // 2}-"


def test_a_beginning_of_another_file_is_thrown_away(serve, tmp_path):
    server = serve(zipped(GOOD))
    server.faults = [416]
    (tmp_path / "set.zip.partial").write_bytes(b"x" * 9)
    assert fetch.fetch(server.url, tmp_path / "set", 0)
    assert server.ranges == ["bytes=9-", None]


def test_an_answer_that_will_not_change_is_not_asked_for_again(serve, tmp_path):
    server = serve(b"")
    server.faults = [404] * 9
    with pytest.raises(DataError, match=r"could not be downloaded: the server says 404") as error:
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert "\n" not in str(error.value)
    assert len(server.ranges) == 1
    with pytest.raises(DataError, match="only http and https"):
        fetch.fetch("file:///etc/hostname", tmp_path / "set", 0)


def test_offline_it_fails_with_one_sentence(serve, tmp_path):
    server = serve(b"")
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match=r"could not be downloaded: .*refused") as error:
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "set").exists()


LINK = zipfile.ZipInfo("link.png")
LINK.external_attr = 0o120777 << 16


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (None, "not a sound zip archive"),
        (GOOD | {"../22.png": png()}, r"leads out of its folder: \.\./22\.png"),
        (GOOD | {"/22.png": png()}, "leads out of its folder"),
        (GOOD | {"a\\..\\..\\22.png": png()}, "leads out of its folder"),
        (GOOD | {LINK: b"/etc/passwd"}, "has a symbolic link: link.png"),
        (GOOD | {f"other/{texts(1)[0]}.png": png()}, "two images of the same name"),
        (dict(list(GOOD.items())[1:]), "holds 11 images, not 12"),
        (dict(list(GOOD.items())[1:]) | {"2222a.png": png()}, "the name 2222a.png is not 5 of"),
        (dict(list(GOOD.items())[1:]) | {"yyyyy.png": png((100, 50))}, "yyyyy.png has 100x50"),
        (dict(list(GOOD.items())[1:]) | {"yyyyy.png": b"GIF"}, "yyyyy.png: not an image"),
    ],
)
def test_an_archive_of_no_use_leaves_nothing(serve, tmp_path, entries, message):
    server = serve(b"<html>not found" if entries is None else zipped(entries))
    with pytest.raises(DataError, match=message):
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert not list(tmp_path.iterdir())


def test_a_bomb_is_refused_by_what_it_says_and_by_what_it_is(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MOST", 100_000)
    server = serve(zipped(GOOD | {"22222.png": b"\0" * 200_000}))
    with pytest.raises(DataError, match="unpacks to more than"):
        fetch.fetch(server.url, tmp_path / "set", 0)
    # The directory of the archive says ten bytes, the file has more: the check sum tells.
    lying = bytearray(zipped(dict(list(GOOD.items())[:11]) | {"yyyyy.png": b"\0" * 90_000}))
    place = lying.rindex(b"PK\1\2") + 24
    lying[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(DataError, match="not a sound zip archive"):
        fetch.fetch(serve(bytes(lying)).url, tmp_path / "set", 0)
    with pytest.raises(DataError, match="could not be downloaded: it has more than"):
        fetch.fetch(serve(b"x" * 200_000).url, tmp_path / "set", 0)
    assert not list(tmp_path.iterdir())


class Raw(socketserver.ThreadingTCPServer):
    """Answers each connection with the next of `answers`, bytes or a function of the socket."""

    daemon_threads = True

    def __init__(self, *answers):
        super().__init__(("127.0.0.1", 0), None)
        self.answers, self.requests = itertools.cycle(answers), []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/set.zip"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def finish_request(self, request, _):
        received = b""
        while b"\r\n\r\n" not in received and (block := request.recv(9999)):
            received += block
        self.requests.append(received)
        answer = next(self.answers)
        if callable(answer):
            answer(request)
        else:
            request.sendall(answer)

    def handle_error(self, *_):
        pass  # the client went away


@pytest.fixture
def raw():
    servers = []

    def start(*answers):
        servers.append(Raw(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


OK = b"HTTP/1.1 200 OK\r\n"


def redirect(place):
    return b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: " + place + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "message", "tries"),
    [
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n9\r\nab", "middle of the", 3),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", "middle of the answer", 3),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000, "more than 65536 bytes", 1),
        (OK + b"Content-Length: 9\r\n\r\nabc", "ended after 3 of 9 bytes", 3),
        (b"", "closed connection without response", 3),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "does not answer in HTTP", 1),
        (b"HTTP/1.1 abc\r\n\r\n", "does not answer in HTTP", 1),
        (b"HTTP/1.1 99999999999999999999 x\r\n\r\n", "does not answer in HTTP", 1),
        (OK + b"X: " + b"a" * 70_000 + b"\r\n\r\n", "more than 65536 bytes", 1),
        (OK + b"X: 1\r\n" * 200 + b"\r\n", "more than 100 headers", 1),
        (b"HTTP/1.1 404 a\x07b\r\n\r\n", r"the server says 404 a\\x07b$", 1),
        (b"HTTP/1.1 503 \r\n\r\n", "the server says 503", 3),
        (redirect(b"/set.zip"), "redirects without end", None),
        (redirect(b"file:///etc/passwd"), "'file:///etc/passwd' is not allowed", 1),
        (redirect(b"ftp://127.0.0.1/x"), "redirects to ftp://127.0.0.1/x: only http", 1),
        (redirect(b"http://[::1/x"), "Invalid IPv6 URL", 1),
        (redirect(b"http://127.0.0.1:99999/"), "not a valid URL: Port out of range", 1),
        (redirect(b"\xff\xfe://x"), "could not be downloaded", None),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_what_a_server_answers_wrongly_is_one_sentence(
    raw, tmp_path, monkeypatch, answer, message, tries
):
    monkeypatch.setattr(download, "TRIES", 3)
    server = raw(answer)
    with pytest.raises(DataError, match=message) as error:
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{server.url} could not be downloaded: ")
    assert tries is None or len(server.requests) == tries
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    "length", [b"9" * 5000, b"-1", b"\xb2", b"x", b"9" * 15 + b"\r\nContent-Length: 1"]
)
def test_a_length_that_is_no_number_is_not_trusted(raw, tmp_path, length):
    server = raw(OK + b"Content-Length: " + length + b"\r\n\r\nPK no archive")
    with pytest.raises(DataError):
        fetch.fetch(server.url, tmp_path / "set", 0)


def test_a_chunked_download_that_breaks_off_is_resumed(raw, tmp_path):
    def chunked(content, end):
        return f"Transfer-Encoding: chunked\r\n\r\n{len(content):x}\r\n".encode() + content + end

    server = raw(
        OK + chunked(b"abc", b"\r\n9\r\n"),
        b"HTTP/1.1 206 X\r\nContent-Range: bytes 3-5/6\r\n" + chunked(b"def", b"\r\n0\r\n\r\n"),
    )
    download.download(server.url, tmp_path / "file", 99, 0)
    assert (tmp_path / "file").read_bytes() == b"abcdef"
    assert b"\r\nRange: bytes=3-\r\n" in server.requests[1]


def test_another_part_than_was_asked_for_is_not_appended(raw, tmp_path):
    part = b"HTTP/1.1 206 X\r\nContent-Length: 3\r\nContent-Range: bytes 1-3/4\r\n\r\nbcd"
    server = raw(part, OK + b"Content-Length: 4\r\n\r\nabcd")
    (tmp_path / "file").write_bytes(b"xyz")
    download.download(server.url, tmp_path / "file", 99, 0)
    assert (tmp_path / "file").read_bytes() == b"abcd"


@pytest.mark.parametrize("endless", [b"HTTP/1.1 100 Continue\r\n\r\n", OK + b"\r\n"])
def test_a_server_that_never_ends_is_left(raw, tmp_path, monkeypatch, endless):
    """It sends a little all the time, so that no timeout of the socket ends it."""
    monkeypatch.setattr(download, "LONGEST", 0.5)
    gone = threading.Event()

    def drip(request):
        try:
            request.sendall(endless)
            while not gone.wait(0.01):
                request.sendall(endless if b"100" in endless else b"x")
        except OSError:
            gone.set()

    server = raw(drip)
    try:
        with pytest.raises(DataError, match=r"took longer than 0\.5 seconds"):
            fetch.fetch(server.url, tmp_path / "set", 0)
    finally:
        gone.set()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "only http and https"),
        ("nonsense", "only http and https"),
        ("http://", "names no host"),
        ("http:///set.zip", "names no host"),
        ("http://:80/set.zip", "names no host"),
        ("http://127.0.0.1:x/set.zip", "not a valid URL: Port"),
        ("http://127.0.0.1:99999/", "not a valid URL: Port"),
        ("http://[::1/", "Invalid IPv6 URL"),
        ("http://127.0.0.1/a b", "percent-encode"),
        ("http://127.0.0.1/a\r\nHost: x", "percent-encode"),
        ("http://127.0.0.1/\0", "percent-encode"),
        ("http://127.0.0.1/\u00e4", "percent-encode"),
        ("http://127.0.0.1/\udcff", "percent-encode"),
        ("http://" + "a" * 64 + "..b/", "could not be downloaded"),
        ("http://user:secret@127.0.0.1/", "could not be downloaded"),
        ("data:text/plain,x", "only http and https"),
    ],
)
def test_a_bad_url_is_one_sentence(tmp_path, url, message):
    with pytest.raises(DataError, match=message) as error:
        fetch.fetch(url, tmp_path / "set", 0)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_apart_from_a_bad_download(serve, tmp_path, monkeypatch):
    """Of the download, and of an image: what was received stays, and the archive is not blamed."""
    server = serve(zipped(GOOD))
    full = OSError(28, "No space left on device")

    def fail(*_):
        raise full

    with monkeypatch.context() as context:
        context.setattr(type(tmp_path), "write_bytes", fail)
        with pytest.raises(RunError, match=r"\.png cannot be written: No space left"):
            fetch.fetch(server.url, tmp_path / "set", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["set.zip.partial"]
    assert fetch.fetch(server.url, tmp_path / "set", 0)

    class Full(io.FileIO):
        def write(self, _):
            raise full

    monkeypatch.setattr("crnn_jax.disk.open", lambda *a, **_: Full(a[0], "ab+"), raising=False)
    with pytest.raises(RunError, match=r"file cannot be written: No space left"):
        download.download(server.url, tmp_path / "file", 2**20, 0)


def test_nothing_but_the_folder_is_written(serve, tmp_path):
    server = serve(zipped(GOOD))
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "set.zip.partial").symlink_to(tmp_path / "victim")
    (tmp_path / "set.partial").mkdir()
    (tmp_path / "set.partial" / "mine").write_bytes(b"mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert fetch.fetch(server.url, tmp_path / "set", 0)
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "set.partial" / "mine").read_bytes() == b"mine"
    for name in ("link", "victim"):
        with pytest.raises(RunError, match=name):
            fetch.fetch(server.url, tmp_path / name, 0)
    assert not (tmp_path / "nowhere").exists()


def entry(name, content=b"", method=0, **fields):
    """A local header and a central one, with what `fields` says instead of what is true."""
    raw_name = name if isinstance(name, bytes) else name.encode()
    pack = {0: bytes, 8: lambda c: zlib_raw(c), 12: bz2.compress, 14: lzma_raw}.get(method, bytes)
    packed = fields.get("packed", pack(content))
    values = {
        "flags": 0, "crc": zipfile.crc32(content), "size": len(content), "extra": b"",
        "stored": len(packed), **fields,
    }  # fmt: skip
    common = struct.pack(
        "<HHHHHIIIHH", 63, values["flags"], method, 0, 33, values["crc"], values["stored"],
        values["size"], len(raw_name), len(values["extra"]),
    )[2:]  # fmt: skip
    local = b"PK\3\4" + struct.pack("<H", 63) + common + raw_name + values["extra"] + packed
    central = b"PK\1\2" + struct.pack("<HH", 63, 63) + common
    return local, central + struct.pack("<HHHI", 0, 0, 0, 0), raw_name + values["extra"]


def zlib_raw(content):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(content) + packer.flush()


def lzma_raw(content):
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16}]
    raw_stream = lzma.compress(content, lzma.FORMAT_RAW, filters=filters)
    properties = bytes([93]) + struct.pack("<I", 1 << 16)
    return struct.pack("<BBH", 9, 4, 5) + properties + raw_stream


def archive(*entries, at=None):
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
def test_entries_of_each_compression_are_read(tmp_path, monkeypatch, method):
    """The archives of the next test are sound but for what is wrong with them."""
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
    "unknown compression": (entry(ONE, PNG, 77), "not a sound zip"),
    "corrupt deflate": (entry(ONE, PNG, 8, packed=b"\xff" * 99), "not a sound zip"),
    "corrupt bzip2": (entry(ONE, PNG, 12, packed=b"BZh9" + b"\xff" * 99), "not a sound zip"),
    "corrupt lzma": (entry(ONE, PNG, 14, packed=lzma_raw(PNG)[:9] + b"\xff" * 99), "not a sound"),
    "no lzma header": (entry(ONE, PNG, 14, packed=b"\1"), "not a sound zip"),
    "cut off deflate": (entry(ONE, PNG, 8, packed=zlib_raw(PNG)[:-9]), "not a sound zip"),
    "too large": (entry(ONE, PNG, 8, size=2**31), "unpacks to more than 64 MiB"),
    "smaller than it is": (entry(ONE, LARGE, 8, size=9), "not a sound zip"),
    "larger than it is": (entry(ONE, PNG, size=len(PNG) + 9, stored=len(PNG) + 9), "overlap"),
    "zip64 without sizes": (entry(ONE, PNG, size=2**32 - 1, extra=b"\1\0\0\0"), "not a sound zip"),
    "zip64 of 2**62": (
        entry(ONE, PNG, size=2**32 - 1, extra=b"\1\0\x08\0" + struct.pack("<Q", 2**62)),
        "unpacks to more than 64 MiB",
    ),
    "not UTF-8": (entry(b"\xff\xfe.png", PNG, flags=0x800), "not a sound zip"),
    "a surrogate": (entry(b"\xed\xa0\x80.png", PNG, flags=0x800), "not a sound zip"),
    "NUL": (entry(b"aaaaa\0.png", PNG), "holds 11 images"),
    "control characters": (entry(b"\r\n\x1b[2J.png", PNG), r"the name \\r\\n\\x1b\[2J.png is"),
    "a long name": (entry("a" * 60_000 + ".png", PNG), r"the name a+\.\.\. is not"),
    "twice": (entry(NAMES[1], PNG), "two images of the same name"),
    "nested": (entry("a.zip", archive(*REST)), "holds 11 images"),
    "a drive": (entry("c:/22222.png", PNG), "leads out of its folder"),
    "no image": (entry(ONE, b"text"), f"{ONE}: "),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_bad_entry_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.setattr(fetch, "COUNT", 12)
    bad, message = WRONG[name]
    (tmp_path / "zip").write_bytes(archive(bad, *REST))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=message) as error:
        fetch.unpack(tmp_path / "zip", tmp_path / "out")
    assert "\n" not in str(error.value)


def test_entries_that_share_bytes_or_are_too_many_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "COUNT", 12)
    shared = archive(entry(ONE, PNG), *REST, at=[0] * 12)
    empty = entry("a")
    many = archive(*[empty] * 300_000)
    for content, message in ((shared, "overlap"), (many, "more than 20000 entries")):
        (tmp_path / "zip").write_bytes(content)
        with pytest.raises(DataError, match=message):
            fetch.unpack(tmp_path / "zip", tmp_path)


def test_mutated_archives_are_read_or_refused(tmp_path):
    figures = archives.archives(tmp_path, random.Random(0), 200 / 5000)
    assert figures["archives"] == 200
    assert figures["refused"] > 100


def test_a_download_that_fails_is_status_2(tmp_path, capsys):
    arguments = ["fetch", "--url", "http://127.0.0.1:x/", "--to", os.fspath(tmp_path / "set")]
    assert __main__.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
