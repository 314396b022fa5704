import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import config as config_lib
from crnn_jax.data.augment import augment
from crnn_jax.training import state as state_lib
from crnn_jax.training.context import prepare
from crnn_jax.training.step import Batch, constants, jitted_steps
from experiments import base
from tests.helpers.fixtures import MakeConfig
from tests.helpers.quiet import QUIET

OFF = dataclasses.replace(
    config_lib.from_config_dict(base.get_config()).augment,
    shift=0.0,
    rotate=0.0,
    scale=0.0,
    shear=0.0,
    ripple=0.0,
)
STRENGTHS: dict[str, Any] = {
    "shift": 0.2, "rotate": 20.0, "scale": 0.3, "shear": 0.3, "ripple": 0.1, "thickness": 1.0,
    "lines": 3, "blur": 1.0, "contrast": 0.5, "brightness": 0.5, "noise": 0.1,
}  # fmt: skip
KEYS = jax.random.split(jax.random.key(3), 64)
# One program: eager code would compile every operation of every shape by itself.
compiled = jax.jit(augment, static_argnums=2)


def _blob(batch: int = 64, width: int = 41, height: int = 21) -> np.ndarray:
    """A black disc of radius 5, off center, on gray: [B, W, H, 1]."""
    u, v = np.mgrid[:width, :height]
    disc = (u - 24) ** 2 + (v - 8) ** 2 <= 25
    return np.where(disc, 20, 180).astype(np.float32)[None, ..., None].repeat(batch, 0)


def _augmented(name: str, images: Any) -> np.ndarray:
    config = dataclasses.replace(OFF, **{name: STRENGTHS[name]})
    return np.asarray(compiled(KEYS[: len(images)], images, config))


def _moments(x: np.ndarray) -> tuple[Any, Any, Any, Any, Any]:
    """Mass, centroid and covariance of the ink of each image."""
    ink = 180 - x[..., 0]
    u, v = np.mgrid[: x.shape[1], : x.shape[2]]
    mass = ink.sum((1, 2))
    cu, cv = (ink * u).sum((1, 2)) / mass, (ink * v).sum((1, 2)) / mass
    uu = (ink * (u - cu[:, None, None]) ** 2).sum((1, 2)) / mass
    vv = (ink * (v - cv[:, None, None]) ** 2).sum((1, 2)) / mass
    return mass, cu, cv, uu, vv


@pytest.mark.parametrize("name", STRENGTHS)
def test_each_strength_acts_on_every_picture_differently_and_repeatably(name: str) -> None:
    images = _blob()
    out = _augmented(name, images)
    np.testing.assert_array_equal(out, _augmented(name, images))
    assert out.shape == images.shape
    assert out.dtype == np.float32
    assert out.min() >= 0
    assert out.max() <= 255
    distinct = np.unique(out.reshape(64, -1), axis=0)
    # Each line is absent with probability 1/2, so an eighth of the images has none of three.
    assert len(distinct) >= (40 if name == "lines" else 64)


def test_all_off_leaves_pixels_as_they_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3), np.uint8)
    np.testing.assert_array_equal(compiled(KEYS[:2], images, OFF), images)
    assert not OFF.is_on
    assert dataclasses.replace(OFF, noise=0.1).is_on


def test_no_distortion_changes_the_draws_of_another() -> None:
    both = dataclasses.replace(OFF, brightness=0.1, thickness=0.5)
    flat = np.full((8, 9, 7, 1), 100, np.float32)  # nothing for thickness to grow
    alone = compiled(KEYS[:8], flat, dataclasses.replace(OFF, brightness=0.1))
    np.testing.assert_array_equal(compiled(KEYS[:8], flat, both), alone)


def test_an_image_is_distorted_by_its_own_key_whatever_the_others_are() -> None:
    config = dataclasses.replace(OFF, **STRENGTHS)
    images = np.random.default_rng(0).uniform(0, 255, (8, 20, 10, 1)).astype(np.float32)
    # Compiled, as in a step, because separate operations round differently.
    whole = np.asarray(compiled(KEYS[:8], images, config))
    order = np.array([3, 4, 0, 0, 7, 7, 3, 4])
    part = np.asarray(compiled(KEYS[:8][order], images[order], config))
    np.testing.assert_allclose(part, whole[order], atol=1e-3)


def test_shift_moves_the_centroid_by_at_most_its_strength_in_heights() -> None:
    _, cu, cv, *_ = _moments(_augmented("shift", _blob()))
    _, cu0, cv0, *_ = _moments(_blob(1))
    limit = 0.2 * 21
    for moved in (cu - cu0, cv - cv0):
        # 64 uniform draws exceed nine tenths on both sides, except with a probability of 1 in 20.
        assert 0.9 * limit < np.abs(moved).max() <= limit + 0.01
        assert moved.min() < 0 < moved.max()


def test_rotation_turns_about_the_middle_and_keeps_the_radius() -> None:
    mass, cu, cv, *_ = _moments(_augmented("rotate", _blob()))
    mass0, *_ = _moments(_blob(1))
    radius, angle = np.hypot(cu - 20, cv - 10), np.degrees(np.arctan2(cv - 10, cu - 20))
    turned = angle - math.degrees(math.atan2(-2, 4))
    np.testing.assert_allclose(radius, math.hypot(4, 2), atol=0.05)
    np.testing.assert_allclose(mass, mass0[0], rtol=0.01)
    assert 18 < np.abs(turned).max() < 20.5
    assert turned.min() < 0 < turned.max()


