"""The types of fixtures, and the data section of a small folder."""

from collections.abc import Callable

from crnn_jax.config import Config, DataConfig

MakeConfig = Callable[..., Config]  # of `tiny_config`

# For tests of crnn_jax.data, which set `dir`.
CONFIG = DataConfig(
    source="folder",
    dir="",
    style="plain",
    count=10,
    synthetic_seed=0,
    generated_share=0.5,
    width=64,
    height=16,
    channels=1,
    alphabet="",
    normalize="set",
    val_fraction=0.1,
    split_seed=0,
    num_folds=0,
    fold=0,
    train_size=0,
)
