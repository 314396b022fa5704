"""The number of characters of a text: data.length."""

from __future__ import annotations

from collections.abc import Sequence

from crnn_jax.clusters import split
from crnn_jax.config import DataConfig
from crnn_jax.errors import ConfigError, DataError, one_line, quote


def of_labels(texts: Sequence[Sequence[str]], allow_empty: bool) -> str:
    """Returns the value of data.length that fits the labels: '5', '4-6', or '' without any text.

    If all labels have the same length, it is that length. The risk is small: of n + 1 labels in
    random order, the last is the only one of another length with a probability of at most
    1 / (n + 1). If lengths differ, the shortest or the longest texts may be missing among few
    labels, so the range exceeds that of the labels by one at either end.

    Args:
      texts: the labels, as text or as lists of symbols.
      allow_empty: whether images without text are allowed; then 0 is in the range.
    """
    if not any(texts):
        return ""
    lengths = {len(text) for text in texts}
    shortest, longest = min(lengths), max(lengths)
    if shortest != longest:
        shortest, longest = max(shortest - 1, 1), longest + 1
    if allow_empty:
        shortest = 0
    return str(longest) if shortest == longest else f"{shortest}-{longest}"


def others(texts: Sequence[str], config: DataConfig) -> list[str]:
    """Returns the texts whose length is not in data.length."""
    if config.lengths is None:
        return []
    shortest, longest = config.lengths
    return [text for text in texts if not shortest <= len(split(text, config.marks)) <= longest]


def check_labels(files: Sequence[str], texts: Sequence[str], config: DataConfig) -> None:
    """Raises DataError if the label of a training image does not have the length data.length."""
    wrong = others(texts, config)
    if wrong:
        file, length = files[list(texts).index(wrong[0])], len(split(wrong[0], config.marks))
        raise DataError(
            f"{one_line(file)}: the label {quote(wrong[0])} has {length} characters, but "
            f"data.length is {config.length} ({len(wrong)} of {len(texts)} training labels have "
            "another length)"
        )


def check_style(lengths: tuple[int, int], config: DataConfig) -> None:
    """Raises ConfigError if a style draws texts whose length is not in data.length."""
    if config.lengths and not config.lengths[0] <= lengths[0] <= lengths[1] <= config.lengths[1]:
        raise ConfigError(
            f"data.length is {config.length}, but texts of the style {one_line(config.style)} have "
            f"{lengths[0]} to {lengths[1]} characters"
        )
