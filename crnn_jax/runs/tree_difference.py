"""Describes how the trees of a checkpoint differ from those that a run needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crnn_jax.models.crnn import by_name

# Trees, with what it means if a checkpoint has another one, and what to do.
_KINDS = (
    (
        "params",
        "belongs to another model",
        "Restore the config.json of its run, or choose another --workdir",
    ),
    (
        "training",
        "has another state of the optimizer, as other versions of this package have",
        "Start the run again in another --workdir",
    ),
)


def describe(stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Says what the checkpoint is instead, where it differs, and what to do.

    Args:
      stored: the trees of the checkpoint, by name: arrays, or their shapes and types.
      wanted: some of these trees, as they should be.

    Returns:
      The end of a sentence about the checkpoint; None if the trees agree.
    """
    for name, what, advice in _KINDS:
        if name in wanted and (place := _first(stored[name], wanted[name])):
            return f"{what}: {place}. {advice}"
    return None


def _first(stored: Any, wanted: Any) -> str | None:
    """Describes the first array, by name, in which two trees differ. None if they agree."""
    there, here = (
        {name: f"{leaf.dtype} {tuple(leaf.shape)}" for name, leaf in by_name(tree).items()}
        for tree in (stored, wanted)
    )
    for name in sorted(set(there) | set(here)):
        if there.get(name) != here.get(name):
            return f"{name} is {there.get(name, 'absent')} there, {here.get(name, 'absent')} here"
    return None
