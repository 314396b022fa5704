"""Conversion of a decoded image to the input of the model."""

import dataclasses

import numpy as np
from PIL import Image

from crnn_jax.data import image_io
from tests.helpers.fixtures import CONFIG


def test_width_becomes_the_first_axis() -> None:
    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)  # [H, W]
    config = dataclasses.replace(CONFIG, width=3, height=2)
    array = image_io.to_array(Image.fromarray(pixels), config)
    np.testing.assert_array_equal(array[..., 0], [[0, 3], [1, 4], [2, 5]])


def test_resizing_down_averages_instead_of_picking() -> None:
    # Stripes a pixel wide, black and white: every antialiased pixel is gray.
    stripes = np.tile(np.array([0, 255], np.uint8), (16, 64))  # [16, 128]
    array = image_io.to_array(Image.fromarray(stripes), CONFIG)
    # A triangle over four pixels weights black and white equally, except at the two edges.
    assert np.abs(array[1:-1].astype(int) - 127).max() <= 1


def test_gray_weighs_colors_as_itu_r_601() -> None:
    image = Image.new("RGB", (64, 16), (200, 100, 50))
    grey = image_io.to_array(image, CONFIG)
    assert np.unique(grey).tolist() == [round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)]
    colour = image_io.to_array(image, dataclasses.replace(CONFIG, channels=3))
    assert colour.shape == (64, 16, 3)
    assert colour[0, 0].tolist() == [200, 100, 50]


def test_transparency_lies_on_white_and_16_bits_are_scaled() -> None:
    clear = Image.new("RGBA", (64, 16), (0, 0, 0, 0))
    assert image_io.to_array(clear, CONFIG).min() == 255
    deep = Image.fromarray(np.full((16, 64), 0x8000, np.uint16))
    assert np.unique(image_io.to_array(deep, CONFIG)).tolist() == [128]


def test_white_letters_on_a_clear_ground_are_black_beside_darker_specks() -> None:
    letters = np.zeros((16, 64, 4), np.uint8)
    letters[..., :3] = 255
    letters[2:14, 4:60:8, 3] = 255  # seven strokes, one pixel wide
    letters[8, 20:30] = 0, 0, 90, 255  # a line through two of them
    found = image_io.to_array(Image.fromarray(letters), CONFIG)[..., 0].T  # [H, W]
    assert np.unique(found).tolist() == [0, 255]
    np.testing.assert_array_equal(found == 0, letters[..., 3] == 255)


def test_dark_letters_with_white_around_them_keep_their_colors() -> None:
    outlined = np.zeros((16, 64, 4), np.uint8)
    for column in range(4, 60, 8):
        outlined[2:14, column : column + 4] = 255  # white, opaque
        outlined[2:14, column + 1 : column + 3, :3] = 0  # two of four columns are black
    card = np.zeros((16, 64, 4), np.uint8)
    card[4:12, 8:40] = 255  # a white card on a clear background, with a letter on it
    card[5:11, 20:22, :3] = 0
    for pixels in (outlined, card):
        found = image_io.to_array(Image.fromarray(pixels), CONFIG)[..., 0].T
        np.testing.assert_array_equal(found == 0, (pixels[..., 3] == 255) & (pixels[..., 0] == 0))
