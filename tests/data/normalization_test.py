from typing import Any

import numpy as np
import pytest

from crnn_jax.data import normalization
from crnn_jax.errors import DataError


def test_the_moments_of_a_set_are_those_of_numpy_a_channel_each() -> None:
    # More images than one chunk, with increasing brightness.
    images = np.random.default_rng(0).integers(0, 156, (600, 2, 3, 3), np.uint8)
    images += (np.arange(600) // 6)[:, None, None, None].astype(np.uint8)
    mean, std, per_image = normalization.fit(images, "set")
    np.testing.assert_allclose(mean, images.mean((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(std, images.std((0, 1, 2)), rtol=1e-12)
    assert not per_image
    assert normalization.fit(images, "image") == ((0.0,) * 3, (255.0,) * 3, True)
    assert normalization.fit(images, "") == ((0.0,) * 3, (255.0,) * 3, False)


def _half(dark: Any, light: Any) -> Any:
    """Images whose left half is dark."""
    image = np.full((4, 2, 1), light, np.uint8)
    image[:2] = dark
    return image


def test_differences_of_light_and_contrast_by_hand() -> None:
    # Means 100 and 140, deviations 20 and 40 of the mean 30: light 20 / 30; contrast half of ln 2.
    images = np.stack([_half(80, 120), _half(100, 180)])
    light, contrast = normalization.differences(images)
    assert light == pytest.approx(20 / 30)
    assert contrast == pytest.approx(np.log(2) / 2)
    many = np.concatenate([images] * 300)  # more than one chunk
    assert normalization.differences(many) == pytest.approx((light, contrast))


@pytest.mark.parametrize(
    ("levels", "per_image"),
    [
        ([(80, 120), (80, 120)], False),
        ([(80, 120), (83, 123)], False),  # light 1.5 / 20
        ([(80, 120), (90, 130)], True),  # light 5 / 20
        ([(80, 120), (70, 130)], True),  # contrast ln 1.5 / 2
    ],
)
def test_images_that_differ_are_normalized_one_by_one(
    levels: list[tuple[int, int]], per_image: bool
) -> None:
    images = np.stack([_half(*pair) for pair in levels])
    fitted = normalization.fit(images, "auto")
    assert fitted == normalization.fit(images, "image" if per_image else "set")
    assert fitted.per_image == per_image


def test_images_of_one_color_have_nothing_to_read() -> None:
    with pytest.raises(DataError, match="same uniform color"):
        normalization.fit(np.full((2, 3, 4, 1), 7, np.uint8), "set")
    one_blank = np.stack([_half(80, 120), _half(100, 100)])
    assert normalization.fit(one_blank, "auto").per_image


@pytest.mark.parametrize("how", ["set", "image", "auto", ""])
def test_a_channel_may_be_constant(how: str) -> None:
    """Such as red, if the text is red on white."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 4, 3), np.uint8)
    images[..., 0] = 255
    mean, std, per_image = normalization.fit(images, how)
    if per_image or not how:
        return
    np.testing.assert_allclose(std, [images.std((0, 1, 2)).max(), *images.std((0, 1, 2))[1:]])
    assert mean[0] == 255
