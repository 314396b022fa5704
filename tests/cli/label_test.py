"""The command `label` as a process: the address, an entry, Ctrl-C, and the same command again."""

import csv
import http.client
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.labeling import browser
from tests.helpers.command_line import call
from tests.helpers.images import draw

pytest.importorskip("uvicorn")
ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, reader: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "crnn_jax", "label", str(folder), "--reader", str(reader)]
    return subprocess.Popen(
        [*command, "--adapt-every", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


def address(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The port and the token that the command prints."""
    assert process.stdout
    url = process.stdout.readline().split()[-1]
    assert url.startswith("http://127.0.0.1:")
    place, _, token = url.partition("/#")
    return int(place.rpartition(":")[2]), token


def ask(port: int, token: str, path: str, values: Any = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    body = None if values is None else json.dumps(values)
    connection.request("GET" if body is None else "POST", path, body, {"X-Token": token})
    answer = connection.getresponse()
    assert answer.status == 200
    found = json.loads(answer.read())
    connection.close()
    return found


def state(port: int, token: str) -> Any:
    while not (found := ask(port, token, "/api/state"))["image"]:
        assert not found["problem"]
    return found


def test_labels_are_kept_when_the_command_is_stopped_and_started_again(
    trained: Path, tmp_path: Path
) -> None:
    for text in ("ab7", "bc", "7a7", "cc"):
        draw(text).save(tmp_path / f"img_{text}.png")
    labeled: dict[str, str] = {}
    for place, number in enumerate((signal.SIGINT, signal.SIGHUP)):
        process = start(tmp_path, trained)
        try:
            port, token = address(process)
            found = state(port, token)
            assert found["progress"]["labeled"] == place
            assert found["image"]["file"] not in labeled
            label = f"a{place}"
            ask(port, token, "/api/label",
                {"number": found["image"]["number"], "text": label})  # fmt: skip
            labeled[found["image"]["file"]] = label
            process.send_signal(number)
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
        assert process.returncode == 0, said
        assert f"{place + 1} of 4 images have a label in {tmp_path / 'labels.csv'}" in said
        assert "Traceback" not in said
        with (tmp_path / "labels.csv").open(newline="") as file:
            assert {row["file"]: row["label"] for row in csv.DictReader(file)} == labeled


@pytest.mark.parametrize(
    ("folder", "message"),
    [("missing", "missing does not exist; give a folder of images"),
     ("file", "file is a file; give a folder of images"),
     ("empty", "empty contains no images")],
)  # fmt: skip
def test_a_folder_that_cannot_be_labeled_is_named(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], folder: str, message: str
) -> None:
    from crnn_jax.cli import main

    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert main.main(["label", str(tmp_path / folder), "--reader", str(trained)]) == 2
    assert f"error: {tmp_path}/{message}" in capsys.readouterr().err
    assert os.listdir(tmp_path / "empty") == []


@pytest.mark.parametrize("flags", [[], ["--open"]])
def test_the_page_is_opened_in_the_browser_on_request(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
) -> None:
    from crnn_jax.labeling import run

    url = "http://127.0.0.1:1234/#token"
    opened: list[Path] = []
    asked: list[Any] = []

    def labeling(*given: Any) -> str:
        *rest, announce, frame = given
        asked.append([*rest, frame])
        announce(url)
        return "nothing was labeled"

    def show(address: str) -> None:  # which other users can see
        assert "token" not in address
        opened.append(Path(address.removeprefix("file://")))
        assert stat.S_IMODE(opened[0].stat().st_mode) == 0o600
        assert f'<meta http-equiv="refresh" content="0; url={url}">' in opened[0].read_text()

    monkeypatch.setattr(run, "run", labeling)
    monkeypatch.setattr(webbrowser, "open", show)
    options = ["--reader", "mine", "--adapt-every", 7, "--port", 1234, "--frame", "last"]
    status, out, err = call(capsys, "label", tmp_path, *options, *flags)
    assert (status, err) == (0, "nothing was labeled\n")
    assert url in out
    assert [path.exists() for path in opened] == ([False] if flags else [])
    assert asked == [[tmp_path, "mine", 7, 1234, "last"]]


def test_the_session_does_not_need_the_file_that_opens_the_browser(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be removed with other temporary files, or not be writable."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(webbrowser, "open", lambda address: Path(address[7:]).unlink())
    with browser.opened("http://127.0.0.1:1/#token"):
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    with browser.opened("http://127.0.0.1:1/#token"):
        pass
