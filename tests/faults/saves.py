"""Saves checkpoints while system calls fail.

    LD_PRELOAD=faulty_io.so python -m tests.faults.saves FOLDER STRIDE [CALL ...]

For each kind of call, every STRIDE-th call of a save fails, alone or with all later ones. Needs the
layer of faulty_io.c. Prints a JSON object with the number of faults and the failures.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from crnn_jax.errors import RunError
from crnn_jax.runs.checkpoint import Checkpoints

CALLS = {
    "open": errno.EMFILE, "read": errno.EIO, "write": errno.ENOSPC, "close": errno.EIO,
    "fsync": errno.EIO, "rename": errno.EIO, "mkdir": errno.EACCES, "unlink": errno.EIO,
}  # fmt: skip
_BY_DESCRIPTOR = ("read", "write", "close", "fsync")


def _trees(epoch: int) -> dict[str, Any]:
    params = {"a": np.arange(5, dtype=np.float32) + epoch}
    return {"params": params, "training": {"step": np.array(epoch, np.int32)}}


def _save(checkpoints: Checkpoints, epoch: int) -> None:
    trees = _trees(epoch)
    meta = {"best_epoch": epoch}
    checkpoints.save(epoch, trees["params"], trees["training"], meta, epoch)


def _read_all(folder: Path) -> list[int]:
    """Returns the epochs after checking their contents. RunError or AssertionError otherwise."""
    with Checkpoints(folder, read_only=True) as checkpoints:
        for epoch in checkpoints.epochs():
            assert checkpoints.meta(epoch) == {"best_epoch": epoch}
            found = checkpoints.restore(epoch, _trees(epoch))
            jax.tree.map(np.testing.assert_array_equal, found, _trees(epoch))
        return checkpoints.epochs()


def attempt(begun: Path, folder: Path, call: str, nth: int, sticky: bool) -> bool:
    """Saves epoch 3, which removes epoch 1, while a call fails. False if there are too few calls.

    Raises:
      AssertionError, RunError: an epoch differs from what was saved, or the error names no path.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(begun, folder)
    log, place = folder / "log", folder / "checkpoints"
    # Paths are relative to the descriptor of the directory.
    prefix = os.fspath(place) if call in _BY_DESCRIPTOR else "/proc/self/fd"
    arm = ctypes.CDLL(None).faulty_arm
    said = ""
    with Checkpoints(place) as checkpoints:
        checkpoints.epochs()
        arm(call.encode(), prefix.encode(), nth, CALLS[call], sticky, os.fsencode(log))
        try:
            _save(checkpoints, 3)
        except RunError as error:
            said = str(error)
        finally:
            arm(b"nothing", b"/", 1, 0, 0, os.fsencode(log))
    epochs = _read_all(place)
    assert epochs[-1] == (2 if said else 3), f"{epochs} after {said!r}"
    assert not said or os.fspath(folder) in said, f"it names no path: {said}"
    with Checkpoints(place) as checkpoints:
        _save(checkpoints, 4)
    assert _read_all(place)[-1] == 4
    names = sorted(p.name for p in place.iterdir())
    assert all(name.isdigit() for name in names), f"{names} after the next save"
    return log.exists() and "failed" in log.read_text()


def main() -> int:
    work, stride = Path(sys.argv[1]), int(sys.argv[2])
    begun = work / "begun"  # with epochs 1 and 2
    with Checkpoints(begun / "checkpoints") as checkpoints:
        for epoch in (1, 2):
            _save(checkpoints, epoch)
    met, wrong = 0, []
    for call, sticky in itertools.product(sys.argv[3:] or CALLS, (False, True)):
        for nth in itertools.count(1, stride):
            try:
                if not attempt(begun, work / "run", call, nth, sticky):
                    break
                met += 1
            except Exception as error:
                wrong.append(f"{call} {nth}, {sticky=}: {type(error).__name__}: {error}")
    print(json.dumps({"met": met, "wrong": wrong}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
