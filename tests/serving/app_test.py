"""The application: what it accepts, what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from crnn_jax.serving import app, wire
from crnn_jax.serving.app import Service
from crnn_jax.serving.batcher import QueueFullError, ReadingError
from crnn_jax.serving.settings import Settings
from tests.helpers.echo_engine import DESCRIPTION, Echo

TOKEN = "0123456789abcdef"
HOST = "http://127.0.0.1:8000"


class Client:
    """A client of an application, in one process without sockets."""

    def __init__(self, base_url: str = HOST, **settings: Any):
        self.engine = Echo()
        self.settings = Settings(**settings)
        self.service: Service = app.make(self.engine, DESCRIPTION, self.settings)
        self.http = TestClient(self.service.app, base_url, raise_server_exceptions=False)

    def __enter__(self) -> Client:
        self.http.__enter__()
        while not self.service.batcher.is_warm:  # the thread sets it at once
            assert self.service.batcher.failure is None
            self.service.batcher._thread.join(0.01)
        return self

    def __exit__(self, *error: Any) -> None:
        self.engine.gate.set()
        self.http.__exit__(*error)
        assert self.metric("crnn_jax_queue_images") == 0
        assert self.metric("crnn_jax_body_bytes") == 0

    def metric(self, name: str, **labels: str) -> float | None:
        return self.service.metrics.registry.get_sample_value(name, labels)

    def read(self, *texts: str, query: str = "", **options: Any) -> Any:
        files = [("images", (text, text.encode())) for text in texts]
        return self.http.post(f"/v1/read{query}", files=files, **options)


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(max_images=4, max_body=10_000) as made:
        yield made


def texts(response: Any) -> list[str]:
    assert response.status_code == 200, response.text
    wire.ReadResponse.model_validate_json(response.content)
    return [result.get("text", "error") for result in response.json()["results"]]


def error(response: Any) -> tuple[int, str]:
    """Returns status and code, and checks that the body is an error and nothing else."""
    assert response.headers["content-type"] == "application/json"
    (problem,) = response.json().values()
    assert set(problem) == {"code", "message"}
    assert problem["message"]
    return response.status_code, problem["code"]


def test_forms_json_and_raw_images_are_read_in_order(client: Client) -> None:
    some = ["abc", "z", "yy", "abc"]
    assert texts(client.read(*some)) == some
    coded = [base64.b64encode(text.encode()).decode() for text in some]
    assert texts(client.http.post("/v1/read", json={"images": coded})) == some
    for kind in ("image/png", "application/octet-stream"):
        headers = {"Content-Type": kind}
        assert texts(client.http.post("/v1/read", content=b"raw", headers=headers)) == ["raw"]


def test_a_result_has_the_fields_that_the_documentation_names(client: Client) -> None:
    plain = {"text": "abc", "confidence": 0.5, "typicality": None, "answered": True}
    assert client.read("abc").json() == {"results": [plain]}
    assert client.read("abc", query="?explain=true").json() == {
        "results": [
            {
                **plain,
                "characters": [{"symbol": "a", "probability": 1.0, "left": 0.0, "right": 0.5}],
                "alternatives": [{"text": "abc", "confidence": 0.5}],
            }
        ]
    }


def test_a_bad_image_is_an_error_of_its_own(client: Client) -> None:
    response = client.read("a", "bad", "b")
    assert texts(response) == ["a", "error", "b"]
    expected = {"code": "unreadable_image", "message": "not an image"}
    assert response.json()["results"][1] == {"error": expected}
    assert error(client.read("bad")) == (422, "unreadable_image")
    assert texts(client.read("bad", "bad")) == ["error", "error"]


def test_texts_of_low_confidence_are_left_blank() -> None:
    with Client(min_confidence=0.6) as client:
        for query in ("", "?explain=true"):
            (result,) = client.read("abc", query=query).json()["results"]
            assert (result["text"], result["confidence"], result["answered"]) == ("", 0.5, False)
            assert not result.get("alternatives")
    with Client(min_confidence=0.5) as client:
        assert texts(client.read("abc")) == ["abc"]


FORM = {"Content-Type": "multipart/form-data; boundary=xx"}
PART = b'--xx\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\nabc\r\n'
JSON = {"Content-Type": "application/json"}
RAW = {"Content-Type": "image/png"}


@pytest.mark.parametrize(
    ("headers", "content", "expected", "said"),
    [
        (RAW, b"", (400, "bad_request"), "the body is empty"),
        ({}, b"abc", (415, "unsupported_media_type"), "send multipart/form-data"),
        ({"Content-Type": "text/plain"}, b"abc", (415, "unsupported_media_type"), "'text/plain'"),
        (FORM, PART, (400, "bad_request"), "its end is missing"),
        (FORM, PART[:20], (400, "bad_request"), "the form is not valid"),
        (FORM, b"abc", (400, "bad_request"), "the form is not valid"),
        (FORM, b"--xx--\r\n", (400, "bad_request"), "the form"),
        ({"Content-Type": "multipart/form-data"}, PART, (400, "bad_request"), "no boundary"),
        (
            {"Content-Type": f"multipart/form-data; boundary={'x' * 999}"},
            PART,
            (400, "bad_request"),
            "Boundary length",
        ),
        (
            FORM,
            PART.replace(b'; filename="a"', b"") + b"--xx--\r\n",
            (400, "bad_request"),
            "the field 'a' of the form is not a file",
        ),
        (FORM, PART * 5 + b"--xx--\r\n", (413, "too_many_images"), "at most 4 images"),
        (JSON, b"{", (400, "bad_request"), "the JSON is not valid"),
        (JSON, b"\xff", (400, "bad_request"), "the JSON is not valid"),
        (JSON, b"[]", (400, "bad_request"), "the JSON is not valid"),
        (JSON, b"[" * 9000, (400, "bad_request"), "the JSON is not valid"),
        (JSON, b'{"images": []}', (400, "bad_request"), "images: "),
        (JSON, b'{"images": "YQ=="}', (400, "bad_request"), "images: "),
        (JSON, b'{"images": ["YQ==", 1]}', (400, "bad_request"), "images.1: "),
        (JSON, b'{"images": ["\\ud800"]}', (400, "bad_request"), "the JSON is not valid"),
        (JSON, b'{"image": ["YQ=="]}', (400, "bad_request"), "images: Field required"),
        (JSON, b'{"images": ["YQ=="], "a": 1}', (400, "bad_request"), "a: "),
        (JSON, b'{"images": ["", "", "", "", ""]}', (413, "too_many_images"), "at most 4"),
        (RAW, b"a" * 10_001, (413, "too_large"), "more than 10000 bytes"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(
    client: Client, headers: Any, content: bytes, expected: tuple[int, str], said: str
) -> None:
    response = client.http.post("/v1/read", content=content, headers=headers)
    assert error(response) == expected
    assert said in response.json()["error"]["message"]
    assert texts(client.read("abc")) == ["abc"]


LENGTH, CHUNKED = (b"content-length", b"3"), (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize("header", [LENGTH, CHUNKED])
def test_the_bound_on_a_body_does_not_depend_on_content_length(
    client: Client, header: tuple[bytes, bytes]
) -> None:
    chunk = {"type": "http.request", "body": bytes(2**20), "more_body": True}
    chunks = [chunk] * 100
    start, body = exchange(client, chunks, header)
    assert start["status"] == 413
    assert json.loads(body["body"])["error"]["code"] == "too_large"
    assert (b"connection", b"close") in start["headers"]
    assert len(chunks) > 80  # 16 MiB of the rest were received, so that the client sees the error
    exact = client.http.post("/v1/read", content=iter([b"a" * 9999, b"b"]), headers=RAW)
    assert texts(exact) == ["a" * 9999 + "b"]


def test_bodies_share_a_budget() -> None:
    with Client(max_bodies=99) as client:
        assert error(client.read("a")) == (503, "busy")  # the form around it is larger
        response = client.http.post("/v1/read", content=b"a" * 99, headers=RAW)
        assert texts(response) == ["a" * 99]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/", (404, "not_found")),
        ("GET", "/v1/read", (405, "method_not_allowed")),
        ("DELETE", "/docs", (405, "method_not_allowed")),
        ("POST", "/v1/read?explian=1", (400, "bad_request")),
        ("POST", "/v1/read?explain=perhaps", (400, "bad_request")),
        ("GET", "/v1/read/../../etc/passwd", (404, "not_found")),
    ],
)
def test_unknown_paths_methods_and_queries_are_errors(
    client: Client, method: str, path: str, expected: tuple[int, str]
) -> None:
    assert error(client.http.request(method, path)) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Host": "localhost:8000"}, None),
        ({"Host": "LOCALHOST"}, None),
        ({"Host": "127.0.0.1"}, None),
        ({"Host": "127.1.2.3:1"}, None),
        ({"Host": "[::1]:8000"}, None),
        ({"Host": "evil.example"}, "forbidden_host"),
        ({"Host": "localhost.evil.example"}, "forbidden_host"),
        ({"Host": "127.0.0.1.evil.example:8000"}, "forbidden_host"),
        ({"Host": "127.0.0.1:8000@evil.example"}, "forbidden_host"),
        ({"Host": "192.168.0.1"}, "forbidden_host"),
        ({"Host": ""}, "forbidden_host"),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000"}, None),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:9000"}, "forbidden_origin"),
        ({"Host": "127.0.0.1:8000", "Origin": "https://evil.example"}, "forbidden_origin"),
        ({"Host": "127.0.0.1:8000", "Origin": "null"}, "forbidden_origin"),
    ],
)
def test_web_pages_cannot_use_a_server_on_the_loopback_interface(
    client: Client, headers: dict[str, str], expected: str | None
) -> None:
    for path in ("/v1/reader", "/healthz", "/docs", "/metrics"):
        response = client.http.get(path, headers=headers)
        assert "access-control-allow-origin" not in response.headers
        if expected:
            assert error(response) == (403, expected)
        else:
            assert response.status_code == 200


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN,
     "Bearer \u00e9".encode()],
)  # fmt: skip
def test_a_server_with_a_token_needs_it(authorization: Any) -> None:
    with Client("http://example.org", token=TOKEN) as client:
        headers = {} if authorization is None else {"Authorization": authorization}
        for path in ("/v1/reader", "/metrics", "/nothing"):
            response = client.http.get(path, headers=headers)
            assert error(response) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        assert error(client.read("a", headers=headers)) == (401, "unauthorized")
        for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
            assert client.http.get(path, headers=headers).status_code == 200
        assert texts(client.read("a", headers={"Authorization": f"bearer {TOKEN}"})) == ["a"]
        assert not client.engine.batches[1:]


def test_images_that_are_not_read_in_time_leave_the_queue() -> None:
    with Client(answer_seconds=0.05) as client:
        client.engine.gate.clear()
        assert error(client.read("a", "b")) == (504, "deadline")
        assert error(client.read("c")) == (504, "deadline")
        client.engine.gate.set()
        assert texts(client.read("d")) == ["d"]
        assert ["c"] not in client.engine.batches


def test_a_full_queue_is_busy() -> None:
    with Client(max_queue=2, max_images=2, answer_seconds=60) as client:
        response = client.read("a", "b", "c")
        assert error(response) == (413, "too_many_images")
    with Client(max_queue=3, max_images=3, answer_seconds=0.05) as client:
        client.engine.gate.clear()
        assert error(client.read("a", "b")) == (504, "deadline")  # both are still being read
        response = client.read("c", "d", "e")
        assert error(response) == (503, "busy")
        assert response.headers["retry-after"] == "1"


def test_an_error_of_the_model_is_an_internal_error(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    assert error(client.read("fail")) == (500, "internal")
    assert "ZeroDivisionError" in caplog.text
    assert texts(client.read("a")) == ["a"]


def test_an_error_of_the_program_is_logged_and_not_shown(
    client: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError("a secret")

    monkeypatch.setattr(wire, "to_result", fail)
    response = client.read("a")
    assert error(response) == (500, "internal")
    assert "secret" not in response.text
    assert "a secret" in caplog.text


def test_a_server_that_starts_or_stops_is_not_ready(client: Client) -> None:
    assert client.http.get("/readyz").json() == {"status": "ready"}
    client.service.is_draining = True
    assert error(client.http.get("/readyz")) == (503, "stopping")
    assert client.http.get("/healthz").json() == {"status": "ok"}
    assert texts(client.read("a")) == ["a"]  # on a connection that is still open
    client.service.batcher.is_warm = False
    assert error(client.http.get("/readyz")) == (503, "starting")
    assert error(client.read("a")) == (503, "starting")
    assert client.http.get("/healthz").json() == {"status": "ok"}


def test_metrics_count_requests_and_images(client: Client) -> None:
    client.read("a", "bad", "c")
    client.read("bad")
    client.http.get("/v1/nothing/a%20path")
    text = client.http.get("/metrics").text
    for line in (
        'crnn_jax_requests_total{endpoint="/v1/read",status="200"} 1.0',
        'crnn_jax_requests_total{endpoint="/v1/read",status="422"} 1.0',
        'crnn_jax_requests_total{endpoint="other",status="404"} 1.0',
        'crnn_jax_images_total{outcome="read"} 2.0',
        'crnn_jax_images_total{outcome="unreadable"} 2.0',
        "crnn_jax_queue_images 0.0",
        "crnn_jax_batch_images_sum 2.0",
    ):
        assert line in text.splitlines()
    assert "path" not in text.replace("endpoint", "")


def test_the_documentation_loads_nothing_and_covers_every_endpoint(client: Client) -> None:
    response = client.http.get("/docs")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    page = response.text
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(", page)
    assert set(re.findall(r"(?:src|href|action)=\"([^\"]*)", page)) == {
        "/openapi.json",
        "/v1/read",
    }
    document = client.http.get("/openapi.json").json()
    assert set(document["paths"]) == {"/v1/read", "/v1/reader", "/healthz", "/readyz", "/metrics"}
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page
    answers = document["paths"]["/v1/read"]["post"]["responses"]
    assert set(answers) == {
        *("200", "400", "401", "403", "408", "413", "415", "422", "500", "503", "504")
    }
    for status in set(answers) - {"200"}:
        schema = answers[status]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorResult"}
    names = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(document)))
    assert names == set(document["components"]["schemas"])
    for name in (*names, "ReadRequest"):
        assert f"<b>{name}</b>" in page


def exchange(
    client: Client, messages: list[Any], header: tuple[bytes, bytes] = LENGTH
) -> list[Any]:
    """Calls the application in a task. Returns the messages that it sends.

    It receives the messages of a list, which is emptied, and then none. A function is called with
    the task and returns the message.
    """
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": "/v1/read", "raw_path": b"/v1/read", "query_string": b"",
        "root_path": "", "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8000),
        "headers": [
            (b"host", b"localhost"), (b"content-type", b"image/png"), header,
        ],
    }  # fmt: skip
    sent: list[Any] = []
    tasks: list[asyncio.Future[None]] = []

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()
        message = messages.pop(0)
        return await message(tasks[0]) if callable(message) else message

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        tasks.append(asyncio.ensure_future(client.service.app(scope, receive, send)))
        done, _ = await asyncio.wait(tasks, timeout=60)
        (task,) = done
        task.result()

    asyncio.run(run())
    return sent


def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    with Client(body_seconds=0.01) as client:
        start, body = exchange(client, [{"type": "http.request", "body": b"a", "more_body": True}])
        assert start["status"] == 408
        assert json.loads(body["body"])["error"]["code"] == "timeout"
        assert (b"connection", b"close") in start["headers"]


def test_images_of_a_client_that_leaves_are_dropped() -> None:
    with Client() as client:
        client.engine.gate.clear()

        async def leave(_: object) -> Any:
            await asyncio.to_thread(client.engine.entered.acquire)
            return {"type": "http.disconnect"}

        exchange(client, [{"type": "http.request", "body": b"abc"}, leave])
        assert client.metric("crnn_jax_images_total", outcome="dropped") == 1
        labels = {"endpoint": "/v1/read", "status": "499"}
        assert client.metric("crnn_jax_requests_total", **labels) == 1
    with Client() as client:  # while the body is received
        parts = [{"type": "http.request", "body": b"a", "more_body": True}]
        exchange(client, [*parts, {"type": "http.disconnect"}])
        assert client.metric("crnn_jax_requests_total", **labels) == 1


def test_a_request_that_the_server_does_not_wait_for_gets_an_answer() -> None:
    with Client() as client:
        client.engine.gate.clear()

        async def cancel(task: asyncio.Future[None]) -> Any:
            await asyncio.to_thread(client.engine.entered.acquire)
            task.cancel()
            await asyncio.Event().wait()

        start, body = exchange(client, [{"type": "http.request", "body": b"abc"}, cancel])
        assert start["status"] == 503
        assert json.loads(body["body"])["error"]["code"] == "stopping"
        assert client.metric("crnn_jax_images_total", outcome="dropped") == 1


def test_a_failed_request_is_freed_at_once() -> None:
    gc.disable()
    try:
        with Client(max_queue=3, max_images=3, answer_seconds=0.05) as client:
            assert error(client.read("fail")) == (500, "internal")
            client.engine.gate.clear()
            assert error(client.read("a", "b")) == (504, "deadline")
            assert error(client.read("c", "d", "e")) == (503, "busy")
            kept = [o for o in gc.get_objects() if isinstance(o, (QueueFullError, ReadingError))]
            assert not kept
    finally:
        gc.enable()
