"""The settings of a server: its address and its bounds."""

from __future__ import annotations

import dataclasses

from crnn_jax.errors import ConfigError

LEAST_TOKEN = 16  # characters


@dataclasses.dataclass(frozen=True)
class Settings:
    """Address, token and bounds of a server. ConfigError: a value is not allowed."""

    host: str = "127.0.0.1"
    port: int = 8000  # 0: a free one
    token: str | None = None  # required unless the host is a loopback address
    min_confidence: float | None = None  # texts of lower confidence are left blank

    max_images: int = 64  # images of a request
    max_queue: int = 1024  # images that wait or are being read
    max_body: int = 2**25  # bytes of a request's body
    max_bodies: int = 2**27  # bytes of all bodies in memory
    max_connections: int = 512
    max_header: int = 2**14  # bytes of a request's head

    header_seconds: float = 10.0  # for the head of a request, and between two requests
    body_seconds: float = 20.0  # to receive the body of a request, or to send a response
    answer_seconds: float = 30.0  # from the end of the body to the answer
    drain_seconds: float = 30.0  # for the requests in progress after a signal to stop

    batch_seconds: float = 0.005  # to wait for images that are being decoded

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"the port must be from 0 to 65535, not {self.port}")
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("max_") and value < 1:
                raise ConfigError(f"{field.name} must be at least 1, not {value}")
            if field.name.endswith("_seconds") and not 0 <= value < float("inf"):
                raise ConfigError(f"{field.name} must be at least 0 and finite, not {value}")
        if self.max_images > self.max_queue:
            raise ConfigError(
                f"max_images ({self.max_images}) must not exceed max_queue ({self.max_queue})"
            )
        if self.max_body > self.max_bodies:
            raise ConfigError(
                f"max_body ({self.max_body}) must not exceed max_bodies ({self.max_bodies})"
            )
        if self.token is not None:
            check_token(self.token)


def check_token(token: str) -> None:
    """Raises ConfigError if a token is short, or has characters that a header cannot have."""
    is_visible = token.isascii() and token.isprintable() and " " not in token
    if len(token) < LEAST_TOKEN or not is_visible:
        raise ConfigError(
            f"the token must have at least {LEAST_TOKEN} visible ASCII characters and no spaces; "
            "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
