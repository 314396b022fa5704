"""Tables of a sweep over captcha schemes: exact match on the test parts. Does not import jax.

The directory holds `SCHEME/LABELS/CELL/test.json` of each run (experiments/schemes.py), and perhaps
`zero_labels.json`, which studies/zero_labels.py writes: a reader without training on the scheme.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from crnn_jax.config import flatten
from crnn_jax.config.data_keys import LEFT_TO_DATA, NO_EFFECT_ON_RESULTS
from crnn_jax.errors import RunError, one_line, quote
from crnn_jax.inference import metrics
from crnn_jax.inference.held_out import TEST_FILE, HeldOut, Match
from crnn_jax.runs import config_migrations, markup, record_types
from crnn_jax.runs.run_dir import RunDir

ZERO_FILE = "zero_labels.json"
# Means are also given without this scheme, because parts of its letters are hardly visible.
HARDEST = "cs4243"
TITLES: Mapping[str, str] = {
    "labeled": "Exact match as labeled",
    "case_folded": "Exact match, case-folded",
    "merged": "Exact match, case-folded, with 0 = o and 1 = l = i",
    "form_given": "Without training, case-folded, with alphabet and length given",
}
# What can differ between the runs of a recipe: the images, and how their labels are read.
_OF_A_RUN = {"seed", "data.dir", "data.train_size", "data.fold", "data.height", "data.channels"}
_OF_A_RUN |= {f"data.{name}" for name in ("label_pattern", "alphabet", "frame", "marks")}
_OF_A_RUN |= {*LEFT_TO_DATA, *NO_EFFECT_ON_RESULTS}
WAYS = tuple(metrics.WAYS)


class ZeroLabels(TypedDict):
    """The part of `zero_labels.json` that the report needs."""

    schemes: dict[str, HeldOut]


@dataclasses.dataclass(frozen=True)
class Row:
    """Exact match of the runs of a scheme with a number of labels. Rates are fractions."""

    scheme: str
    labels: str  # a number, or 'all'
    way: str  # how texts are compared: a key of `TITLES`
    runs: int
    num_exact: int  # over all runs
    num_examples: int
    exact_match: float
    exact_match_low: float  # Wilson interval of the pooled count
    exact_match_high: float


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of exact match over schemes, each with the same weight."""

    labels: str
    way: str
    schemes: int  # those that have so many labels
    exact_match: float
    without_hardest: float | None  # None: there is no other scheme


def is_scheme_sweep(workdir: str | os.PathLike[str]) -> bool:
    """Whether the directory has finished runs of `SCHEME/LABELS/CELL`.

    A sweep of variants with names A/B can have test parts too, but B is no number of labels.
    """
    labels = {path.parts[-3] for path in Path(workdir).glob(f"*/*/*/{TEST_FILE}")}
    return bool(labels) and all(name.isdecimal() or name in ("all", "no") for name in labels)


def read(workdir: str | os.PathLike[str]) -> list[Row]:
    """Reads the finished runs of a sweep over schemes, and `zero_labels.json` if there is one.

    Returns:
      A row for each scheme, number of labels, and way to compare; runs are pooled.

    Raises:
      RunError: there are no finished runs, a record cannot be read, the runs of a scheme have
        different images or test parts, or runs with the same number of labels were not trained
        alike.
    """
    workdir = Path(workdir)
    found: dict[tuple[str, str], list[HeldOut]] = {}
    trained: dict[str, tuple[Path, dict[str, Any]]] = {}
    if (workdir / ZERO_FILE).exists():
        zero = record_types.read(workdir / ZERO_FILE, ZeroLabels)
        found |= {(scheme, "0"): [scores] for scheme, scores in zero["schemes"].items()}
    for path in run_directories(workdir):
        scheme, labels = path.parts[-3:-1]
        found.setdefault((scheme, labels), []).append(record_types.read(path / TEST_FILE, HeldOut))
        recipe = _recipe(path)
        _check_same_recipe(labels, trained.setdefault(labels, (path, recipe)), (path, recipe))
    if not found:
        raise RunError(f"{workdir} contains no finished runs (SCHEME/LABELS/CELL/{TEST_FILE})")
    _check_same_images(found)
    # TITLES has the keys of the scores, which mypy cannot see.
    return [
        _row(scheme, labels, way, [run["scores"][way] for run in runs], runs)  # type: ignore[literal-required]
        for (scheme, labels), runs in sorted(found.items(), key=lambda item: _order(*item[0]))
        for way in TITLES
        if all(way in run["scores"] for run in runs)
    ]


def run_directories(workdir: Path) -> list[Path]:
    """The directories of the finished runs. RunError: a `result.json` cannot be read."""
    found = (path.parent for path in sorted(workdir.glob(f"*/*/*/{TEST_FILE}")))
    # Without a result, the run was interrupted after its test.
    return [path for path in found if RunDir(path).result() is not None]


def means(rows: Iterable[Row]) -> list[Mean]:
    """The means of each way and number of labels, over the schemes that have so many."""
    groups: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        groups.setdefault((row.way, row.labels), {})[row.scheme] = row.exact_match
    result = []
    for (way, labels), rates in groups.items():
        others = [rate for scheme, rate in rates.items() if scheme != HARDEST]
        mean = statistics.fmean(rates.values())
        without = statistics.fmean(others) if others else None
        result.append(Mean(labels, way, len(rates), mean, without))
    return sorted(result, key=lambda mean: (list(TITLES).index(mean.way), _order("", mean.labels)))


