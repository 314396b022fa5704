"""Exact match of a model against the strength of each distortion.

Each distortion is applied by itself to the plain text of a style, at increasing strength. Two
models are measured: one that was not trained on the distortion, and the same one after training on
it. A distortion that only stops the first does not protect a captcha.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from crnn_jax import config as config_lib
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
_PLAIN: Mapping[str, Any] = dict.fromkeys(
    ("jitter", "turn", "shear", "wave_x", "wave_y", "water", "curves", "dots", "blur", "noise"),
    (0, 0),
)


class Distortion(NamedTuple):
    """A distortion of a style: the unit of its strength, and the strengths to measure."""

    unit: str
    strengths: Sequence[float]  # from none to the limit of what a person can read

    def changes(self, name: str, low: float, high: float) -> dict[str, Any]:
        """The style's keys for strengths between `low` and `high`."""
        if name == "turn" or name == "jitter":  # in both directions
            return {name: (-high, high)}
        if name == "overlap":
            return {"spacing": (-high, -low), "spacing_by": "ink"}
        if name == "wave":
            phases = {"wave_x_phase": (0, 1), "wave_y_phase": (0, 1)}
            return {"wave_x": (low, high), "wave_y": (low, high), **phases}
        if name == "water":
            return {name: (low, high), "water_phase": (0, 1)}
        if name == "lines":
            across = {"curve_x": ((0.0, 0.33, 0.67, 1.0),), "curve_width": (2.5,)}
            return {"curves": (int(low), int(high)), **across}
        return {name: (low, high)}


DISTORTIONS: Mapping[str, Distortion] = {
    "turn": Distortion("degrees in either direction", (0, 10, 20, 30, 40)),
    "jitter": Distortion("pixels up or down", (0, 2, 4, 6, 8)),
    "overlap": Distortion("pixels of overlap between neighbors", (0, 2, 4, 6, 8)),
    "wave": Distortion("pixels, along both axes", (0, 2, 4, 6, 8)),
    "water": Distortion("pixels, in rings", (0, 2, 4, 6, 8)),
    "lines": Distortion("curves across the image", (0, 2, 4, 6, 8)),
    "dots": Distortion("share of the pixels", (0, 0.1, 0.2, 0.3, 0.4)),
    "noise": Distortion("standard deviation, gray levels", (0, 40, 80, 120, 160)),
}


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
      names: names of `DISTORTIONS`.

    Raises:
      ConfigError: the style or a distortion does not exist, or the style has symbols that the
        model cannot read.
    """
    if unknown := [name for name in names if name not in DISTORTIONS]:
        raise ConfigError(
            f"there is no distortion {unknown[0]!r}; choose from {', '.join(DISTORTIONS)}"
        )
    reader = recognizer.load(run)
    look = family.load(style_name)
    if not isinstance(look, Style):
        raise ConfigError(
            f"the style {style_name} draws each image differently, so it cannot be distorted; "
            "choose one with --style, such as captcha_v2"
        )
    plain = dataclasses.replace(look, **_PLAIN)
    if foreign := set(plain.alphabet) - set(reader.charset.alphabet):
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
        for strength in DISTORTIONS[name].strengths:
            look = distorted(plain, name, strength, strength)
            for trained, model in readers:
                rows.append(_row(name, strength, trained, model, look, count))
                print(f"{name} {strength:g}: {rows[-1].exact_match:.1%}"
                      + (" when trained against it" if trained else ""), flush=True)  # fmt: skip
    return rows


def distorted(plain: Style, name: str, low: float, high: float) -> Style:
    """The style `plain` with one distortion, of strengths from `low` to `high`."""
    return dataclasses.replace(plain, **DISTORTIONS[name].changes(name, low, high))


def schedule(adapt: int, batch_size: int) -> tuple[int, int]:
    """The images per epoch, including the validation part, and the epochs for `adapt` steps."""
    epochs = -(-adapt // _EPOCH)
    wanted = -(-adapt // epochs) * batch_size
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
    strengths = DISTORTIONS[name].strengths
    workdir.mkdir(parents=True, exist_ok=True)
    look = distorted(plain, name, strengths[0], strengths[-1])
    style = workdir / "style.json"
    run_dir.RunDir(workdir).write_json(style.name, dataclasses.asdict(look), if_new=True)
    config = adapted_config(reader, run, style, adapt)
    train.train_and_evaluate(config, files.below(workdir, "run"))
    return recognizer.load(workdir / "run")


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
    exact = sum(r.text == text for r, text in zip(readings, data.texts, strict=True))
    low, high = metrics.wilson_interval(exact, count)
    unit = DISTORTIONS[name].unit
    return Row(name, strength, unit, trained, exact, count, exact / count, low, high)


def to_markdown(rows: Sequence[Row], what: str) -> str:
    """A table of distortions against strengths, with one row per model."""
    steps = max(len(DISTORTIONS[row.distortion].strengths) for row in rows)
    lines = [what, "", "| distortion | model |" + " strength: exact match |" * steps]
    lines.append("|" + "---|" * (steps + 2))
    for name in dict.fromkeys(row.distortion for row in rows):
        for trained in (False, True):
            own = [r for r in rows if r.distortion == name and r.trained_against == trained]
            if own:
                label = "trained against it" if trained else "not trained on it"
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
      ConfigError: see `measure`.
    """
    directory = run_dir.RunDir(workdir or files.below(run, "robustness"))
    config = run_dir.RunDir(run).config()
    result = run_dir.RunDir(run).result()
    if result is None:
        raise RunError(f"{run} is not finished; train it first")
    style_name = style_name or config.data.style
    directory.workdir.mkdir(parents=True, exist_ok=True)
    rows = measure(run, directory.workdir, style_name, count, adapt, names or list(DISTORTIONS))
    what = (
        f"{markup.markdown(Path(run).resolve().name)}, trained on "
        f"{markup.markdown(result.data_name)} (fingerprint {result.fingerprint[:12]}); {count} "
        f"generated images per strength, plain text of {markup.markdown(style_name)}"
        + (f"; trained against each distortion for {adapt} steps" if adapt else "")
    )
    markdown = to_markdown(rows, what)
    directory.write_text("robustness.md", markdown)
    directory.write_csv("robustness.csv", Row._fields, rows)
    print(markdown, end="")
    from crnn_jax.analysis import plots

    directory.write_bytes("robustness.png", plots.strengths(rows))
    return directory.workdir
