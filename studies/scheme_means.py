"""Mean exact match over schemes, from the records of results/general/.

    python studies/scheme_means.py

Prints the table of docs/results/accuracy.md. All schemes have the same weight. The seeds of a
scheme read the same test images, so their mean counts as one reading of these images. The 95 %
interval is that of a normal distribution. It covers the choice of the test images only, not that of
the schemes or of the labeled images.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

RECORDS = Path(__file__).resolve().parents[1] / "results" / "general"
ROWS = (  # what the reader is given, record, how labels are compared
    ("nothing", "zero_labels_more.json", "case_folded"),
    (
        "unlabeled images of the scheme, to find the form of its texts",
        "zero_labels_sure.json",
        "form_found",
    ),
    ("unlabeled images of the scheme, to train on", "unlabeled.json", "case_folded"),
    ("10 labels", "ten_three.json", "labeled"),
    ("50 labels", "fifty_more.json", "labeled"),
    ("100 labels", "hundred_three.json", "labeled"),
    ("50 labels, and the other images without labels", "fifty_rest_more.json", "labeled"),
    ("500 labels", "five_hundred.json", "labeled"),
)
_QUANTILE = 1.959964  # of the normal distribution, for 95 %


class Scheme(NamedTuple):
    share: float  # of the test images that are read exactly, mean over seeds
    num_test: int
    num_seeds: int


class Mean(NamedTuple):
    mean: float
    low: float
    high: float


def schemes(record: dict[str, Any], way: str) -> dict[str, Scheme]:
    """Returns the schemes of a record of `zero_labels.py` or of a sweep, by name."""
    if "schemes" in record:
        return {
            name: Scheme(
                scheme["scores"][way]["num_exact"] / scheme["num_examples"],
                scheme["num_examples"],
                1,
            )
            for name, scheme in record["schemes"].items()
        }
    shares: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}
    for run in record["runs"]:
        sizes[run["scheme"]] = run["test_images"]
        share = run["num_exact"][way] / run["test_images"]
        shares.setdefault(run["scheme"], []).append(share)
    return {
        name: Scheme(sum(parts) / len(parts), sizes[name], len(parts))
        for name, parts in shares.items()
    }


def mean_over(parts: list[Scheme]) -> Mean:
    """Returns the mean share with its 95 % interval, within 0 and 1."""
    mean = sum(part.share for part in parts) / len(parts)
    variance = (
        sum(part.share * (1 - part.share) / part.num_test for part in parts) / len(parts) ** 2
    )
    half = _QUANTILE * variance**0.5
    return Mean(mean, max(0.0, mean - half), min(1.0, mean + half))


def row(given: str, file: str, way: str) -> str:
    parts = schemes(json.loads((RECORDS / file).read_text()), way)
    mean = mean_over(list(parts.values()))
    worst, best = (choose(parts, key=lambda name: parts[name].share) for choose in (min, max))
    seeds = max(part.num_seeds for part in parts.values())
    return (
        f"| {given} | {100 * mean.mean:.1f} [{100 * mean.low:.1f}, {100 * mean.high:.1f}] "
        f"| {100 * parts[worst].share:.1f} (`{worst}`) | {100 * parts[best].share:.1f} (`{best}`) "
        f"| {len(parts)} | {seeds} | `{file}` |"
    )


def main() -> None:
    print("| the reader gets | mean | lowest scheme | highest scheme | schemes | seeds | record |")
    print("|---|---|---|---|---|---|---|")
    for given, file, way in ROWS:
        print(row(given, file, way))


if __name__ == "__main__":
    main()
