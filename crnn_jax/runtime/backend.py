"""All choices that depend on the kind of device that jax computes on."""

from __future__ import annotations

from typing import NamedTuple

import jax


class Choices(NamedTuple):
    """The choices for a kind of device."""

    windows: bool  # convolution and pooling by windows, not as in the definition (conv_pool.py)
    xla_options: bool  # compile with the options of xla_options.py
    steps: int  # updates sent to the device in one call
    unroll: int  # time steps of the LSTM in one iteration of its loop
    images_at_once: int  # drawn by the wide generator; fits a CPU's cache or fills a GPU


# A convolution in a loop over steps is 27 times slower on XLA's CPU backend than outside of it.
CPU = Choices(windows=True, xla_options=True, steps=1, unroll=1, images_at_once=8)
# With 16 updates in a call, the device does not wait for the host between updates. A loop of small
# operations is bound by their launches: with ten steps in an iteration, forward and backward pass
# of the LSTM layers take 0.68 of the time at batch 16 and 0.83 at 256 (results/speed/gpu/).
ACCELERATOR = Choices(windows=False, xla_options=False, steps=16, unroll=10, images_at_once=512)


def choices() -> Choices:
    """Returns the choices for the default backend of jax, which this call initializes."""
    return CPU if jax.default_backend() == "cpu" else ACCELERATOR
