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
