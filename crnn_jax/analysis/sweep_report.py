"""Tables of a sweep, from the records of its runs. Does not import jax.

Runs with the same seed and fold have the same validation images, so the lists of the images that
they misread suffice for paired comparisons.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from crnn_jax.analysis import cells
from crnn_jax.analysis.sweep_runs import REACH, Run
from crnn_jax.errors import one_line
from crnn_jax.inference import metrics
from crnn_jax.runs import markup
from crnn_jax.runs.result import Result

BASE = "base"  # the variant with which the others are compared
_MAX_NAMED = 10  # runs without a result that the report names


@dataclasses.dataclass(frozen=True)
class Row:
    """The runs of a variant. Rates are fractions; None where no run reached the goal."""

    variant: str
    runs: int
    num_train: int  # training images of the first run
    exact_match: float  # pooled over runs
    exact_match_low: float  # Wilson interval of the pooled count
    exact_match_high: float
    mean: float  # over the seeds, each pooled over its folds
    spread: float | None  # their standard deviation; None for one seed
    cer: float
    val_loss: float  # nats per image, pooled over runs
    left_plateau: float | None  # median epoch
    left_plateau_last: int | None  # the latest among the runs that left the plateau
    never_left: int  # runs that stayed on the plateau
    epoch_reached: float | None  # median
    epoch_reached_last: int | None  # the latest among the runs that reached the goal
    seconds_reached: float | None  # median
    never_reached: int
    # Exact match minus that of the base, over the cells in which both read the same images.
    difference: float | None
    # 95 % bootstrap interval over images; None if all images differ alike, so it has no width.
    difference_low: float | None
    difference_high: float | None
    p_value: float | None  # McNemar, exact, two-sided, over images


def table(runs: Sequence[Run]) -> list[Row]:
    """One row per variant: the base first, the others from best to worst."""
    variants = dict.fromkeys(run.variant for run in runs)
    base = _base(runs)
    rows = [_row(name, [run for run in runs if run.variant == name], base) for name in variants]
    return sorted(rows, key=lambda row: (row.variant != BASE, -row.exact_match, row.variant))


def to_markdown(runs: Sequence[Run], rows: Sequence[Row], reach: float = REACH) -> str:
    """The content of `report.md`: the origin of the data, and the table of `rows`."""
    result = runs[0].result
    commits = sorted({run.commit or "unknown" for run in runs})
    lines = [
        f"{markup.markdown(result.data_name)}, fingerprint {result.fingerprint[:12]}, "
        f"{runs[0].num_images} images; {len(runs)} run{'s' * (len(runs) != 1)}; "
        f"commit {', '.join(commit[:12] for commit in commits)}. "
        "Exact match is on the validation part of each run.",
        "",
        "| variant | runs | exact match, 95 % interval | mean ± std over seeds | CER "
        "| validation loss | left plateau: median, latest epoch "
        f"| to {100 * reach:g}%: median, latest epoch; seconds "
        "| difference to base, 95 % interval | McNemar p |",
        "|" + "---|" * 10,
    ]
    for row in rows:
        left = _epochs(row.left_plateau, row.left_plateau_last, row.never_left)
        reached = _epochs(row.epoch_reached, row.epoch_reached_last, row.never_reached)
        if row.seconds_reached is not None:
            reached += f"; {row.seconds_reached:.0f}"
        difference = "-"
        if row.difference is not None:
            difference = f"{row.difference:+.2%}"
            if row.difference_low is not None:
                difference += f" [{row.difference_low:+.2%}, {row.difference_high:+.2%}]"
        spread = "" if row.spread is None else f" ± {row.spread:.2%}"
        lines.append(
            f"| {markup.markdown(row.variant)} | {row.runs} "
            f"| {row.exact_match:.2%} [{row.exact_match_low:.2%}, {row.exact_match_high:.2%}] "
            f"| {row.mean:.2%}{spread} | {row.cer:.3%} | {row.val_loss:.3f} "
            f"| {left} | {reached} | {difference} | {p_value(row.p_value)} |"
        )
    for note in notes(runs):
        lines += ["", markup.markdown(note)]
    return "\n".join(lines) + "\n"


def p_value(value: float | None) -> str:
    """Formats a p-value with three decimals; one that would round to 0.000 is `< 0.001`."""
    if value is None:
        return "-"
    return "< 0.001" if value < 0.0005 else f"{value:.3f}"


def notes(runs: Sequence[Run]) -> list[str]:
    """What the differences mean, and which variants cannot be compared, or only in some cells."""
    base = _base(runs)
    others = sorted(
        {run.variant for run in runs if run.cell in base and not _are_comparable(run, base)}
    )
    variants: dict[str, set[str]] = {}
    for run in runs:
        variants.setdefault(run.variant, set()).add(run.cell)
    parts = [
        f"{one_line(name)} ({len(cells & base.keys())} in common)"
        for name, cells in sorted(variants.items())
        if base and cells != base.keys()
    ]
    found = []
    compared = {
        run.variant
        for run in runs
        if run.variant != BASE and run.cell in base and _are_comparable(run, base)
    }
    if compared:
        found.append(
            "The intervals and p-values of the differences are for these trained models: they do "
            "not contain the variation between seeds, and are not corrected for the number of "
            f"comparisons ({len(compared)}). If fewer than about ten images are read differently, "
            "the interval is too narrow, and the p-value decides."
        )
    if others:
        found.append(
            f"Not compared with {BASE}, because they read other images or other labels: "
            f"{', '.join(map(one_line, others))}."
        )
    if parts:
        found.append(
            f"These have other seeds and folds than {BASE}; the differences are over those in "
            f"common: {', '.join(parts)}."
        )
    return found


def unfinished(workdir: Path) -> str:
    """Markdown that names the runs without a result; empty if there are none."""
    left = cells.unfinished(workdir)
    if not left:
        return ""
    names = [f"{run.path.as_posix()} ({run.state})" for run in left[:_MAX_NAMED]]
    more = f" and {len(left) - _MAX_NAMED} others" if len(left) > _MAX_NAMED else ""
    named = markup.markdown(f"{', '.join(map(one_line, names))}{more}")
    return f"\nLeft out, because they have no result: {named}.\n"


def images(workdir: Path) -> str:
    """Markdown that shows augmented training images of a base run; empty if there are none."""
    found = sorted(workdir.glob(f"{BASE}/*/augmented.png"))
    if not found:
        return ""
    path = urllib.parse.quote(os.fsencode(found[0].relative_to(workdir)))
    return f"\nTraining images, original and augmented: ![augmented]({path})\n"


def has_sizes(runs: Sequence[Run]) -> bool:
    """Whether the sweep has training sets of more than two sizes."""
    return len({run.train_size for run in runs}) > 2


def _row(variant: str, runs: Sequence[Run], base: dict[str, Run]) -> Row:
    exact = sum(run.result.num_exact for run in runs)
    examples = sum(run.result.num_examples for run in runs)
    low, high = metrics.wilson_interval(exact, examples, _num_images(runs))
    seeds: dict[int, list[Result]] = {}
    for run in runs:
        seeds.setdefault(run.result.seed, []).append(run.result)
    rates = [
        sum(r.num_exact for r in results) / sum(r.num_examples for r in results)
        for results in seeds.values()
    ]
    pairs = [
        (run, base[run.cell])
        for run in runs
        if variant != BASE and run.cell in base and _are_comparable(run, base)
    ]
    net = _net(pairs)
    paired = sum(ours.result.num_examples for ours, _ in pairs)
    interval = _interval(net, pairs) if pairs else (None, None)
    gained, lost = sum(n > 0 for n in net.values()), sum(n < 0 for n in net.values())
    chars = sum(run.result.num_chars for run in runs)
    return Row(
        variant=variant,
        runs=len(runs),
        num_train=runs[0].result.num_train,
        exact_match=exact / examples,
        exact_match_low=low,
        exact_match_high=high,
        mean=statistics.mean(rates),
        spread=statistics.stdev(rates) if len(rates) > 1 else None,
        cer=sum(run.result.cer * run.result.num_chars for run in runs) / max(chars, 1),
        val_loss=sum(run.result.val_loss * run.result.num_examples for run in runs) / examples,
        left_plateau=_median(run.left_plateau for run in runs),
        left_plateau_last=_latest(run.left_plateau for run in runs),
        never_left=sum(run.left_plateau is None for run in runs),
        epoch_reached=_median(run.epoch_reached for run in runs),
        epoch_reached_last=_latest(run.epoch_reached for run in runs),
        seconds_reached=_median(run.seconds_reached for run in runs),
        never_reached=sum(run.epoch_reached is None for run in runs),
        difference=sum(net.values()) / paired if pairs else None,
        difference_low=interval[0],
        difference_high=interval[1],
        p_value=metrics.mcnemar(gained, lost) if pairs else None,
    )


def _net(pairs: Sequence[tuple[Run, Run]]) -> dict[str, int]:
    """Per image: the seeds that read it right in the first run of a pair, minus in the second.

    The statistics treat an image as one sample even if several seeds read it, because these
    readings are not independent. Images that both runs of every pair read alike are left out.
    """
    net: dict[str, int] = {}
    for ours, theirs in pairs:
        for file in theirs.misread ^ ours.misread:
            net[file] = net.get(file, 0) + (1 if file in theirs.misread else -1)
    return net


def _base(runs: Sequence[Run]) -> dict[str, Run]:
    """Returns the runs of the base by cell."""
    return {run.cell: run for run in runs if run.variant == BASE}


def _are_comparable(ours: Run, base: Mapping[str, Run]) -> bool:
    """Whether a run read the same images as the base, with the same labels.

    A variant with a different split or a different data.merge does not.
    """
    theirs = base[ours.cell]
    if ours.read is None or theirs.read is None:
        return ours.result.num_examples == theirs.result.num_examples
    return ours.read == theirs.read


def _interval(
    net: dict[str, int], pairs: Sequence[tuple[Run, Run]]
) -> tuple[float, float] | tuple[None, None]:
    """Bootstrap interval of the difference in exact match, over images.

    None if all images differ alike: resamples of equal values say nothing about the difference.
    """
    readings = sum(ours.result.num_examples for ours, _ in pairs)
    num_images = _num_images([ours for ours, _ in pairs])
    low, high = metrics.bootstrap_mean(list(net.values()), num_images - len(net))
    if low == high:
        return None, None
    return low * num_images / readings, high * num_images / readings


def _num_images(runs: Sequence[Run]) -> int:
    """Returns the number of different images that the runs read: all seeds read those of a fold."""
    # Old records do not list the images, but their cells are named after the fold. The name then
    # counts for all runs, or a fold would have two keys.
    by_name = any(run.read is None for run in runs)
    folds = {
        run.cell.rpartition("-")[2] if by_name else run.read: run.result.num_examples
        for run in runs
    }
    return sum(folds.values())


def _median(values: Iterable[float | None]) -> float | None:
    """The median of the values that are not None."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _latest(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _epochs(median: float | None, latest: int | None, never: int) -> str:
    if median is None:
        return "never"
    return f"{median:g}, {latest}" + (f" ({never} never)" if never else "")
