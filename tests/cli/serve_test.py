"""The command serve: its options and what it refuses before it loads a reader."""

from __future__ import annotations

import builtins
import math
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.cli import serve
from crnn_jax.errors import ConfigError
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.serving import server
from crnn_jax.serving.programs import Programs
from crnn_jax.serving.settings import Settings
from tests.helpers.command_line import call

TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(serve.TOKEN, raising=False)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Programs, Settings]]:
    """The calls of `server.serve`, which returns at once."""
    calls: list[tuple[Programs, Settings]] = []

    def note(programs: Programs, bound: Any, settings: Settings, report: Any) -> None:
        bound.close()
        calls.append((programs, settings))

    monkeypatch.setattr(server, "serve", note)
    return calls


def test_options_reach_the_decoder_and_the_bounds(
    trained: Path, capsys: pytest.CaptureFixture[str], served: list[tuple[Programs, Settings]]
) -> None:
    options = (
        "--port", 0, "--length", "2-3", "--allowed", "ab", "--max-batch", 4, "--max-queue", 9,
        "--max-images", 3, "--max-body", 1, "--max-connections", 5, "--timeout", 7,
        "--min-confidence", 0.5, "--frame", "last",
    )  # fmt: skip
    assert call(capsys, "serve", trained, *options) == (0, "", "")
    ((programs, settings),) = served
    decoder = programs.decoder
    assert (decoder.shortest, decoder.longest) == (2, 3)
    assert sum(decoder.allowed[0]) == 2
    assert programs.sizes == (1, 4)
    assert programs._form.frame == "last"
    assert settings == Settings(
        port=0, min_confidence=0.5, max_images=3, max_queue=9, max_body=2**20, max_connections=5,
        answer_seconds=7, drain_seconds=7,
    )  # fmt: skip


def test_same_scheme_finds_the_form_in_a_folder(
    trained: Path,
    captchas: Path,
    capsys: pytest.CaptureFixture[str],
    served: list[tuple[Programs, Settings]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[int] = []

    def form_of(self: Recognizer, images: list[str], **options: Any) -> Any:
        seen.append(len(images))
        return self.decoder(length=3, allowed="ab")

    monkeypatch.setattr(Recognizer, "form_of", form_of)
    options = ("--port", 0, "--same-scheme", "--data", captchas)
    assert call(capsys, "serve", trained, *options)[0] == 0
    assert seen == [40]
    assert served[0][0].decoder.longest == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--same-scheme",), "name it with --data"),
        (("--max-queue", 9, "--max-images", 10), "max_images (10) must not exceed max_queue (9)"),
        (("--port", 70_000), "the port must be from 0 to 65535"),
        (("--host", "0.0.0.0", "--port", 0), "with --token-file, or set CRNN_JAX_TOKEN"),
        (("--host", "nowhere.invalid"), "is not known"),
        (("--token-file", "/nowhere/token"), "--token-file /nowhere/token: No such file"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: Any, message: str
) -> None:
    status, out, err = call(capsys, "serve", tmp_path, *options)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_missing_package_is_named_with_the_extra(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "crnn_jax.serving":
            raise ModuleNotFoundError("No module named 'fastapi'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    status, _, err = call(capsys, "serve", tmp_path)
    assert status == 2
    assert err == "error: No module named 'fastapi'; install it: pip install 'crnn-jax[serve]'\n"


def test_a_token_comes_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert serve.token(None) is None
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert serve.token(str(file)) == TOKEN
    monkeypatch.setenv(serve.TOKEN, TOKEN)
    assert serve.token(None) == TOKEN
    with pytest.raises(ConfigError, match="choose one"):
        serve.token(str(file))
    # The user may have forgotten the variable, so the error names it.
    monkeypatch.setenv(serve.TOKEN, "")
    with pytest.raises(ConfigError, match=r"^CRNN_JAX_TOKEN: the token must have at least 16"):
        serve.token(None)
    monkeypatch.delenv(serve.TOKEN)
    file.write_text("short")
    with pytest.raises(ConfigError, match=f"^--token-file {file}: the token must have at least 16"):
        serve.token(str(file))


def test_a_folder_without_same_scheme_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "serve", "nope", "--data", "folder")
    assert (status, out) == (2, "")
    assert "--data has an effect only with --same-scheme" in err


@pytest.mark.parametrize(("given", "most"), [(128, 128), (150, 150), (1, 128)])
def test_all_bodies_have_at_least_the_room_of_one(
    trained: Path,
    capsys: pytest.CaptureFixture[str],
    served: list[tuple[Programs, Settings]],
    given: int,
    most: int,
) -> None:
    call(capsys, "serve", trained, "--port", 0, "--max-body", given)
    ((_, settings),) = served
    assert (settings.max_body, settings.max_bodies) == (given * 2**20, most * 2**20)


@pytest.mark.parametrize("token", ["", "short", TOKEN + " ", TOKEN + "\u00e9", TOKEN + "\x01"])
def test_a_token_that_a_header_cannot_have_or_that_is_short_is_refused(token: str) -> None:
    with pytest.raises(ConfigError, match="at least 16 visible ASCII characters"):
        Settings(token=token)
    assert Settings(token=TOKEN).token == TOKEN


@pytest.mark.parametrize(
    "values",
    [
        {"max_images": 2000},
        {"max_queue": 0},
        {"body_seconds": -1.0},
        {"answer_seconds": math.nan},
        {"max_bodies": 2**24},
    ],
)
def test_bounds_that_make_no_sense_are_refused(values: Any) -> None:
    (name,) = values
    with pytest.raises(ConfigError, match=name):
        Settings(**values)
