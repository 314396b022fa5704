"""Who may use the application: programs of this machine, or requests with its token."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helpers.serving_client import Client, error, texts

TOKEN = "0123456789abcdef"


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
        ({"Host": "127.0.0.1:8000", "Origin": "http://["}, "forbidden_origin"),
        ({"Host": "127.0.0.1:8000", "Origin": "http://127.0.0.1:8000@evil"}, "forbidden_origin"),
        ({"Host": "LOCALHOST:8000", "Origin": "http://localhost:8000"}, None),
    ],
)
def test_web_pages_cannot_use_a_server_on_the_loopback_interface(
    headers: dict[str, str], expected: str | None
) -> None:
    with Client() as client:
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
