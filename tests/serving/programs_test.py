"""The compiled programs of a reader: their sizes, and the readings of a server."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import crnn_jax
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import DataError
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.inference.typicality import Typical
from crnn_jax.runtime import backend
from crnn_jax.serving import app
from crnn_jax.serving.programs import Programs
from crnn_jax.serving.settings import Settings
from tests.helpers import random_run
from tests.helpers.fixtures import MakeConfig

MOMENTS = Normalization((128.0,), (64.0,), False)


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    reader = crnn_jax.load(trained)
    reader.typical = Typical(10.0, 2.0)
    return reader


@pytest.fixture(scope="module")
def http(reader: Recognizer) -> Iterator[TestClient]:
    programs = Programs(reader, max_batch=4)
    service = app.make(programs, app.describe(programs), Settings())
    with TestClient(service.app, "http://localhost") as client:
        while not service.batcher.is_warm:
            service.batcher._thread.join(0.01)
            assert service.batcher.failure is None
        yield client


@pytest.mark.parametrize(
    ("choices", "most", "sizes"),
    [
        # At most a quarter of a batch is padding, because it takes as long as images on a CPU.
        (backend.CPU, 0, {1: 1, 2: 1, 3: 4, 5: 4, 11: 4, 12: 16, 16: 16, 100: 16}),
        (backend.CPU, 1, {1: 1, 100: 1}),
        (backend.CPU, 6, {1: 1, 4: 4, 5: 6, 6: 6, 9: 6}),
        (backend.ACCELERATOR, 0, {1: 1, 2: 4, 5: 16, 16: 16, 17: 64, 100: 64}),
        (backend.ACCELERATOR, 256, {65: 256, 300: 256}),
    ],
)
def test_the_size_of_a_batch_follows_from_the_number_of_images(
    reader: Recognizer,
    monkeypatch: pytest.MonkeyPatch,
    choices: backend.Choices,
    most: int,
    sizes: dict[int, int],
) -> None:
    monkeypatch.setattr(backend, "choices", lambda: choices)
    programs = Programs(reader, max_batch=most)
    assert {count: programs.batch_size(count, False) for count in sizes} == sizes
    assert {programs.batch_size(count, True) for count in sizes} <= {1, 4}
    assert set(sizes.values()) <= set(programs.sizes)


def test_results_are_those_of_predict_and_explain(
    reader: Recognizer, http: TestClient, captchas: Path
) -> None:
    paths = sorted(captchas.iterdir())[:4]
    files = [path.read_bytes() for path in paths]
    sent = [("images", content) for content in (*files[:3], b"not an image", *files[3:])]
    found = http.post("/v1/read", files=sent).json()["results"]
    with pytest.raises(DataError, match="not an image") as refused:
        reader.predict(b"not an image")
    assert found.pop(3)["error"]["message"] in str(refused.value)
    for result, reading in zip(found, reader.predict(paths), strict=True):
        assert result["text"] == reading.text
        # Batches of other sizes are rounded differently.
        assert result["confidence"] == pytest.approx(reading.confidence, rel=1e-4)
        assert reading.typicality is not None
        assert result["typicality"] == pytest.approx(reading.typicality, abs=1e-3)
        assert result["answered"] is reading.answered
    coded = [base64.b64encode(content).decode() for content in files]
    coded[0] = f"data:image/png;base64,{coded[0]}"
    response = http.post("/v1/read?explain=true", json={"images": coded})
    for result, expected in zip(response.json()["results"], reader.explain(paths), strict=True):
        assert result["text"] == expected.text
        for name in ("characters", "alternatives"):
            for part, other in zip(result[name], getattr(expected, name), strict=True):
                assert list(part) == list(other._asdict())
                (text, *numbers), (other_text, *other_numbers) = part.values(), other
                assert text == other_text
                assert numbers == pytest.approx(other_numbers, rel=1e-3)


def test_a_client_is_told_about_an_animation_what_it_can_do(http: TestClient) -> None:
    content, frames = io.BytesIO(), [Image.new("L", (64, 16), value) for value in (0, 255)]
    frames[0].save(content, "GIF", save_all=True, append_images=frames[1:])
    response = http.post("/v1/read", files=[("images", content.getvalue())])
    message = "it has several frames; send one, or start the server with --frame"
    assert (response.status_code, response.json()["error"]["message"]) == (422, message)


def test_no_request_waits_for_a_compilation(
    http: TestClient, captchas: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [("images", path.read_bytes()) for path in sorted(captchas.iterdir())]
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        for count in (1, 2, 3, 4, 7, 40):
            for query in ("", "?explain=true"):
                response = http.post(f"/v1/read{query}", files=files[:count])
                assert len(response.json()["results"]) == count
        compiled = [line for line in caplog.messages if "Compiling" in line]
        jax.jit(lambda x: x + 1)(np.zeros(3))  # this is noticed
        assert len([line for line in caplog.messages if "Compiling" in line]) > len(compiled)
    assert compiled == []


def test_a_reader_that_chooses_the_width_has_programs_for_each(
    tiny_config: MakeConfig, tmp_path: Path
) -> None:
    reader = random_run.write(tmp_path / "run", tiny_config(), MOMENTS)
    reader.width_by_image = True
    programs = Programs(reader, max_batch=1)
    read: list[Any] = []
    programs.read = lambda *given: read.append(given) or []  # type: ignore[method-assign]
    programs.warm_up()
    shapes = {(images[0].pixels.shape, size, explain) for images, size, explain in read}
    widths = [3 * 16, 4 * 16, 6 * 16]
    assert shapes == {((w, 16, 1), 1, explain) for w in widths for explain in (True, False)}
    assert programs.count == len(read) == 6
    for width in (20, 64, 400):  # every image has one of these widths
        content = io.BytesIO()
        Image.new("L", (width, 16)).save(content, "PNG")
        decoded = programs.decode(content.getvalue())
        assert not isinstance(decoded, DataError)
        assert len(decoded.pixels) in widths


@pytest.mark.parametrize("form", ["{}", "file://{}", "data:,{}", "~/{}"])
def test_no_text_is_the_path_of_a_file(reader: Recognizer, captchas: Path, form: str) -> None:
    path = min(captchas.iterdir())
    programs = Programs(reader)
    assert not isinstance(programs.decode(path.read_bytes()), DataError)
    for content in (form.format(path), form.format(path).encode()):
        assert isinstance(programs.decode(content), DataError)


def test_the_reader_is_described(reader: Recognizer, http: TestClient) -> None:
    found = http.get("/v1/reader").json()
    assert "".join(found["symbols"]) == reader.charset.alphabet
    assert found["input"] == {"width": 64, "height": 16, "channels": 1}
    assert found["fingerprint"] == reader.fingerprint
    assert found["lengths"] is None
    programs = Programs(reader, reader.decoder(length=(2, 4)))
    assert app.describe(programs).lengths == (2, 4)
