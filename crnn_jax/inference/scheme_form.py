"""The form of the texts of one scheme, found in readings of its images: lengths and symbols.

A reader of many schemes does not know how many characters a text has, or which symbols occur. Most
of its misreadings differ from the other readings in length, or have a symbol that is rare among
them. So the images are read again, restricted to the common lengths and symbols. No label is
needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from crnn_jax.errors import ConfigError, DataError
from crnn_jax.inference import inputs
from crnn_jax.inference.evaluate import Reading
from crnn_jax.models.decoding import Decoder

SAMPLE = 400  # images that are read to find the form
_LEAST = 10  # readings with text
_COMMON = 0.3  # share of the weight of the most common length
_POWER = 4  # exponent of the confidence, in the weight of a length
_RARE = 0.1  # share of the mean weight of a symbol; a rarer one is a misreading
_RARE_IF_UNSURE = 1 / 3  # the same for a symbol whose readings are not sure
_OFTEN = 20  # mean occurrences of a symbol from which it is applied
_SURE = 0.8  # confidence of a symbol that is sure, relative to the mean confidence


Split = Callable[[str], Sequence[str]]  # splits a text into symbols


def of_images(
    images: Sequence[Any],
    read: Callable[[Decoder], Sequence[Reading | DataError]],
    make: Callable[..., Decoder],
    split: Split = list,
) -> Decoder:
    """Like `find`. Images that cannot be read are left out, and an error names the first of them.

    Args:
      images: the images, for messages only.
      read: returns the reading of each image, or the reason why there is none.
      make, split: as for `find`.
    """
    unread = ""

    def readings(decoder: Decoder) -> list[Reading]:
        nonlocal unread
        found = read(decoder)
        unread = inputs.reason_of_unread(images, found)
        return [reading for reading in found if isinstance(reading, Reading)]

    try:
        return find(readings, make, split)
    except ConfigError as error:
        raise ConfigError(f"{error}; {unread}" if unread else str(error)) from error


def find(
    read: Callable[[Decoder], Sequence[Reading]],
    make: Callable[..., Decoder],
    split: Split = list,
) -> Decoder:
    """Finds the form of the texts in images of one scheme.

    Args:
      read: reads the same images with a decoder.
      make: returns a decoder for the given options of `decoding.decoder`.
      split: splits a text into symbols, as `Charset.split` does.

    Returns:
      The decoder for texts of this form.

    Raises:
      ConfigError: too few images are read.
    """
    lengths = common_lengths(read(make()), split)
    return make(length=lengths, allowed=common_symbols(read(make(length=lengths)), split))


def common_lengths(readings: Sequence[Reading], split: Split = list) -> tuple[int, int]:
    """Returns the smallest and the largest common length of readings.

    Each reading counts with the fourth power of its confidence, because misread lengths are rare or
    less confident. A length is common if its sum is at least 0.3 of the largest.

    Raises:
      ConfigError: fewer than ten readings have text.
    """
    able = [reading for reading in readings if reading.text]
    if len(able) < _LEAST:
        raise ConfigError(
            f"the form of the texts can be found in {_LEAST} or more images with readable text; "
            f"there are {len(able)}"
        )
    weights: Counter[int] = Counter()
    for reading in able:
        weights[len(split(reading.text))] += reading.confidence**_POWER  # type: ignore[assignment]
    least = _COMMON * max(weights.values())
    common = [length for length, weight in weights.items() if weight >= least]
    return min(common), max(common)


def common_symbols(readings: Sequence[Reading], split: Split = list) -> str:
    """Returns the symbols that are not rare among readings, sorted.

    Each occurrence counts with the confidence of its reading. A symbol is rare if its sum is less
    than a tenth of the mean over the symbols that occur, or less than a third of it while its
    readings are also less confident than the others. Letters that are rare in words are read with
    the usual confidence, and misreadings of other letters are not. The limit of a third holds only
    if symbols occur at least 20 times on average; in fewer readings, many are rarer by chance.
    """
    weights: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    for text, confidence in readings:
        for symbol in split(text):
            weights[symbol] += confidence  # type: ignore[assignment]  # Counter adds any number
            counts[symbol] += 1
    total, occurrences = sum(weights.values()), sum(counts.values())
    are_many = occurrences >= _OFTEN * len(counts)

    def is_common(symbol: str) -> bool:
        is_sure = weights[symbol] / counts[symbol] >= _SURE * total / occurrences
        least = _RARE if is_sure or not are_many else _RARE_IF_UNSURE
        return weights[symbol] >= least * total / len(weights)

    return "".join(sorted(filter(is_common, weights)))


def sample(count: int) -> list[int]:
    """Returns the evenly spaced indices of at most SAMPLE of `count` images."""
    size = min(count, SAMPLE)
    return [i * count // size for i in range(size)]
