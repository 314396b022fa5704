"""Describes the labels of a folder: their origin, a summary, and what looks wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from crnn_jax.config import DataConfig
from crnn_jax.data import folder, label_report, label_rows, listing
from crnn_jax.data.label_files import FILE_NAMES
from crnn_jax.errors import DataError, one_line

_MAX_STEPS = 2**31  # labels of any length; the model is not known


def of_labels(
    origin: str,
    notes: Sequence[str],
    warnings: Sequence[str],
    files: Sequence[str],
    labels: Sequence[str],
    config: DataConfig,
) -> list[str]:
    """Returns the lines about the labels of a data set.

    Args:
      origin: the origin of the labels, as in a `Listing`.
      notes: the notes of the listing.
      warnings: the warnings of the listing.
      files: names of the images.
      labels: their labels.
      config: the data section.
    """
    from_names = origin == FILE_NAMES
    pattern = config.label_pattern
    rule = f", data.label_pattern={one_line(pattern)}" if pattern and from_names else ""
    lines = [f"labels are from {one_line(origin)}{rule}"] if origin else []
    lines += [f"note: {note}" for note in notes] + [f"warning: {line}" for line in warnings]
    if not config.use_labels:
        return lines  # only the test part has labels
    lines += label_report.summary(files, labels, config.marks)
    found = label_report.warnings(files, labels, from_names, pattern)
    return lines + [f"warning: {line}" for line in found]


def inspect(config: DataConfig) -> list[str]:
    """Returns the lines about a folder, without reading the images.

    Raises:
      DataError: the folder is missing, or files or labels cannot be used.
    """
    found, _ = folder.read_labels(config, None, _MAX_STEPS)
    if found.complaints:
        raise DataError(listing.name_all(Path(config.dir), found.complaints))
    parts = Counter(filter(None, found.parts.values()))
    count = label_rows.count(len(found.labels), "image")
    if parts:
        own = ", ".join(f"{number} for {part}" for part, number in sorted(parts.items()))
        count += f"; its own parts: {own}"
    files, labels = list(found.labels), list(found.labels.values())
    said = of_labels(found.origin, found.notes, found.warnings, files, labels, config)
    return [count, *said]
