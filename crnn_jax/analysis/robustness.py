"""Exact match of a model against the strength of each distortion.

Each distortion is applied by itself to the plain text of a style, at increasing strength. Two
models are measured: one that was not trained on the distortion, and the same one after training on
it. A distortion that only stops the first does not protect a captcha.
"""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from crnn_jax import config as config_lib
from crnn_jax.analysis import distortions
from crnn_jax.data import generated
from crnn_jax.data.synthetic.style import Style
from crnn_jax.data.synthetic.wide import family
from crnn_jax.errors import ConfigError, RunError
from crnn_jax.inference import metrics, recognizer
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.runs import markup, run_dir
from crnn_jax.runtime import files
from crnn_jax.training import train

_VAL = 0.1  # validation share of the images that a model is adapted to
_EPOCH = 50  # maximum number of steps per epoch of adaptation


class Row(NamedTuple):
    """A row of `robustness.csv`: one model, one distortion, one strength."""

    distortion: str
    strength: float
    unit: str
    trained_against: bool
    num_exact: int
    num_examples: int
    exact_match: float
    exact_match_low: float  # Wilson interval, 95 %
    exact_match_high: float


def measure(
    run: str | os.PathLike[str],
    workdir: str | os.PathLike[str],
    style_name: str,
    count: int,
    adapt: int,
    names: Sequence[str],
) -> list[Row]:
    """Reads `count` images at each strength of each distortion in `names`.

    Args:
      run: the model's run directory.
      workdir: the folder for styles and adapted models; finished adapted models are reused.
      style_name: the style whose plain text is distorted.
      count: the number of images per strength. All strengths have the same texts, except those of
        `lines` above 0.75 times the longest text, which draw more random numbers.
      adapt: the number of training steps on each distortion; 0 for no adapted models.
      names: names of `distortions.DISTORTIONS`.

    Raises:
      ConfigError: the style or a distortion does not exist, the style has symbols that the model
        cannot read, or `workdir` has a model that was adapted to another style or for other steps.
    """
    if unknown := [name for name in names if name not in distortions.DISTORTIONS]:
        raise ConfigError(
            f"there is no distortion {unknown[0]!r}; choose from "
            f"{', '.join(distortions.DISTORTIONS)}"
        )
    reader = recognizer.load(run)
    look = family.load(style_name)
    if not isinstance(look, Style):
        raise ConfigError(
            f"the style {style_name} draws each image differently, so it cannot be distorted; "
            "choose one with --style, such as captcha_v2"
        )
    plain = distortions.plain(look)
    folded = reader.config.data.folding
    if foreign := set(map(folded, plain.alphabet)) - set(reader.charset.alphabet):
        raise ConfigError(
            f"the style {style_name} has symbols that the model in {run} cannot read: "
            f"{''.join(sorted(foreign))!r}"
        )
    rows = []
    for name in names:
        readers = [(False, reader)]
        if adapt:
            adapted = _adapted(name, run, files.below(workdir, name), reader, plain, adapt)
            readers.append((True, adapted))
        for strength in distortions.DISTORTIONS[name].strengths:
            look = distortions.distorted(plain, name, strength, strength)
            for trained, model in readers:
                rows.append(_row(name, strength, trained, model, look, count))
                print(f"{name} {strength:g}: {rows[-1].exact_match:.1%}"
                      + (" when trained on it" if trained else ""), flush=True)  # fmt: skip
    return rows


