"""The application: what it accepts, what it answers, and what it refuses."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from crnn_jax.serving import bodies, wire
from tests.helpers.serving_client import CHUNKED, LENGTH, Client, error, exchange, texts


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(max_images=4, max_body=10_000) as made:
        yield made


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
        (
            {**JSON, "Content-Encoding": "gzip"},
            b"{",
            (415, "unsupported_media_type"),
            "Content-Encoding 'gzip'",
        ),
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
        # Before the JSON is parsed, which is not valid.
        (JSON, b'{"images": [' + b'"",' * 13, (413, "too_many_images"), "at most 4"),
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


def test_unusual_bodies_are_read(client: Client) -> None:
    """JSON with a byte order mark, a file with an extended name only, and no encoding."""
    body = b'\xef\xbb\xbf{"images": ["YWJj"]}'
    assert texts(client.http.post("/v1/read", content=body, headers=JSON)) == ["abc"]
    body = PART.replace(b'filename="a"', b"FileName* = UTF-8''x%C3%A9.png") + b"--xx--\r\n"
    assert texts(client.http.post("/v1/read", content=body, headers=FORM)) == ["abc"]
    headers = {**RAW, "Content-Encoding": "Identity"}
    assert texts(client.http.post("/v1/read", content=b"abc", headers=headers)) == ["abc"]


def test_a_body_of_almost_twice_the_bound_is_received_before_the_error() -> None:
    """Else a client that is still sending would lose the connection and not see the error."""
    part = {"type": "http.request", "body": bytes(2**20), "more_body": True}
    chunks = [part] * 62 + [{**part, "more_body": False}]
    with Client(max_body=2**25) as client:
        start, body = exchange(client, chunks, (b"content-length", b"%d" % (63 * 2**20)))
    assert json.loads(body["body"])["error"]["code"] == "too_large"
    assert not chunks
    assert (b"connection", b"close") not in start["headers"]


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


def test_a_request_can_have_as_many_data_uris_as_images() -> None:
    uris = ["data:image/png;base64,YWJj", "data:image/gif,a" + "," * 99, '\\",' * 9, "YQ=="]
    body = json.dumps({"images": uris}).encode()
    assert bodies.images("application/json", body, 4) == uris


def test_the_time_of_counting_images_is_linear() -> None:
    """It would take hours, if the end of the text were looked for from each quotation mark."""
    with pytest.raises(wire.RequestError, match="the JSON is not valid"):
        bodies.images("application/json", b'{"images": ["' + b'\\"' * 10**6, 4)


def test_bodies_share_a_budget() -> None:
    with Client(max_body=99, max_bodies=99) as client:
        others = []

        async def read_another(_: object) -> Any:
            post = functools.partial(client.http.post, content=b"a" * 40, headers=RAW)
            others.append(await asyncio.to_thread(post, "/v1/read"))
            return {"type": "http.request", "body": b"a", "more_body": False}

        begin = {"type": "http.request", "body": b"a" * 60, "more_body": True}
        start, _ = exchange(client, [begin, read_another], CHUNKED)
        assert start["status"] == 200
        assert error(others[0]) == (503, "busy")  # 60 and 40 are more than 99
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
    response = client.http.request(method, path)
    assert error(response) == expected
    if path == "/v1/read" and expected[0] == 405:
        assert response.json()["error"]["message"] == "Method Not Allowed; use POST"


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
    for path in ("/readyz", "/healthz"):  # as a load balancer asks
        assert client.http.head(path).status_code == 200
    client.service.is_draining = True
    assert error(client.http.get("/readyz")) == (503, "stopping")
    assert client.http.get("/healthz").json() == {"status": "ok"}
    assert texts(client.read("a")) == ["a"]  # on a connection that is still open
    client.service.batcher.is_warm = False
    assert error(client.http.get("/readyz")) == (503, "starting")
    assert client.http.head("/readyz").status_code == 503
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
