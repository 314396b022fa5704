"""Labels of several kinds as file names, and the warnings about them."""

import random
from collections.abc import Sequence

from crnn_jax.data import label_report
from crnn_jax.data.listing import label_of

DIGITS = [f"{n:05d}" for n in random.Random(0).sample(range(100_000), 40)]
MIXED = ["".join(random.Random(k).choices("abcdefgh2345678", k=5)) for k in range(40)]
SUMS = [(random.Random(k).randrange(100), random.Random(k + 99).randrange(100)) for k in range(60)]


def hashed(k: int, digits: int = 8) -> str:
    return f"{random.Random(k).getrandbits(4 * digits) | 1:0{digits}x}"[: digits - 1] + "7"


def warn(files: Sequence[str], pattern: str = "") -> list[str]:
    labels = [label_of(file, pattern) for file in files]
    return label_report.warnings(files, labels, True, pattern)


def png(names: Sequence[str]) -> list[str]:
    return [f"{name}.png" for name in names]
