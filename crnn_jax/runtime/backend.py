"""All choices that depend on the kind of device that jax computes on."""

from __future__ import annotations

from typing import NamedTuple

import jax


class Choices(NamedTuple):
    windows: bool  # convolution and pooling by windows (conv_pool.py), not as in the definition
    xla_options: bool  # compile with the options of xla_options.py
    steps: int  # updates sent to the device in one call
    images_at_once: int  # drawn by the wide generator; fits a CPU's cache or fills a GPU


# A convolution in a loop over steps is 27 times slower on XLA's CPU backend than outside of it.
CPU = Choices(windows=True, xla_options=True, steps=1, images_at_once=8)
# The device does not wait for the host between updates.
ACCELERATOR = Choices(windows=False, xla_options=False, steps=16, images_at_once=512)


def choices() -> Choices:
    return CPU if jax.default_backend() == "cpu" else ACCELERATOR
