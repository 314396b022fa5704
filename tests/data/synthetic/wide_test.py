"""The wide generator compared with counts by hand and with Pillow."""

import dataclasses
import shutil
import zipfile
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from crnn_jax.data import generated, sources
from crnn_jax.data.synthetic import glyphs
from crnn_jax.data.synthetic.wide import (
    camera,
    clutter,
    colors,
    face_atlas,
    face_choice,
    family,
    render,
    text,
)
from crnn_jax.data.synthetic.wide.draws import Draws
from crnn_jax.data.synthetic.wide.face_atlas import FaceAtlas
from crnn_jax.errors import ConfigError
from tests.helpers.fixtures import MakeConfig
from tests.helpers.looks import FACES


class InThisProcess:
    """Replaces a pool of processes."""

    def __init__(self, **_: Any) -> None:
        self.map = lambda call, items, chunksize: map(call, items)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def atlas() -> FaceAtlas:
    return face_atlas.build(glyphs.path_of(name) for name in FACES)


@pytest.fixture(scope="module")
def drawn(atlas: FaceAtlas) -> tuple[np.ndarray, np.ndarray]:
    images, ids = render.images(text.on_device(atlas), np.uint32(3), np.arange(8, dtype=np.int32))
    return np.asarray(images), np.asarray(ids)


def test_a_face_is_scaled_to_the_height_of_its_capitals(atlas: FaceAtlas) -> None:
    h = face_atlas.SYMBOLS.index("H")
    for field in atlas.fields[:, h]:
        rows = np.flatnonzero((field > face_atlas.ZERO).any(0))
        assert (rows[0], rows[-1] + 1) == (face_atlas.BASELINE - 19, face_atlas.BASELINE)


def test_metrics_are_those_of_the_font(atlas: FaceAtlas) -> None:
    for f, name in enumerate(FACES):
        font = ImageFont.truetype(glyphs.path_of(name), 1000)
        capital = -font.getbbox("H", anchor="ls")[1]
        for symbol in "m1?":
            image = Image.new("L", (3000, 2000))
            ImageDraw.Draw(image).text((1000, 1500), symbol, 255, font, anchor="ls")
            left, _, right, _ = np.array(image.getbbox()) - 1000
            g = face_atlas.SYMBOLS.index(symbol)
            found = np.array([atlas.left[f, g], atlas.width[f, g], atlas.advance[f, g]])
            wanted = np.array([left, right - left, font.getlength(symbol)]) * 19 / capital
            np.testing.assert_allclose(found, wanted, atol=0.4)  # a grid of quarters, hinting


def test_an_atlas_survives_its_file(atlas: FaceAtlas, tmp_path: Path) -> None:
    face_atlas.save(atlas, tmp_path / "faces.npz")
    again = face_atlas.load(tmp_path / "faces.npz")
    assert again.digest() == atlas.digest()
    np.testing.assert_array_equal(again.fields, atlas.fields)
    look = family.load(str(tmp_path / "faces.npz"))
    assert look.describe() == {
        "family": "wide", "version": render.VERSION, "faces": atlas.digest()
    }  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 1000])
def test_a_file_that_is_no_atlas_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "faces.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"faces\.npz is not a face atlas"):
        face_atlas.load(tmp_path / "faces.npz")
    with pytest.raises(ConfigError, match=r"absent\.npz cannot be read: No such file"):
        face_atlas.load(tmp_path / "absent.npz")


