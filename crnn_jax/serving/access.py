"""Access to a server: for requests with its token, or for programs of this machine."""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
from collections.abc import Mapping

from crnn_jax.errors import ConfigError, CrnnError, quote
from crnn_jax.serving.settings import Settings
from crnn_jax.serving.wire import RequestError

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")


def listen(settings: Settings) -> socket.socket:
    """Returns a socket that is bound to the address of a server.

    Raises:
      ConfigError: the address can be reached from other machines, and there is no token.
      CrnnError: the address cannot be used.
    """
    name = f"{settings.host}:{settings.port}"
    try:
        found = socket.getaddrinfo(
            settings.host or None,
            settings.port,
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
    except (OSError, UnicodeError) as error:
        raise CrnnError(f"the host {quote(settings.host)} is not known: {error}") from error
    family, _, _, _, address = found[0]
    if settings.token is None and not is_loopback(str(address[0])):
        raise ConfigError(
            f"{name} can be reached from other machines; name a file with a token with "
            "--token-file, or set CRNN_JAX_TOKEN"
        )
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise CrnnError(
            f"the address {name} cannot be used: {error.strerror}; choose another --port, or "
            "--port 0 for a free one"
        ) from error
    return bound


def url_of(bound: socket.socket) -> str:
    """Returns the URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether a host, without a port, can be reached from this machine only."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check(headers: Mapping[str, str], token: str | None) -> None:
    """Checks the headers of a request; names are in lower case.

    With a token, the request must have it. Without one, the server is reachable from this machine
    only. Requests of web pages in a browser of this machine are then refused, whether they use
    another name for this machine (DNS rebinding) or another origin.

    Raises:
      RequestError: the request is refused.
    """
    if token is None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if not ((found := _HOST.fullmatch(host)) and is_loopback(found[1])):
            raise RequestError(
                403, "forbidden_host", "the header Host must be a name of this machine: localhost"
            )
        if origin is not None and origin.lower().partition("://")[2] != host.lower():
            raise RequestError(403, "forbidden_origin", "requests of other web pages are refused")
        return
    scheme, _, given = headers.get("authorization", "").partition(" ")
    expected = token.encode()
    is_same = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), expected)
    if scheme.lower() != "bearer" or not is_same:
        raise RequestError(
            401,
            "unauthorized",
            "the header Authorization must be: Bearer TOKEN",
            {"WWW-Authenticate": "Bearer"},
        )