def to_markdown(rows: Sequence[Row]) -> str:
    """A table for each way to compare: schemes in rows, numbers of labels in columns."""
    columns = sorted({row.labels for row in rows}, key=lambda labels: _order("", labels))
    runs = [row.runs for row in rows if row.labels != "0"]
    lines = []
    if runs:
        count = f"{min(runs)}" if min(runs) == max(runs) else f"{min(runs)} to {max(runs)}"
        lines += [
            f"Exact match in % on a test part that no run used otherwise; {count} runs each, which "
            "read the same images. In brackets: the 95 % Wilson interval of the pooled count.",
            "",
        ]
    for way in TITLES:
        own = [row for row in rows if row.way == way]
        if own:
            lines += _table(way, own, [c for c in columns if any(row.labels == c for row in own)])
    return "\n".join(lines)


def curves(rows: Sequence[Row], way: str) -> tuple[list[str], dict[str, dict[str, float]]]:
    """Labels in order, and for each scheme and the mean the exact match by number of labels."""
    own = [row for row in rows if row.way == way]
    columns = sorted({row.labels for row in own}, key=lambda labels: _order("", labels))
    lines: dict[str, dict[str, float]] = {}
    for row in own:
        lines.setdefault(row.scheme, {})[row.labels] = row.exact_match
    lines["mean"] = {m.labels: m.exact_match for m in means(own)}
    return columns, lines


def write(workdir: str | os.PathLike[str]) -> str:
    """Writes report.md, report.csv, report.html and a plot for each way; returns the Markdown."""
    from crnn_jax.analysis import plots, sweep_page

    rows = read(workdir)
    directory = RunDir(workdir)
    markdown = to_markdown(rows)
    directory.write_text("report.md", markdown)
    names = [field.name for field in dataclasses.fields(Row)]
    directory.write_csv("report.csv", names, map(dataclasses.astuple, rows))
    for way in WAYS:
        directory.write_bytes(f"report_{way}.png", plots.schemes(*curves(rows, way), TITLES[way]))
    directory.write_text("report.html", sweep_page.of_schemes(workdir, rows))
    return markdown


def _table(way: str, rows: Sequence[Row], columns: Sequence[str]) -> list[str]:
    heads = [f"{labels} labels" for labels in columns]
    lines = [f"{TITLES[way]}:", "", f"| scheme | {' | '.join(heads)} |"]
    lines += ["|" + "---|" * (len(columns) + 1)]
    cells = {(row.scheme, row.labels): row for row in rows}
    for scheme in dict.fromkeys(row.scheme for row in rows):
        own = [cells.get((scheme, labels)) for labels in columns]
        lines.append(f"| {markup.markdown(scheme)} | {' | '.join(map(_cell, own))} |")
    by_labels = {mean.labels: mean for mean in means(rows)}
    over = [f"{100 * by_labels[c].exact_match:.1f} ({by_labels[c].schemes})" for c in columns]
    lines.append(f"| mean (number of schemes) | {' | '.join(over)} |")
    if any(row.scheme == HARDEST for row in rows):
        rates = [by_labels[c].without_hardest for c in columns]
        without = ["-" if rate is None else f"{100 * rate:.1f}" for rate in rates]
        lines.append(f"| mean without {HARDEST} | {' | '.join(without)} |")
    return [*lines, ""]


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    values = (row.exact_match, row.exact_match_low, row.exact_match_high)
    rate, low, high = (f"{100 * value:.1f}" for value in values)
    return f"{rate} [{low}, {high}]"


def _row(
    scheme: str, labels: str, way: str, matches: Sequence[Match], runs: Sequence[HeldOut]
) -> Row:
    exact = sum(match["num_exact"] for match in matches)
    examples = sum(run["num_examples"] for run in runs)
    # All seeds read the same images.
    low, high = metrics.wilson_interval(exact, examples, runs[0]["num_examples"])
    return Row(scheme, labels, way, len(runs), exact, examples, exact / examples, low, high)


def _recipe(path: Path) -> dict[str, Any]:
    """Returns the keys of a run's config that say how it was trained, by dotted key."""
    keys = flatten(config_migrations.up_to_date(RunDir(path).read_json("config.json")))
    return {
        key: value
        for key, value in keys.items()
        if key not in _OF_A_RUN and not key.startswith("log.")
    }


def _check_same_recipe(
    labels: str, first: tuple[Path, Mapping[str, Any]], other: tuple[Path, Mapping[str, Any]]
) -> None:
    (path, recipe), (other_path, other_recipe) = first, other
    for key in sorted({*recipe, *other_recipe}):
        value, other_value = (of.get(key, "absent") for of in (recipe, other_recipe))
        if value != other_value:
            raise RunError(
                f"the runs with {one_line(labels)} labels were not trained alike: {key} is "
                f"{quote(value)} in {one_line(str(path))} and {quote(other_value)} in "
                f"{one_line(str(other_path))}; give each recipe its own --workdir"
            )


def _check_same_images(found: Mapping[tuple[str, str], Sequence[HeldOut]]) -> None:
    first: dict[str, HeldOut] = {}
    for (scheme, labels), runs in found.items():
        for run in runs:
            same = first.setdefault(scheme, run)
            name = f"{one_line(scheme)} with {one_line(labels)} labels"
            if run["fingerprint"] != same["fingerprint"]:
                raise RunError(f"{name}: its images differ from those of other runs of the scheme")
            if run["files_sha256"] != same["files_sha256"]:
                raise RunError(
                    f"{name}: its test part differs from that of other runs of the scheme"
                )
            matches: Iterable[Any] = run["scores"].values()
            if any(match["num_exact"] > run["num_examples"] for match in matches):
                raise RunError(f"{name}: num_exact is more than num_examples")


def _order(scheme: str, labels: str) -> tuple[str, int, str]:
    """Sorts by scheme and number of labels, 'all' last."""
    return scheme, int(labels) if labels.isdecimal() else 2**31, labels
