"""The code of the page in Node, compared with Pillow and this package; and in Chromium (long)."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax import interop
from crnn_jax.data import image_io
from crnn_jax.interop import model_spec
from crnn_jax.models import crnn
from tests.helpers.browser import CHROMIUM, browser

NODE, NPM = shutil.which("node"), shutil.which("npm")
SCRIPT = Path(interop.__file__).parent / "page" / "reader.js"


def _node(program: str, values: Any, tmp_path: Path) -> Any:
    """The JSON that a program prints. It runs after reader.js and has `input` and `reader`."""
    if NODE is None:
        pytest.skip("Node is not installed")
    (tmp_path / "input.json").write_text(json.dumps(values))
    source = (
        SCRIPT.read_text()
        + f"const input = JSON.parse(require('fs').readFileSync('{tmp_path}/input.json'));\n"
        + f"const reader = input.reader;\nconsole.log(JSON.stringify({program}));\n"
    )
    (tmp_path / "test.js").write_text(source)
    done = subprocess.run([NODE, tmp_path / "test.js"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_pillow(
    trained: Path, tmp_path: Path, channels: int, crop: bool
) -> None:
    reader = crnn_jax.load(trained)  # 64x16, gray
    data = dataclasses.replace(reader.config.data, channels=channels, crop=crop)
    reader.config = dataclasses.replace(reader.config, data=data)
    rng = np.random.default_rng(0)
    sizes = [(64, 16), (200, 50), (31, 9), (64, 40), (7, 16), (1, 1)]
    images = [Image.fromarray(rng.integers(0, 256, (h, w, 4)).astype(np.uint8)) for w, h in sizes]
    text = np.full((80, 300, 4), 255, np.uint8)
    text[30:55, 70:90, :3] = text[20:60, 120:123, :3] = (0, 90, 0)
    text[rng.integers(0, 80, 50), rng.integers(0, 300, 50), :3] = 0
    images.append(Image.fromarray(text))
    ink = np.full((40, 100, 4), 255, np.uint8)  # white, in the transparency alone
    ink[..., 3] = np.arange(100) // 2
    ink[10:30, 20:40, 3] = 255
    images.append(Image.fromarray(ink))
    images.append(Image.fromarray(ink ^ np.array([0, 0, 0, 255], np.uint8)))
    values = {
        "reader": model_spec.describe(reader, None),
        "images": [[p.width, p.height, list(p.tobytes())] for p in images],
    }
    program = "input.images.map(([w, h, rgba]) => Array.from(toPixels(rgba, w, h, reader).pixels))"
    found = _node(program, values, tmp_path)
    for pixels, image in zip(found, images, strict=True):
        expected = image_io.to_array(image_io.decode(image), data).reshape(-1)
        difference = np.abs(expected.astype(int) - pixels)
        # Pillow rounds transparency and weights to fixed point: a gray level here and there.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.1


def test_texts_places_and_probabilities_are_the_reader_s(
    trained: Path, captchas: Path, tmp_path: Path
) -> None:
    reader = crnn_jax.load(trained)
    files = sorted(captchas.iterdir())[:12]
    images = [image_io.to_array(image_io.open_image(f), reader.config.data) for f in files]
    logits = np.asarray(crnn.apply(reader.model, reader.params, jnp.stack(images)))
    values = {
        "reader": model_spec.describe(reader, None),
        "logits": [rows.reshape(-1).tolist() for rows in logits],
    }
    found = _node("input.logits.map((row) => explain(row, reader))", values, tmp_path)
    for here, there in zip(reader.explain(files), found, strict=True):
        assert there["text"] == here.text
        assert there["confidence"] == pytest.approx(here.confidence, rel=1e-3)
        assert len(there["characters"]) == len(here.characters)
        for ours, other in zip(here.characters, there["characters"], strict=True):
            assert other["symbol"] == ours.symbol
            assert other["probability"] == pytest.approx(ours.probability, abs=1e-3)
            assert (other["left"], other["right"]) == pytest.approx((ours.left, ours.right))


def test_text_from_right_to_left_is_typed_in_the_page_as_in_the_package(tmp_path: Path) -> None:
    # The orders of tests/bidi_test.py, from the image to the text as it is typed.
    images = ["םולש", "١٢٣جبد", "דג12בא", "דגxyבא", "12באxy", "1-2א", "בx1א", "ב(א", "ab12", ""]
    typed = ["שלום", "دبج١٢٣", "אב12גד", "אבxyגד", "xyאב12", "א1-2", "אx1ב", "א(ב", "ab12", ""]
    symbols = [list(text) for text in images]
    found = _node("input.images.map(asTyped)", {"reader": {}, "images": symbols}, tmp_path)
    assert found == typed
    # A letter with its marks is one symbol (data.marks=joined): the marks stay behind it.
    joined = [["ם", "\u05d5", "ל", "ש\u05c1"], ["\u05d2", "1", "2", "ב\u05bc", "א\u05b7"]]
    found = _node("input.images.map(asTyped)", {"reader": {}, "images": joined}, tmp_path)
    assert found == ["ש\u05c1ל\u05d5ם", "א\u05b7ב\u05bc12\u05d2"]
    # One step per symbol, without repeats.
    logits = np.eye(4)[[0, 1, 2]].reshape(-1).tolist()
    reader = {
        "alphabet": ["א", "ב", "1"],
        "blank": 3,
        "temperature": 1,
        "output": {"steps": 3, "classes": 4},
    }
    for direction, expected in (("ltr", "אב1"), ("rtl", "1בא")):
        values = {"reader": {**reader, "direction": direction}, "logits": logits}
        assert _node("explain(input.logits, reader).text", values, tmp_path) == expected


def test_a_runtime_that_is_none_is_named(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(crnn_jax.errors.RunError, match="is not the npm package onnxruntime-web"):
        interop.export(trained, "web", tmp_path, runtime=tmp_path)


WAIT = """new Promise((done) => {
    const wait = () => results.children.length < COUNT ? setTimeout(wait, 20) : done();
    wait();
})"""
CONNECT = """new Promise((done) => {
    document.addEventListener('securitypolicyviolation', (e) => done(e.effectiveDirective));
    fetch('http://127.0.0.1:9/').catch(() => {});
})"""
READ = """[...document.querySelectorAll('figure')].map((figure) => [
    figure.querySelector('.text').textContent,
    parseFloat(figure.querySelector('.confidence').textContent) / 100,
    figure.querySelectorAll('.image span').length,
])"""


@pytest.mark.long
@pytest.mark.parametrize("name", ["trained", "general"])
def test_the_page_reads_ten_images_in_a_browser(
    name: str, trained: Path, captchas: Path, tmp_path: Path
) -> None:
    """Opened from a disk, as by a double-click; needs Chromium, and npm to install."""
    if CHROMIUM is None or NPM is None:
        pytest.skip("Chromium or npm is not installed")
    command: list[str | Path] = [
        NPM,
        "install",
        "--silent",
        "--prefix",
        tmp_path,
        "onnxruntime-web@1.30.0",
    ]
    subprocess.run(command, check=True)
    runtime = tmp_path / "node_modules" / "onnxruntime-web"
    run = trained if name == "trained" else name
    page = interop.export(run, "web", tmp_path / "page", runtime)
    (tmp_path / "bad.png").write_text("no picture")
    files = [*sorted(captchas.iterdir())[:10], tmp_path / "bad.png"]
    with browser(tmp_path / "profile") as chromium:
        chromium.open(page.as_uri())
        chromium.choose("#files", files)
        chromium.evaluate(WAIT.replace("COUNT", "11"))
        found = chromium.evaluate(READ)
        errors = chromium.evaluate("document.querySelector('.error').textContent")
        refused = chromium.evaluate(CONNECT)
    reader = crnn_jax.load(run)
    reader.width_by_image = False  # the page has one width
    expected = reader.predict(files[:10])
    assert [text for text, _, _ in found] == [reading.text for reading in expected]
    assert [len(reading.text) for reading in expected] == [spans for *_, spans in found]
    for (_, confidence, _), reading in zip(found, expected, strict=True):
        assert confidence == pytest.approx(reading.confidence, abs=2e-3)  # a tenth of a percent
    assert "bad.png: cannot be read" in errors
    assert refused == "connect-src"
