"""Downloads from a server on the loopback address that behaves badly on request."""

import io
import os
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax.cli import main
from crnn_jax.data import download, fetch
from crnn_jax.errors import DataError, RunError


def png(size: tuple[int, int] = (200, 50)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.zeros(size[::-1], np.uint8)).save(buffer, "png")
    return buffer.getvalue()


def zipped(entries: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def texts(count: int) -> list[Any]:
    """`count` distinct names of five of the 19 symbols."""
    symbols, base = fetch.SYMBOLS, len(fetch.SYMBOLS)
    return ["".join(symbols[i // base**k % base] for k in range(5)) for i in range(count)]


GOOD = {f"captcha_images_v2/{text}.png": png() for text in texts(12)}


class Server(ThreadingHTTPServer):
    """Serves `content`; each entry of `faults` corrupts one request."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.faults: list[Any] = []
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
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

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    monkeypatch.setattr(fetch, "COUNT", 12)
    servers = []

    def start(content: bytes) -> Any:
        servers.append(Server(content))
        threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_set_is_fetched_once(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(zipped(GOOD | {"__MACOSX/._22222.png": b"?", "captcha_images_v2/.x": b""}))
    folder = tmp_path / "data" / "set"
    assert fetch.fetch(server.url, folder, 0)
    assert sorted(p.stem for p in folder.iterdir()) == sorted(texts(12))
    assert not fetch.fetch(server.url, folder, 0)
    assert server.ranges == [None]
    assert [p.name for p in folder.parent.iterdir()] == ["set"]


def test_a_download_that_is_cut_off_goes_on(serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(zipped(GOOD))
    server.faults = ["cut", 503, "no range"]
    download.download(server.url, tmp_path / "set.zip", 2**20, 0)
    half = f"bytes={len(server.content) // 2}-"
    assert server.ranges == [None, half, half]
    # The last response was the whole file and replaced the first half.
    assert (tmp_path / "set.zip").read_bytes() == server.content
    server.faults = ["cut"]
    download.download(server.url, tmp_path / "other.zip", 2**20, 0)
    assert (tmp_path / "other.zip").read_bytes() == server.content


def test_what_was_got_stays_for_the_next_command(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "TRIES", 1)
    server = serve(zipped(GOOD))
    server.faults = ["cut"]
    with pytest.raises(DataError, match=r"connection ended after \d+ of \d+ bytes"):
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert fetch.fetch(server.url, tmp_path / "set", 0)
    assert server.ranges[1] == f"bytes={len(server.content) // 2}-"


def test_a_beginning_of_another_file_is_thrown_away(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(zipped(GOOD))
    server.faults = [416]
    (tmp_path / "set.zip.partial").write_bytes(b"x" * 9)
    assert fetch.fetch(server.url, tmp_path / "set", 0)
    assert server.ranges == ["bytes=9-", None]


def test_an_answer_that_will_not_change_is_not_asked_for_again(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(b"")
    server.faults = [404] * 9
    with pytest.raises(
        DataError, match=r"could not be downloaded: the server responded with 404"
    ) as error:
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert "\n" not in str(error.value)
    assert len(server.ranges) == 1
    with pytest.raises(DataError, match="only http and https"):
        fetch.fetch("file:///etc/hostname", tmp_path / "set", 0)


def test_offline_it_fails_with_one_sentence(serve: Callable[..., Server], tmp_path: Path) -> None:
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
        (None, "not a valid zip archive"),
        (GOOD | {"../22.png": png()}, r"leads out of its folder: \.\./22\.png"),
        (GOOD | {"/22.png": png()}, "leads out of its folder"),
        (GOOD | {"a\\..\\..\\22.png": png()}, "leads out of its folder"),
        (GOOD | {LINK: b"/etc/passwd"}, "has a symbolic link: link.png"),
        (GOOD | {f"other/{texts(1)[0]}.png": png()}, "two images with the same name"),
        (dict(list(GOOD.items())[1:]), "contains 11 images, not 12"),
        (dict(list(GOOD.items())[1:]) | {"2222a.png": png()}, "the name 2222a.png is not 5 of"),
        (dict(list(GOOD.items())[1:]) | {"yyyyy.png": png((100, 50))}, "yyyyy.png has 100x50"),
        (dict(list(GOOD.items())[1:]) | {"yyyyy.png": b"GIF"}, "yyyyy.png: not an image"),
    ],
)
def test_an_archive_of_no_use_leaves_nothing(
    serve: Callable[..., Server], tmp_path: Path, entries: Any, message: str
) -> None:
    server = serve(b"<html>not found" if entries is None else zipped(entries))
    with pytest.raises(DataError, match=message):
        fetch.fetch(server.url, tmp_path / "set", 0)
    assert not list(tmp_path.iterdir())


def test_a_bomb_is_refused_by_what_it_says_and_by_what_it_is(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MOST", 100_000)
    server = serve(zipped(GOOD | {"22222.png": b"\0" * 200_000}))
    with pytest.raises(DataError, match="unpacks to more than"):
        fetch.fetch(server.url, tmp_path / "set", 0)
    # The directory of the archive claims ten bytes, but the file has more: the CRC differs.
    lying = bytearray(zipped(dict(list(GOOD.items())[:11]) | {"yyyyy.png": b"\0" * 90_000}))
    place = lying.rindex(b"PK\1\2") + 24
    lying[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(DataError, match="not a valid zip archive"):
        fetch.fetch(serve(bytes(lying)).url, tmp_path / "set", 0)
    with pytest.raises(DataError, match="could not be downloaded: it is larger than"):
        fetch.fetch(serve(b"x" * 200_000).url, tmp_path / "set", 0)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told_apart_from_a_bad_download(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """During download and unpacking: the partial file stays, and the archive is not blamed."""
    server = serve(zipped(GOOD))
    full = OSError(28, "No space left on device")

    def fail(*_: Any) -> None:
        raise full

    with monkeypatch.context() as context:
        context.setattr(type(tmp_path), "write_bytes", fail)
        with pytest.raises(RunError, match=r"\.png cannot be written: No space left"):
            fetch.fetch(server.url, tmp_path / "set", 0)
    assert [p.name for p in tmp_path.iterdir()] == ["set.zip.partial"]
    assert fetch.fetch(server.url, tmp_path / "set", 0)

    class Full(io.FileIO):
        def write(self, _: Any) -> Any:
            raise full

    monkeypatch.setattr(
        "crnn_jax.runtime.files.open", lambda *a, **_: Full(a[0], "ab+"), raising=False
    )
    with pytest.raises(RunError, match=r"file cannot be written: No space left"):
        download.download(server.url, tmp_path / "file", 2**20, 0)


def test_nothing_but_the_folder_is_written(serve: Callable[..., Server], tmp_path: Path) -> None:
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


def test_a_download_that_fails_is_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["fetch", "--url", "http://127.0.0.1:x/", "--to", os.fspath(tmp_path / "set")]
    assert main.main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
