"""The server: what requests get, and which are refused."""

import base64
import csv
import hashlib
import http.client
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crnn_jax.errors import ConfigError
from crnn_jax.labeling import run, server
from tests.helpers.images import draw
from tests.helpers.labeling import Served, served

pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
TEXTS = [f"ab{n}" for n in range(6)]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Served]:
    for text in TEXTS:
        draw(text).save(tmp_path / f"img_{text}.tif")
    readings = {f"img_{text}.tif": (text, 0.5) for text in TEXTS}
    with served(tmp_path, readings) as page:
        yield page


def ask(
    page: Served, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection(server.HOST, page.port, timeout=60)
    sent = {"x-token": page.token, **{k.replace("_", "-"): v for k, v in headers.items()}}
    connection.request("GET" if body is None else "POST", path, body, sent)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def state(page: Served) -> Any:
    while True:
        status, _, content = ask(page, "/api/state")
        assert status == 200
        if (values := json.loads(content))["image"] or not values["progress"]["rest"]:
            return values


def test_entries_are_saved_when_they_are_answered(page: Served) -> None:
    shown = state(page)["image"]
    body = json.dumps({"number": shown["number"], "text": "xy"}).encode()
    status, _, content = ask(page, "/api/label", body)
    assert status == 200
    with (page.desk.session.folder / "labels.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["file", "label"], [shown["file"], "xy"]]
    after = json.loads(content)
    assert after["progress"]["labeled"] == 1
    assert after["undo"] == {"file": shown["file"], "label": "xy"}
    status, _, content = ask(page, "/api/label", body)
    assert (status, "Another image" in json.loads(content)["error"]) == (409, True)
    assert ask(page, "/api/undo", b"{}")[0] == 200
    assert state(page)["image"]["number"] == shown["number"]
    assert ask(page, "/api/skip", body)[0] == 200
    assert state(page)["progress"]["skipped"] == 1


def test_images_are_sent_as_png_whatever_their_format(page: Served) -> None:
    for number, file in enumerate(page.desk.session.files):
        status, headers, content = ask(page, f"/api/image/{number}")
        assert (status, headers["content-type"]) == (200, "image/png")
        with Image.open(page.desk.session.folder / file) as original:
            shown = Image.open(io.BytesIO(content)).convert("L")
            assert shown.tobytes() == original.tobytes()
    assert ask(page, "/api/image/6")[0] == 404
    (page.desk.session.folder / page.desk.session.files[0]).write_bytes(b"\x89PNG")
    status, _, content = ask(page, "/api/image/0")
    assert status == 404
    assert "not an image of a supported format" in json.loads(content)["error"]


@pytest.mark.parametrize("path", ["/api/state", "/api/image/0", "/api/label", "/api/undo"])
def test_requests_of_other_pages_are_refused(page: Served, path: str) -> None:
    body = b'{"number": 0, "text": "evil"}' if path in ("/api/label", "/api/undo") else None
    assert ask(page, path, body, x_token="guess")[0] == 401
    assert ask(page, path, body, x_token="")[0] == 401
    assert ask(page, path, body, origin="http://evil.example")[0] == 403
    assert ask(page, path, body, origin="null")[0] == 403
    assert ask(page, path, body, origin=f"http://127.0.0.1:{page.port + 1}")[0] == 403
    assert ask(page, path, body, host="evil.example")[0] == 400
    assert ask(page, path, body, host=f"evil.example:{page.port}")[0] == 400
    assert not (page.desk.session.folder / "labels.csv").exists()
    assert ask(page, "/", host="evil.example")[0] == 400


def test_the_same_requests_of_the_page_are_answered(page: Served) -> None:
    state(page)
    for host in ("127.0.0.1", "localhost"):
        name = f"{host}:{page.port}"
        assert ask(page, "/api/state", host=name, origin=f"http://{name}")[0] == 200
    assert ask(page, "/", x_token="")[0] == 200  # the page itself is no secret


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[]", 400), (b'{"number": "1"}', 400), (b'{"number": 1, "text": 2}', 400),
     (b"x" * 70_000, 413)],
)  # fmt: skip
def test_wrong_requests_are_reported(page: Served, body: bytes, status: int) -> None:
    assert ask(page, "/api/label", body)[0] == status


def test_a_label_that_cannot_be_saved_is_said_so_and_the_image_stays(page: Served) -> None:
    shown = state(page)["image"]
    (page.desk.session.folder / "labels.csv").mkdir()
    body = json.dumps({"number": shown["number"], "text": "xy"}).encode()
    status, _, content = ask(page, "/api/label", body)
    assert status == 500
    assert json.loads(content)["error"].startswith("Not saved: ")
    assert state(page)["image"]["number"] == shown["number"]  # its characters may arrive later
    (page.desk.session.folder / "labels.csv").rmdir()
    assert ask(page, "/api/label", body)[0] == 200


def test_the_policy_of_the_page_allows_its_own_script_only(page: Served) -> None:
    _, headers, content = ask(page, "/")
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    (script,) = re.findall(rb"<script>(.*?)</script>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in policy
    assert headers["referrer-policy"] == "no-referrer"


def test_a_port_in_use_is_reported() -> None:
    taken = server.listen(0)
    try:
        with pytest.raises(ConfigError, match=r"--port .* choose another, or 0"):
            server.listen(taken.getsockname()[1])
    finally:
        taken.close()


def test_a_port_is_checked_before_the_reader_is_loaded(tmp_path: Path) -> None:
    message = "^--port 70000: a port is from 1 to 65535, or 0 for any$"
    with pytest.raises(ConfigError, match=message):
        run.run(tmp_path, "no such reader", port=70_000)


def test_a_missing_package_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"uvicorn.*pip install 'crnn-jax\[label\]'"):
        run.run(tmp_path, "general")
    assert not list(tmp_path.iterdir())


def test_undo_says_what_it_has_undone(page: Served) -> None:
    """Another program may have changed labels.csv since the page was drawn."""
    texts = ["aaaa", "bbbb", "cccc"]
    files = []
    for text in texts:
        shown = state(page)["image"]
        files.append(shown["file"])
        body = json.dumps({"number": shown["number"], "text": text, "confirmed": True}).encode()
        assert ask(page, "/api/label", body)[0] == 200
    table = page.desk.session.folder / "labels.csv"
    rows = table.read_text().splitlines(keepends=True)
    table.write_text("".join(row for row in rows if files[1] not in row))
    undone = []
    for _ in range(2):
        status, _, content = ask(page, "/api/undo", b"{}")
        assert status == 200
        undone.append(json.loads(content)["undone"])
    assert undone == [{"file": files[k], "label": texts[k]} for k in (2, 0)]
