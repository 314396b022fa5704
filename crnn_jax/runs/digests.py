"""Digests of the parts of checkpoints, in a JSON file beside their directory, to detect damage."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from crnn_jax.errors import DamageError
from crnn_jax.runs import record_types
from crnn_jax.runs.run_dir import RunDir


class Digests:
    """The digests of the checkpoints in one directory, by epoch and part, in `<directory>.json`.

    Checkpoints of versions without digests are recorded as None.
    """

    def __init__(self, directory: Path):
        self._run = RunDir(directory.parent)
        self._file = f"{directory.name}.json"

    def write(self, epoch: int, parts: Mapping[str, str], others: Iterable[int]) -> None:
        """Records the digests of a new checkpoint, and keeps those of the epochs `others`.

        Raises:
          RunError: the file cannot be read or written.
        """
        known = self._read()
        values: dict[str, Any] = {
            str(e): known.get(str(e), {}) if known is not None else None for e in others
        }
        values[str(epoch)] = dict(parts)
        self._run.write_json(self._file, values)

    def check(self, epoch: int, part: str, found: str) -> None:
        """Compares the digest `found` of a part with the recorded one.

        Raises:
          DamageError: they differ.
          RunError: the file cannot be read.
        """
        known = self._read()
        if known is None or known.get(str(epoch), "") is None:  # from a version without digests
            return
        parts = known.get(str(epoch))
        written = parts.get(part) if isinstance(parts, dict) else None
        if found != written:
            raise DamageError(f"the digest of its {part} is {found[:12]}, not {str(written)[:12]}")

    def _read(self) -> dict[str, Any] | None:
        if not (self._run.workdir / self._file).exists():
            return None
        return self._run.read_json(self._file, record_types.Digests)


def of_tree(tree: Any) -> str:
    """Returns the SHA-256 of a tree's arrays in order: types, shapes and bytes, not names."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        sha.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
    return sha.hexdigest()


def of_json(values: Mapping[str, Any]) -> str:
    """Returns the SHA-256 of a JSON object. The order of its keys does not matter."""
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()
