"""Checkpoints in the middle of an epoch."""

from pathlib import Path

import numpy as np

from crnn_jax.runs import mid_epoch
from crnn_jax.runs.run_dir import RunDir


def test_a_checkpoint_of_a_later_epoch_does_not_hide_that_of_this_one(tmp_path: Path) -> None:
    """A run can go back: its damaged checkpoints were removed after an interruption."""
    run = RunDir(tmp_path)
    for step, epoch in ((510, 6), (340, 4)):
        trees = {name: {"w": np.full(2, step, np.float32)} for name in ("params", "training")}
        mid_epoch.save(run, step, trees, {"epoch": epoch, "losses": [], "seconds": 1.0})
    found = mid_epoch.restore(run, 4, trees)
    assert found is not None
    assert found.meta["epoch"] == 4
    assert found.trees["params"]["w"].tolist() == [340, 340]
    assert mid_epoch.restore(run, 5, trees) is None
    mid_epoch.clear(run)
    assert mid_epoch.restore(run, 4, trees) is None
