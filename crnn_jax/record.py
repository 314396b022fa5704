"""The run directory: what a run leaves, readable with `cat`, written atomically.

config.json  environment.json  params.txt  augmented.png  metrics.jsonl  readings.csv  errors.csv
result.json  checkpoints.json  checkpoints/
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import math
import os
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax import disk, held, history, lock
from crnn_jax.config import Config
from crnn_jax.errors import ConfigError, RunError


@dataclasses.dataclass(frozen=True)
class Result:
    """What `result.json` holds. Rates are fractions, of the validation part, best weights."""

    exact_match: float
    exact_match_95: list[float]  # Wilson interval
    cer: float
    char_accuracy: float
    num_exact: int
    num_examples: int
    num_chars: int
    val_loss: float
    best_epoch: int
    epochs_run: int
    seconds: float  # of training and evaluation, interrupted attempts included to their last save
    seed: int
    params_sha256: str
    data_name: str
    fingerprint: str
    num_train: int
    num_val: int
    # Of the confidences, both fitted and measured on the validation part. Records of versions
    # without them are of temperature 1.
    temperature: float = 1.0
    calibration_error: float | None = None  # expected, a fraction

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Of plain values from a file. TypeError or ValueError for any that cannot be."""
        result = cls(**values)
        for name, kind in typing.get_type_hints(cls).items():
            value = getattr(result, name)
            items = value if name == "exact_match_95" else [value]
            number = str if kind is str else int if kind is int else (int, float)
            if value is None and type(None) in typing.get_args(kind):
                continue
            if not all(isinstance(item, number) and item == item for item in items):
                raise TypeError(f"{name} is {value!r}")
        if len(result.exact_match_95) != 2 or not 0 < result.temperature < math.inf:
            raise ValueError("an interval has two ends, and a temperature is above 0")
        return result

    def __str__(self) -> str:
        low, high = self.exact_match_95
        return (
            f"exact match {self.num_exact} of {self.num_examples} ({self.exact_match:.2%}, "
            f"95 % interval {low:.2%} to {high:.2%}), CER {self.cer:.2%}, validation loss "
            f"{self.val_loss:.4f}; best epoch {self.best_epoch} of {self.epochs_run}, "
            f"{self.seconds:.0f} s"
        )


class Answer(NamedTuple):
    """A reading beside the truth: a line of `readings.csv`."""

    file: str
    truth: str
    reading: str
    confidence: float  # at the run's temperature
    loss: float  # CTC loss of the truth, nats, at temperature 1


