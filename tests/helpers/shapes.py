"""Checks types and shapes in every call of the modules below. Import it before the package."""

from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

CHECKED = (
    "models",
    "data.augment",
    "data.batching",
    "data.normalization",
    "inference.calibration",
    "inference.evaluate",
    "inference.explain",
    "labeling.estimate",
    "labeling.ordering",
    "labeling.pool",
    "training.flat_start",
    "training.step",
)

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float too, as for mypy

install_import_hook([f"crnn_jax.{name}" for name in CHECKED], "tests.helpers.shapes.check")
