"""The page: its pixels and files in Node, and the whole page in Chromium (long)."""

import dataclasses
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

import crnn_jax
from crnn_jax import interop
from crnn_jax.data import image_io
from crnn_jax.interop import model_spec
from tests.helpers import node
from tests.helpers.browser import CHROMIUM, browser

NPM = shutil.which("npm")
PAGE = Path(interop.__file__).parent / "page"


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_are_those_of_pillow(
    trained: Path, tmp_path: Path, channels: Literal[1, 3], crop: bool
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
    ink[15:17, 10:50] = 0, 90, 0, 255  # a dark line through the white ink
    images.append(Image.fromarray(ink))
    ink[10:30, 10:50, 3] = 255  # a white card with the line on it
    images.append(Image.fromarray(ink))
    values = {
        "reader": model_spec.describe(reader),
        "images": [[p.width, p.height, list(p.tobytes())] for p in images],
    }
    program = "input.images.map(([w, h, rgba]) => Array.from(toPixels(rgba, w, h, reader).pixels))"
    found = node.run(program, values, tmp_path)
    for pixels, image in zip(found, images, strict=True):
        expected = image_io.to_array(image_io.decode(image), data).reshape(-1)
        difference = np.abs(expected.astype(int) - pixels)
        # Pillow rounds transparency and weights to fixed point: a gray level here and there.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.1


IS_REFUSED = """(file) => {
    try { refuseAnimation(Uint8Array.from(file), reader); } catch { return true; }
    return false;
}"""


def test_files_with_several_frames_are_refused_unless_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (9, 7), gray).convert("RGB") for gray in (0, 90, 200)]
    cases = []
    for kind in ("GIF", "WEBP", "PNG"):
        for count in (1, 2, 3):
            content = io.BytesIO()
            frames[0].save(content, kind, save_all=True, append_images=frames[1:count])
            cases.append((content.getvalue(), count > 1))
    # A still image, for programs that know no animations, and a single frame.
    content = io.BytesIO()
    frames[0].save(content, "PNG", save_all=True, append_images=frames[1:2], default_image=True)
    cases.append((content.getvalue(), True))
    for kind in ("PNG", "JPEG", "BMP"):
        content = io.BytesIO()
        frames[0].save(content, kind)
        cases.append((content.getvalue(), False))
    cases += [(b"", False), (b"GIF89a", False), (b"\x89PNG\r\n\x1a\n\0\0", False)]
    files, expected = [list(content) for content, _ in cases], [refused for _, refused in cases]
    for frame, found in (("", expected), ("last", expected), ("first", [False] * len(cases))):
        values = {"reader": {"input": {"frame": frame}}, "files": files}
        assert node.run(f"input.files.map({IS_REFUSED})", values, tmp_path) == found


def test_the_page_has_all_its_scripts(trained: Path, tmp_path: Path) -> None:
    dist = tmp_path / "runtime" / "dist"
    dist.mkdir(parents=True)
    for name in ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (dist / name).write_bytes(b"")
    (tmp_path / "runtime" / "package.json").write_text('{"version": "1"}')
    page = interop.export(trained, "web", tmp_path / "page", tmp_path / "runtime")
    loaded = re.findall(r'<script src="(.*?)"', page.read_text())
    assert {path.name for path in PAGE.glob("*.js")} < set(loaded)
    assert all((page.parent / name).exists() for name in loaded)


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

ERRORS = "[...document.querySelectorAll('.error')].map((error) => error.textContent)"


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
    frames = [Image.new("L", (64, 16), gray) for gray in (0, 200)]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    files = [*sorted(captchas.iterdir())[:10], tmp_path / "bad.png", tmp_path / "two.gif"]
    with browser(tmp_path / "profile") as chromium:
        chromium.open(page.as_uri())
        chromium.choose("#files", files)
        chromium.evaluate(WAIT.replace("COUNT", "12"))
        found = chromium.evaluate(READ)
        errors = chromium.evaluate(ERRORS)
        refused = chromium.evaluate(CONNECT)
    reader = crnn_jax.load(run)
    reader.width_by_image = False  # the page has one width
    expected = reader.predict(files[:10])
    assert [text for text, _, _ in found] == [reading.text for reading in expected]
    assert [len(reading.text) for reading in expected] == [spans for *_, spans in found]
    for (_, confidence, _), reading in zip(found, expected, strict=True):
        assert confidence == pytest.approx(reading.confidence, abs=2e-3)  # a tenth of a percent
    assert "bad.png: cannot be read" in errors[0]
    assert "two.gif: cannot be read (it has several frames;" in errors[1]
    assert refused == "connect-src"
