"""The types of fixtures."""

from collections.abc import Callable

from crnn_jax.config import Config

MakeConfig = Callable[..., Config]  # of `tiny_config`