def test_scale_stretches_each_axis_by_itself() -> None:
    *_, uu, vv = _moments(_augmented("scale", _blob()))
    *_, uu0, vv0 = _moments(_blob(1))
    for stretch in (np.sqrt(uu / uu0), np.sqrt(vv / vv0)):
        assert 0.69 < stretch.min() < 0.76
        assert 1.24 < stretch.max() < 1.32  # interpolation blurs, which widens the disc a little
    assert np.corrcoef(uu, vv)[0, 1] < 0.5


def test_shear_slants_and_leaves_rows_where_they_are() -> None:
    _, cu, cv, *_ = _moments(_augmented("shear", _blob()))
    # The disc lies 2 pixels above the middle: it moves by 2 * shear along the width.
    np.testing.assert_allclose(cv, 8, atol=0.02)
    assert 0.9 * 0.6 < np.abs(cu - 24).max() < 0.6 + 0.05


def test_ripple_bends_by_up_to_its_strength_in_heights() -> None:
    limit = 0.1 * 21
    upright, level = np.zeros((2, 64, 41, 21, 1), np.float32)
    upright[:, 20] = 90
    level[:, :, 10] = 90
    columns, rows = np.mgrid[:41, :21]
    for bar, axis, places, middle in ((upright, 1, columns, 20), (level, 2, rows, 10)):
        ink = _augmented("ripple", bar)[..., 0]
        # Bilinear interpolation moves the centroid of a bar of one pixel by exactly the offset.
        moved = (ink * places).sum(axis) / ink.sum(axis) - middle
        # Some of the 64 waves are almost as high as they can be.
        assert 0.85 * limit < np.abs(moved).max() <= limit + 0.01
        assert moved.min() < 0 < moved.max()


def test_thickness_grows_or_shrinks_dark_strokes() -> None:
    stroke = np.full((64, 15, 9, 1), 200, np.float32)
    stroke[:, 7] = 0
    out = _augmented("thickness", stroke)
    grown, shrunk = out[:, 6, 4, 0] < 200, out[:, 7, 4, 0] > 0
    assert grown.any()
    assert shrunk.any()
    assert not (grown & shrunk).any()
    # At the full strength of 1, the stroke is three columns wide or absent.
    assert out[:, 6, 4, 0].min() < 20
    assert out[:, 7, 4, 0].max() > 180


def test_blur_keeps_the_sum_and_spreads_a_point_evenly_over_nine() -> None:
    point = np.zeros((8, 9, 9, 1), np.float32)
    point[:, 4, 4] = 90
    out = _augmented("blur", point)
    np.testing.assert_allclose(out.sum((1, 2, 3)), 90, rtol=1e-5)
    np.testing.assert_allclose(out[:, 3:6, 3, 0], out[:, 3:4, 3, 0].repeat(3, 1), rtol=1e-5)
    assert (out[:, 3, 3, 0] <= 10).all()
    assert out[:, 3, 3, 0].max() > 7


def test_contrast_and_brightness_by_their_definitions() -> None:
    images = np.random.default_rng(0).uniform(120, 130, (64, 9, 7, 1)).astype(np.float32)
    out = _augmented("contrast", images)
    np.testing.assert_allclose(out.mean((1, 2, 3)), images.mean((1, 2, 3)), rtol=1e-4)
    factor = out.std((1, 2, 3)) / images.std((1, 2, 3))
    assert 0.5 <= factor.min() < 0.6
    assert 1.4 < factor.max() <= 1.5
    shift = (_augmented("brightness", images) - images).reshape(64, -1)
    unclipped = np.abs(shift[:, 0]) < 120
    np.testing.assert_allclose(shift[unclipped], shift[unclipped][:, :1].repeat(63, 1), atol=1e-3)
    assert np.abs(shift).max() <= 127.5
    assert shift.min() < -100
    assert shift.max() > 100


def test_noise_has_a_deviation_up_to_its_strength() -> None:
    noise = _augmented("noise", np.full((64, 40, 20, 1), 128, np.float32)) - 128
    deviation = noise.std((1, 2, 3))
    assert deviation.max() < 25.5 * 1.1
    assert deviation.max() > 20
    assert deviation.min() < 5


def test_lines_are_thin_and_reach_from_edge_to_edge() -> None:
    flat = np.full((64, 60, 20, 1), 128, np.float32)
    config = dataclasses.replace(OFF, lines=1)
    drawn = np.asarray(compiled(KEYS, flat, config))[..., 0] != 128
    touched = drawn.any((1, 2))
    assert 15 < touched.sum() < 49  # half of 64 lines are present, and some run outside the image
    # At most two pixels thick, plus antialiased edges, across the slope of the line.
    assert drawn.sum(2).max() <= 6


def test_augmentation_begins_after_the_flat_start_and_leaves_other_streams_alone(
    tiny_config: MakeConfig,
) -> None:
    changes = {**QUIET, "augment.noise": 0.2, "flat_start.max_steps": 4, "flat_start.fade_steps": 1}
    context = prepare(tiny_config(changes))
    step = jitted_steps(context)
    indices, mask = np.arange(8, dtype=np.int32)[None], np.ones((1, 8), bool)
    batch = Batch(context.images, context.labels, indices, mask)

    def losses(keep: bool) -> Any:
        state = state_lib.init_state(context)
        result = []
        for _ in range(6):
            if keep:  # the flat start does not end
                weight = state.flat_start._replace(weight=jnp.float32(1))
                state = state._replace(flat_start=weight)
            state, loss = step(state, batch, constants(context))
            result.append(float(loss[0]))
        return result

    never, later = losses(keep=True), losses(keep=False)
    assert later[:5] == never[:5]
    assert later[5] != never[5]
