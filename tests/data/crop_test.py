"""The box that data.crop keeps, on drawings with a known box."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from crnn_jax.data import crop, fitting, generated, image_io
from crnn_jax.data.synthetic.wide import family
from tests.helpers.fixtures import CONFIG


def _drawing(paper: int = 255, ink: int = 0) -> np.ndarray:
    """A block 40 wide and 20 high at (100, 30) in 300x80: u8 [W, H, 1]."""
    image = np.full((300, 80, 1), paper, np.uint8)
    image[100:140, 30:50] = ink
    return image


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (0, 255), (128, 60)])
def test_a_block_keeps_a_margin_of_a_quarter_above_and_a_fifth_beside(paper: Any, ink: Any) -> None:
    # Squared counts of ink nearby, along the width: 9, 16, 36 times 25, 16, 9. The outermost are
    # 9 of 950, less than 1 %. Along the height 9 of 450 is 2 %, so the outermost rows stay.
    box = crop.content_box(_drawing(paper, ink))
    assert tuple(map(int, box)) == (101 - 4, 30 - 5, 139 + 4, 50 + 5)


def test_text_that_touches_an_edge_leaves_the_paper_white() -> None:
    """220 of the 760 pixels of the border are black, so their median is white."""
    image = np.full((300, 80, 1), 255, np.uint8)
    image[40:260, 0:20] = 0
    # Along the width 9, 16, 216 times 25, 16, 9, which are 5,450: 9 + 16 + 25 < 54.5 <= 75.
    assert tuple(map(int, crop.content_box(image))) == (43 - 4, 0, 257 + 4, 20 + 5)


def test_margins_are_rounded_up() -> None:
    image = np.full((300, 80, 1), 255, np.uint8)
    image[100:140, 30:52] = 0
    # Along the width, 9 of 950 is less than 1 %; along the height, 9 of 500 is more. A fifth of 22
    # is 4.4, and a quarter is 5.5.
    assert tuple(map(int, crop.content_box(image))) == (101 - 5, 30 - 6, 139 + 5, 52 + 6)


def test_thin_lines_and_dots_across_the_canvas_do_not_count() -> None:
    image = _drawing()
    # 100 pixels with 5 in the 5x5 around: 2,500, beside 950 * 450 = 427,500 of the block, 0.6 %.
    image[:100, 10] = 0
    image[::20, 70] = 0
    # On the left, the line and the first column of the block make up 1 % together.
    assert tuple(map(int, crop.content_box(image))) == (100 - 4, 30 - 5, 139 + 4, 50 + 5)


@pytest.mark.parametrize(("level", "right"), [(175, 139 + 4), (155, 219 + 4)])
def test_a_pale_block_counts_from_35_percent_of_the_contrast(level: int, right: int) -> None:
    # Ink differs from paper by 255. A difference of 80 is below the limit of 89.25; 100 is above.
    image = _drawing()
    image[180:220, 30:50] = level
    # With two blocks of 475, a column of 9 is less than 1 % of both, as with one block.
    assert int(crop.content_box(image)[2]) == right


@pytest.mark.parametrize("ink", [[], [(5, 5), (200, 70)]])
def test_an_image_without_ink_stays_whole(ink: Any) -> None:
    image = np.full((300, 80, 3), 200, np.uint8)
    for x, y in ink:
        image[x, y] = 0
    assert tuple(map(int, crop.content_box(image))) == (0, 0, 300, 80)


def test_color_counts_where_gray_is_even() -> None:
    image = np.full((60, 40, 3), (100, 100, 100), np.uint8)
    image[20:40, 10:30] = (200, 49, 100)  # the same luma
    # 20 columns and rows: the outermost are 9 of 450.
    assert tuple(map(int, crop.content_box(image))) == (20 - 4, 10 - 5, 40 + 4, 30 + 5)


def test_a_traced_box_is_the_host_s() -> None:
    rng = np.random.default_rng(0)
    box = jax.jit(lambda pixels: crop.content_box(pixels, jnp))
    for _ in range(5):
        image = np.full((120, 50, 3), 250, np.uint8)
        x, y = rng.integers(5, 60, 2)
        image[x : x + 40, y // 3 : y // 3 + 12] = rng.integers(0, 100, 3)
        image[rng.integers(0, 120, 20), rng.integers(0, 50, 20)] = 0
        assert [int(a) for a in box(image)] == [int(a) for a in crop.content_box(image)]


def test_files_and_generated_images_are_cropped_alike() -> None:
    config = dataclasses.replace(CONFIG, width=44, height=30, crop=True)
    gray = _drawing()
    found = image_io.to_array(Image.fromarray(gray[..., 0].T), config)
    # 46x30 pixels around the block, 46 columns squeezed to 44: the block stays 20 rows high.
    ink = found[..., 0] < 128
    assert ink.any(0).tolist() == [5 <= y < 25 for y in range(30)]
    traced = jax.jit(fitting.cropped, static_argnums=1)(gray, (44, 30))
    assert np.abs(np.asarray(traced) - found).max() <= 1


@pytest.mark.long
def test_a_stream_of_cropped_images_fills_its_height() -> None:
    look = family.Wide()
    config = dataclasses.replace(CONFIG, style="wide", width=256, height=64, channels=3, crop=True)
    numbers = np.arange(look.chunk, dtype=np.int32)
    images, _ = generated.drawer(look, config)(numbers)
    plain, _ = generated.drawer(look, dataclasses.replace(config, crop=False))(numbers)
    for image, other in zip(np.asarray(images), np.asarray(plain), strict=True):
        left, top, right, bottom = map(int, crop.content_box(other))
        whole = Image.fromarray(other.swapaxes(0, 1)).crop((left, top, right, bottom))
        expected = np.asarray(whole.resize((256, 64), Image.Resampling.BILINEAR)).swapaxes(0, 1)
        # At the edge of the box, the device also interpolates with pixels outside of it.
        inner = np.abs(image.astype(int) - expected)[8:-8, 8:-8]
        assert inner.mean() < 1


def test_the_fingerprint_of_generated_images_tells_cropped_ones() -> None:
    look = family.Wide()
    cropped = dataclasses.replace(CONFIG, crop=True)
    assert generated.fingerprint(look, CONFIG, 10) != generated.fingerprint(look, cropped, 10)