class Record:
    """The files of one run directory."""

    def __init__(self, workdir: str | os.PathLike[str]):
        self.workdir = Path(workdir)
        self.checkpoints = self.workdir / "checkpoints"
        self.metrics = self.workdir / "metrics.jsonl"
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []  # to new metrics

    def open(self, config: Config) -> None:
        """Makes the directory for `config`, or checks that it is one of the same config.

        Keys of the section `log` may differ, because they do not change the result.

        Raises:
          RunError: it cannot be written, is of another config, or is no run directory.
        """
        try:
            held.anchored(self.workdir).mkdir(parents=True, exist_ok=True)
            if (self.workdir / "config.json").exists():
                self._check_same(config)
            else:
                self.check_foreign()
        except OSError as error:
            raise RunError(
                f"the run directory {self.workdir} cannot be written ({error.strerror}); "
                "choose another with --workdir"
            ) from error
        self.write_json("config.json", config_lib.to_dict(config), if_new=True)

    def check_foreign(self) -> None:
        """Checks that the directory is empty or a run directory. Writes nothing.

        Raises:
          RunError: it holds files of something else.
        """
        try:
            names = sorted(os.listdir(self.workdir))  # once: another process may add a file now
        except FileNotFoundError:
            return
        except OSError as error:
            raise RunError(f"the run directory {self.workdir}: {error.strerror}") from error
        if "config.json" in names:
            return
        foreign = [name for name in names if name != lock.FILE and not name.endswith(".partial")]
        if foreign:
            raise RunError(
                f"{self.workdir} is not empty and not a run directory (it holds "
                f"{foreign[0]}); choose another --workdir"
            )

    def config(self) -> Config:
        """The run's configuration. RunError where there is none to be read."""
        try:
            return config_lib.from_dict(history.up_to_date(self.read_json("config.json")))
        except ConfigError as error:
            raise RunError(f"{self.workdir / 'config.json'}: {error}") from error

    def result(self) -> Result | None:
        """What `result.json` holds; None while the run is not finished."""
        if not (self.workdir / "result.json").exists():
            return None
        try:
            return Result.from_dict(self.read_json("result.json"))
        except (TypeError, ValueError) as error:
            message = f"{self.workdir / 'result.json'} is damaged or of another version: {error}"
            raise RunError(message) from error

    def environment(self) -> dict[str, Any]:
        """What `environment.json` holds. RunError where there is none to be read."""
        return self.read_json("environment.json")

    def config_value(self, key: str) -> Any:
        """One dotted key of `config.json`, whatever version wrote it. RunError without it."""
        flat = config_lib.flatten(self.read_json("config.json"))
        if key not in flat:
            raise RunError(f"{self.workdir / 'config.json'} has no key {key}")
        return flat[key]

    def metrics_lines(self) -> list[dict[str, Any]]:
        """The objects of `metrics.jsonl`. RunError where there are none to be read."""
        lines = [values for _, values in self._metrics()]
        if not lines:
            raise RunError(f"{self.metrics} is empty")
        return lines

    def read_csv(self, name: str, columns: Iterable[str]) -> list[dict[str, str]]:
        """The rows of a CSV file. RunError where it cannot be read or lacks a column."""
        path = self.workdir / name
        try:
            content = disk.read(path).decode("utf-8", errors="surrogateescape")
            rows = csv.DictReader(io.StringIO(content, newline=""))
            header, values = rows.fieldnames or [], list(rows)
        except (OSError, csv.Error) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        if missing := set(columns) - set(header):
            raise RunError(f"{path} has no column {', '.join(sorted(missing))}")
        return values

    def write_json(self, name: str, values: Mapping[str, Any], if_new: bool = False) -> None:
        """With `if_new` a file that says so already is left alone, be it on a read-only disk."""
        content = _encoded(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
        if not (if_new and self._holds(name, content)):
            self.write_bytes(name, content)

    def write_csv(self, name: str, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
        self.write_text(name, buffer.getvalue())

    def write_text(self, name: str, text: str) -> None:
        """Writes beside and renames: a reader sees the old file or the new one, whole."""
        self.write_bytes(name, _encoded(text))

    def write_image(self, name: str, image: Image.Image) -> None:
        """As `write_text`, for a PNG."""
        self.write_bytes(name, png(image))

    def write_bytes(self, name: str, content: bytes) -> None:
        disk.write(self.workdir / name, content)

    def append_metrics(self, values: Mapping[str, Any]) -> None:
        """One more JSON object, on a line of its own."""
        disk.append(self.metrics, (json.dumps(values) + "\n").encode())
        for listener in self.listeners:
            listener(values)

    def rewind_metrics(self, step: int) -> None:
        """Drops the lines after a step, and a line that a kill cut off."""
        lines = []
        if self.metrics.exists():
            lines = [line for line, values in self._metrics() if values.get("step", 0) <= step]
        self.write_text("metrics.jsonl", "".join(lines))

    def _metrics(self) -> list[tuple[str, dict[str, Any]]]:
        """The lines of `metrics.jsonl`, without one that a kill cut off, and what they say."""
        try:
            text = disk.read(self.metrics).decode("utf-8")
            lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
            result = [(line, json.loads(line)) for line in lines]
            if not all(isinstance(values, dict) for _, values in result):
                raise ValueError("a line is not an object")
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.metrics} cannot be read: {error}") from error
        return result

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            return disk.read(self.workdir / name) == content
        except OSError:
            return False

    def _check_same(self, config: Config) -> None:
        old = config_lib.flatten(history.up_to_date(self.read_json("config.json")))
        new = config_lib.flatten(config_lib.to_dict(config))
        changed = [
            f"{key}: {old.get(key, 'absent')!r} there, {new.get(key, 'absent')!r} now"
            for key in sorted(old | new)
            if old.get(key) != new.get(key) and not key.startswith("log.")
        ]
        if changed:
            raise RunError(
                f"{self.workdir} holds a run of another config; choose another --workdir\n  "
                + "\n  ".join(changed)
            )

    def read_json(self, name: str) -> dict[str, Any]:
        """The object of a JSON file. RunError where there is none to be read."""
        path = self.workdir / name
        try:
            values = json.loads(disk.read(path).decode("utf-8", errors="surrogateescape"))
        except FileNotFoundError as error:
            raise RunError(f"{self.workdir} is not a run directory: it has no {name}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise RunError(f"{path} is not a JSON object")
        return values


def _encoded(text: str) -> bytes:
    # File names that are not UTF-8 reach us as surrogates and go back as they came.
    return text.encode("utf-8", errors="surrogateescape")


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return buffer.getvalue()


def default_workdir(experiment: str, config: Config) -> Path:
    """runs/<experiment>-<digest>, a directory for each config: a command finds its own again."""
    values = {**config_lib.to_dict(config), "log": None}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return Path("runs") / f"{experiment}-{digest[:8]}"