def num_steps(adapt: int) -> tuple[int, int]:
    """The steps per epoch and the epochs for `adapt` steps, or for a few more."""
    epochs = -(-adapt // _EPOCH)
    return -(-adapt // epochs), epochs


def schedule(adapt: int, batch_size: int) -> tuple[int, int]:
    """The images per epoch, including the validation part, and the epochs for `adapt` steps."""
    steps, epochs = num_steps(adapt)
    wanted = steps * batch_size
    return next(n for n in itertools.count(wanted) if n - max(1, int(n * _VAL)) == wanted), epochs


def _adapted(
    name: str,
    run: str | os.PathLike[str],
    workdir: Path,
    reader: Recognizer,
    plain: Style,
    adapt: int,
) -> Recognizer:
    """The model after `adapt` training steps on the distortion at all strengths."""
    strengths = distortions.DISTORTIONS[name].strengths
    look = distortions.distorted(plain, name, strengths[0], strengths[-1])
    style = workdir / "style.json"
    config = adapted_config(reader, run, style, adapt)
    _check_same(workdir, look, config)
    workdir.mkdir(parents=True, exist_ok=True)
    run_dir.RunDir(workdir).write_json(style.name, dataclasses.asdict(look), if_new=True)
    train.train_and_evaluate(config, files.below(workdir, "run"))
    return recognizer.load(workdir / "run")


def _check_same(workdir: Path, look: Style, config: config_lib.Config) -> None:
    """Raises ConfigError if a model in `workdir` was adapted to another style, or for other steps.

    Its style file must not change: the finished model draws its validation part from it.
    """
    before = run_dir.RunDir(workdir / "run")
    if not (before.workdir / "config.json").exists():
        return
    found = before.config()
    same_steps = (found.data.count, found.train.epochs) == (config.data.count, config.train.epochs)
    if not same_steps or family.load(os.fspath(workdir / "style.json")) != look:
        raise ConfigError(
            f"{workdir} has a model that was adapted to another style or for another number of "
            "steps (--adapt); choose another --workdir"
        )


def adapted_config(
    reader: Recognizer, run: str | os.PathLike[str], style: Path, adapt: int
) -> config_lib.Config:
    """Returns the config that trains `run` for `adapt` steps on generated images of `style`."""
    values = config_lib.to_dict(reader.config)
    count, epochs = schedule(adapt, reader.config.train.batch_size)
    changes = {
        "data.source": "stream",
        "data.style": os.fspath(style),
        "data.alphabet": reader.charset.alphabet,
        "data.val_fraction": _VAL,
        "data.count": count,
        "data.use_labels": True,
        "data.unlabeled": "",
        "data.test_size": 0,
        "data.num_folds": 0,
        "data.fold": 0,
        "data.train_size": 0,
        "data.val_dir": "",
        "data.min_val_size": 0,
        "train.min_steps": 0,
        "train.min_steps_per_epoch": 0,
        "train.passes_per_epoch": 1,
        "train.epochs": epochs,
        "train.init_from": os.fspath(run),
        "train.checkpoint_selection": "last",
        "train.patience": 0,
        "train.stop_after": 0,
    }
    return config_lib.from_dict(config_lib.with_changes(values, changes))


def _row(
    name: str, strength: float, trained: bool, reader: Recognizer, look: Style, count: int
) -> Row:
    # The last image numbers of the seed, which no training reaches.
    first = 2**31 - 1 - count
    config = generated.as_drawn(dataclasses.replace(reader.config.data, synthetic_seed=0), look)
    data = generated.generate(look, config, range(first, first + count))
    readings = reader.predict([generated.to_image(image) for image in data.images])
    folded = reader.config.data.folding
    exact = sum(r.text == folded(text) for r, text in zip(readings, data.texts, strict=True))
    low, high = metrics.wilson_interval(exact, count)
    unit = distortions.DISTORTIONS[name].unit
    return Row(name, strength, unit, trained, exact, count, exact / count, low, high)


def _check_kept(directory: run_dir.RunDir, names: Sequence[str], adapt: int) -> None:
    """Raises ConfigError if the table in a folder has more than a new one of `names` will have."""
    table = directory.workdir / "robustness.csv"
    if not table.exists():
        return
    with table.open(newline="") as file:
        kept = list(csv.DictReader(file))
    found = {row.get("distortion", "") for row in kept}
    lost = [name for name in distortions.DISTORTIONS if name in found - set(names)]
    if not adapt and any(row.get("trained_against") == "True" for row in kept):
        lost.append("models with --adapt")
    if lost:
        raise ConfigError(
            f"{table} has other results, which would be lost ({', '.join(lost)}); choose another "
            "--workdir"
        )


def to_markdown(rows: Sequence[Row], what: str) -> str:
    """A table of distortions against strengths, with one row per model."""
    steps = max(len(distortions.DISTORTIONS[row.distortion].strengths) for row in rows)
    lines = [what, "", "| distortion | model |" + " strength: exact match |" * steps]
    lines.append("|" + "---|" * (steps + 2))
    for name in dict.fromkeys(row.distortion for row in rows):
        for trained in (False, True):
            own = [r for r in rows if r.distortion == name and r.trained_against == trained]
            if own:
                label = "trained on it" if trained else "not trained on it"
                cells = " | ".join(f"{r.strength:g}: {r.exact_match:.1%}" for r in own)
                lines.append(f"| {name}, {own[0].unit} | {label} | {cells} |")
    return "\n".join(lines) + "\n"


def report(
    run: str | os.PathLike[str],
    workdir: str | os.PathLike[str] | None,
    style_name: str | None,
    count: int,
    adapt: int,
    names: Sequence[str] | None,
) -> Path:
    """Writes robustness.md, .csv and .png to `workdir`, by default RUN/robustness.

    Returns:
      The folder.

    Raises:
      RunError: the run is not finished.
      ConfigError: see `measure`; or the folder has a table of other distortions or with adapted
        models; or `style_name` is None and the run was trained on a folder.
    """
    directory = run_dir.RunDir(workdir or files.below(run, "robustness"))
    config = run_dir.RunDir(run).config()
    result = run_dir.RunDir(run).result()
    if result is None:
        raise RunError(f"{run} is not finished; train it first")
    if style_name is None and config.data.source == "folder":
        raise ConfigError(
            f"{run} was trained on a folder, so its images have no style that can be distorted; "
            "choose a similar one with --style, such as captcha_v2 or the path of a .json file"
        )
    style_name = style_name or config.data.style
    names = names or list(distortions.DISTORTIONS)
    _check_kept(directory, names, adapt)
    directory.workdir.mkdir(parents=True, exist_ok=True)
    rows = measure(run, directory.workdir, style_name, count, adapt, names)
    what = (
        f"{markup.markdown(Path(run).resolve().name)}, trained on "
        f"{markup.markdown(result.data_name)} (fingerprint {result.fingerprint[:12]}); {count} "
        f"generated images per strength, plain text of {markup.markdown(style_name)}"
        + (f"; trained on each distortion for {math.prod(num_steps(adapt))} steps" if adapt else "")
    )
    markdown = to_markdown(rows, what)
    directory.write_text("robustness.md", markdown)
    directory.write_csv("robustness.csv", Row._fields, rows)
    print(markdown, end="")
    from crnn_jax.analysis import plots

    directory.write_bytes("robustness.png", plots.strengths(rows))
    return directory.workdir
