"""Tables of a sweep, from the records of its runs. Does not import jax.

The `errors.csv` of a run lists the misread files of its validation part; the others were read
correctly. Runs with the same seed and fold have the same validation images, so these lists suffice
for paired comparisons.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from crnn_jax.analysis import cells, learning_curves
from crnn_jax.analysis.learning_curves import Epoch
from crnn_jax.errors import RunError, one_line
from crnn_jax.inference import metrics
from crnn_jax.runs import markup
from crnn_jax.runs.result import Answer, Misread, Result
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.training.early_stopping import OFF_PLATEAU

BASE = "base"  # the variant with which the others are compared
REACH = 0.95  # exact match whose first epoch is reported, unless another is asked for


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run, as the table needs it."""

    variant: str
    cell: str  # names seed and fold
    result: Result
    train_size: int  # from the config: 0 for all images
    commit: str | None
    num_images: int  # images of the whole data set
    read: frozenset[str] | None  # file names of the validation images; None in old records
    misread: frozenset[str]
    left_plateau: int | None  # epoch
    epoch_reached: int | None  # the first with an exact match of `reach`
    seconds_reached: float | None
    epochs: tuple[Epoch, ...]


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
    difference_low: float | None  # 95 % bootstrap interval over images
    difference_high: float | None
    p_value: float | None  # McNemar, exact, two-sided, over images


def read_grid(workdir: str | os.PathLike[str], reach: float = REACH) -> list[Run]:
    """Reads the finished runs of a sweep, `VARIANT/CELL/result.json`.

    A variant's name can be a path, A/B.

    Args:
      workdir: the directory of the sweep.
      reach: the exact match, as a fraction, for which the first epoch is reported.

    Raises:
      RunError: there are no finished runs, or they used different data.
    """
    folder = Path(workdir)
    runs = [
        _read_run(path, path.parent.relative_to(folder).as_posix(), reach)
        for path in cells.having(folder, "result.json")
    ]
    if not runs:
        raise RunError(f"{workdir} contains no finished runs (VARIANT/CELL/result.json)")
    if len({run.result.fingerprint for run in runs}) > 1:
        raise RunError(f"the runs in {workdir} used different data and cannot be compared")
    return runs


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
        f"{runs[0].num_images} images; {len(runs)} runs; "
        f"commit {', '.join(commit[:12] for commit in commits)}",
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
            low, high = row.difference_low, row.difference_high
            difference = f"{row.difference:+.2%} [{low:+.2%}, {high:+.2%}]"
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
    """Names the variants that cannot be compared with the base."""
    base = _base(runs)
    others = sorted(
        {run.variant for run in runs if run.cell in base and not _are_comparable(run, base)}
    )
    what = f"Not compared with {BASE}, because they read other images: {', '.join(others)}."
    return [what] if others else []


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


def _read_run(path: Path, variant: str, reach: float) -> Run:
    record = RunDir(path)
    result = record.result()
    assert result is not None
    if not result.num_val:
        raise RunError(
            f"{one_line(str(path))} has no validation part, so its scores are those of training "
            "images. For a sweep, set data.val_fraction and data.min_val_size=0"
        )
    misread = frozenset(row.file for row in record.read_csv("errors.csv", Misread))
    read = None
    if (path / "readings.csv").exists():
        read = frozenset(row.file for row in record.read_csv("readings.csv", Answer))
    if len(misread) != result.num_examples - result.num_exact:
        raise RunError(f"{one_line(str(path))}: errors.csv and result.json disagree")
    environment = record.environment()
    data = environment.get("data", {})
    if missing := {"plateau_loss", "num_examples"} - data.keys():
        raise RunError(f"{one_line(str(path / 'environment.json'))} has no key data.{min(missing)}")
    limit = OFF_PLATEAU * data["plateau_loss"]
    epochs = record.epochs()
    reached = next((epoch for epoch in epochs if epoch["exact_match"] >= reach), None)
    return Run(
        variant=variant,
        cell=path.name,
        result=result,
        train_size=record.config_value("data.train_size"),
        commit=environment.get("commit"),
        num_images=data["num_examples"],
        read=read,
        misread=misread,
        left_plateau=next((e["epoch"] for e in epochs if e["val_loss"] < limit), None),
        epoch_reached=reached["epoch"] if reached else None,
        seconds_reached=reached["seconds"] if reached else None,
        epochs=learning_curves.of_lines(epochs),
    )


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
    """Whether a run read the same images as the base. A variant with another split does not."""
    theirs = base[ours.cell]
    if ours.read is None or theirs.read is None:
        return ours.result.num_examples == theirs.result.num_examples
    return ours.read == theirs.read


def _interval(net: dict[str, int], pairs: Sequence[tuple[Run, Run]]) -> tuple[float, float]:
    """Bootstrap interval of the difference in exact match, over images."""
    readings = sum(ours.result.num_examples for ours, _ in pairs)
    num_images = _num_images([ours for ours, _ in pairs])
    low, high = metrics.bootstrap_mean(list(net.values()), num_images - len(net))
    return low * num_images / readings, high * num_images / readings


def _num_images(runs: Sequence[Run]) -> int:
    """Returns the number of different images that the runs read: all seeds read those of a fold."""
    return sum({run.cell.rpartition("-")[2]: run.result.num_examples for run in runs}.values())


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