def test_a_file_that_says_it_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "faces.npz", "w") as file:
        file.writestr("fields.npy", b"0")
    content = bytearray((tmp_path / "faces.npz").read_bytes())
    # The size of the member is 24 bytes after the signature of its entry in the directory.
    size = content.index(b"PK\1\2") + 24
    assert content[size : size + 4] == b"\1\0\0\0"
    content[size : size + 4] = b"\1\0\0\x20"  # 2**29 + 1
    (tmp_path / "faces.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"unpacks to 536870913 bytes"):
        face_atlas.load(tmp_path / "faces.npz")


@pytest.mark.long
def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**29 + 1,)}
    zeros = bytes(2**20)
    with (
        zipfile.ZipFile(tmp_path / "faces.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=4) as file,
        file.open("fields.npy", "w") as member,
    ):
        np.lib.format.write_array_header_1_0(member, header)
        for _ in range(2**9):
            member.write(zeros)
        member.write(b"0")
    assert (tmp_path / "faces.npz").stat().st_size < 2**20
    with pytest.raises(ConfigError, match=r"unpacks to 5368\d+ bytes"):
        face_atlas.load(tmp_path / "faces.npz")


def test_an_atlas_of_other_symbols_is_refused(atlas: FaceAtlas, tmp_path: Path) -> None:
    face_atlas.save(atlas._replace(left=atlas.left[:, :3]), tmp_path / "faces.npz")
    with pytest.raises(ConfigError, match="another version"):
        face_atlas.load(tmp_path / "faces.npz")


def test_fonts_without_all_symbols_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    found = face_atlas.build([tmp_path / "broken.ttf", glyphs.path_of("Go-Bold")])
    assert len(found.fields) == 1
    with pytest.raises(ConfigError, match="none of 1 font files"):
        face_atlas.build([tmp_path / "broken.ttf"])


def test_an_image_is_the_same_in_any_batch(
    atlas: FaceAtlas, drawn: tuple[np.ndarray, np.ndarray]
) -> None:
    images, ids = drawn
    order = np.array([5, 0, 7, 2, 1, 3, 4, 6], np.int32)
    again, texts = render.images(text.on_device(atlas), np.uint32(3), order)
    np.testing.assert_array_equal(np.asarray(again), images[order])
    np.testing.assert_array_equal(np.asarray(texts), ids[order])
    assert len({image.tobytes() for image in images}) == 8


def test_images_show_something(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    images, ids = drawn
    assert images.shape == (8, 256, 64, 3)
    assert images.dtype == np.uint8
    assert (images.reshape(8, -1).std(1) > 3).all()
    lengths = (ids >= 0).sum(1)
    assert ((lengths >= 3) & (lengths <= 10)).all()
    for row, length in zip(ids, lengths, strict=True):  # padded on the right
        assert (row[:length] >= 0).all()
        assert (row[length:] == -1).all()


def test_the_images_of_a_version_stay_the_same(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    """Whoever changes them raises the version, on which the fingerprint of a set depends."""
    images, ids = drawn
    texts = ["".join(face_atlas.SYMBOLS[i] for i in row if i >= 0) for row in ids]
    assert texts == ["4921", "oSvO", "7QP9VY", "0577", "pvbgc", "3+2=?", "rkXrFBRd", "7lzjqm"]
    means = [198.71, 224.55, 221.51, 214.71, 29.94, 205.05, 202.83, 177.73]
    # Sums are rounded in another way on other machines.
    np.testing.assert_allclose(images.mean((1, 2, 3)), means, atol=0.2)


def test_texts_have_the_odds_that_are_declared() -> None:
    ids = np.asarray(
        jax.jit(jax.vmap(lambda k: text._draw_ids(Draws(k, 64))))(
            jax.random.split(jax.random.key(0), 4000)
        )
    )
    texts = ["".join(face_atlas.SYMBOLS[i] for i in row if i >= 0) for row in ids]
    # 22 of 96 kinds have only digits, the mixed ones by chance with 10**-n; 95 % are no sums.
    digits = np.mean([t.isdigit() for t in texts])
    assert digits == pytest.approx(0.95 * 22 / 96, abs=4 * np.sqrt(0.2 * 0.8 / 4000) + 0.01)
    sums = [t for t in texts if t[0].isdigit() and t.rstrip("=?").strip("0123456789") in "+-*/"]
    sums = [t for t in sums if any(c in "+-*/" for c in t)]
    assert len(sums) / 4000 == pytest.approx(0.05, abs=0.015)
    four = np.mean([len(t) == 4 for t in texts])
    assert four == pytest.approx(0.95 * 0.28, abs=0.05)


def test_a_color_keeps_its_luma() -> None:
    hue = np.random.default_rng(0).uniform(size=(100, 3)).astype(np.float32)
    luma = np.linspace(0, 1, 100, dtype=np.float32)
    found = np.asarray(jax.jit(colors.tinted)(hue, luma[:, None], np.float32(1)))
    assert (found >= 0).all()
    assert (found <= 1).all()
    np.testing.assert_allclose(found @ np.array([0.299, 0.587, 0.114]), luma, atol=2e-3)


def test_text_differs_from_paper() -> None:
    draws: Any = jax.jit(jax.vmap(lambda k: colors.draw_colors(Draws(k, 128))))
    found = draws(jax.random.split(jax.random.key(1), 500))
    weights = np.array([0.299, 0.587, 0.114])
    ink, paper = np.asarray(found.ink) @ weights, np.asarray(found.paper) @ weights
    assert np.abs(ink - paper[:, None]).min() > 0.16 - 5e-3


def test_a_field_is_read_between_its_pixels() -> None:
    fields = np.zeros((1, 1, face_atlas.CELL, face_atlas.CELL), np.uint8)
    fields[0, 0, 3, 5], fields[0, 0, 4, 5] = 160, 96  # +2 and -2 pixels
    fields[0, 0, 3, 6], fields[0, 0, 4, 6] = 128, 128
    sample = jax.jit(clutter.sample_field)
    flat, zero = fields.reshape(-1), np.int32(0)
    at = sample(flat, zero, *np.array([[3.0, 3.5, 3.25], [5.0, 5, 5.5]], np.float32))
    # Bilinear by hand: at a pixel, half way, and a quarter right and half down.
    np.testing.assert_allclose(at, [2.0, 0.0, 0.5], atol=0.02)
    outside = sample(flat, zero, *np.array([[-1.0], [5.0]], np.float32))
    assert float(outside[0]) == -8.0


def test_a_smaller_file_loses_detail_and_keeps_the_mean() -> None:
    reduction = jax.jit(camera._reduction, static_argnums=0)
    enlargement, apply = jax.jit(camera._enlargement, static_argnums=0), jax.jit(camera._apply)
    stripes = np.tile(np.array([0, 1], np.float32), 32)[:, None, None] * np.ones(
        (64, 16, 3), np.float32
    )
    small = reduction(64, np.float32(16), np.float32(1), np.array(False))
    same = reduction(16, np.float32(16), np.float32(1), np.array(False))
    np.testing.assert_allclose(same, np.eye(16), atol=1e-5)
    large = enlargement(64, np.float32(16))
    back = np.asarray(apply(large, np.eye(16, dtype=np.float32), apply(small, same, stripes)))
    # At the border only the inner side has weights.
    np.testing.assert_allclose(back[8:-8], 0.5, atol=0.02)
    np.testing.assert_allclose(np.asarray(large).sum(1), 1, atol=1e-5)


def test_fine_steps_of_jpeg_change_little_and_coarse_ones_leave_blocks() -> None:
    jpeg = jax.jit(camera._jpeg)
    pixels = np.random.default_rng(0).uniform(size=(20, 12, 3)).astype(np.float32)
    np.testing.assert_allclose(jpeg(pixels, np.float32(1e-4)), pixels, atol=2e-3)
    coarse = np.asarray(jpeg(pixels, np.float32(3)))
    # Only the means of blocks are left, in steps of 3 / 8.
    assert np.allclose(coarse[:8, :8], 0.375 * np.round(coarse[:1, :1] / 0.375), atol=1e-5)


def test_a_stream_of_the_wide_family_has_the_images_of_its_numbers(
    tiny_config: MakeConfig, atlas: FaceAtlas, tmp_path: Path
) -> None:
    face_atlas.save(atlas, tmp_path / "faces.npz")
    config = tiny_config(
        data__source="stream", data__style=str(tmp_path / "faces.npz"), data__count=24
    )
    data = dataclasses.replace(config.data, width=128, height=32)
    source = sources.load(data, 64)
    assert source.charset.alphabet == "".join(sorted(face_atlas.SYMBOLS))
    assert source.data.images.shape == (24, 128, 32, 1)
    draw = generated.stream(data, source.charset)
    images, labels = draw(np.array([30, 2], np.int32))
    np.testing.assert_array_equal(images[1], source.data.images[2])
    assert source.charset.decode(np.asarray(labels[1]).tolist()) == source.data.texts[2]


def test_a_long_stream_keeps_a_sample_in_memory(
    tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "SAMPLE", 6)
    config = tiny_config(
        data__source="stream", data__style="captcha_v2", data__count=100, data__val_fraction=0.05
    )
    source = sources.load(config.data, 50)
    assert len(source.data) == 11
    assert len(source.split.train) == 95
    assert source.sample.tolist() == [5, 6, 7, 8, 9, 10]


def test_chosen_faces_are_legible_and_each_look_is_there_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_choice, "_REFERENCES", ("DejaVuSerif-Bold", "Go-Medium"))
    monkeypatch.setattr(face_choice, "ProcessPoolExecutor", InThisProcess)
    for name in ("ClearSans-Bold", "DejaVuSerif-Bold", "Go-Medium"):
        shutil.copy(glyphs.path_of(name), tmp_path)
    shutil.copy(glyphs.path_of("ClearSans-Bold"), tmp_path / "again.ttf")
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    names = {Path(path).name for path in face_choice.choose([tmp_path])}
    assert {"DejaVuSerif-Bold.ttf", "Go-Medium.ttf"} <= names
    assert len(names & {"ClearSans-Bold.ttf", "again.ttf"}) == 1  # the same font
    assert "broken.ttf" not in names
    monkeypatch.setattr(face_choice, "_REFERENCES", ("absent",))
    with pytest.raises(ConfigError, match="none of the 5 fonts is a reference face"):
        face_choice.choose([tmp_path])


def test_a_face_whose_symbols_are_mixed_up_is_not_legible() -> None:
    x = np.eye(62, dtype=np.float32)
    assert face_choice._legibility(x, x) == 1
    # Shifted by one, every symbol looks like its neighbor, and no two neighbors share a name.
    assert face_choice._legibility(np.roll(x, 1, axis=0), x) == 0
