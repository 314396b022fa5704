"""The run directory: the files of a run, readable with `cat`, written atomically.

docs/reference/run_directory.md describes the files.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.config import Config
from crnn_jax.config.data_keys import LEFT_TO_DATA, NO_EFFECT_ON_RESULTS
from crnn_jax.errors import ConfigError, RunError, one_line, quote
from crnn_jax.runs import config_migrations, continuing, record_types
from crnn_jax.runs.result import Result
from crnn_jax.runtime import csv_rows, files, held, lock
from crnn_jax.schema import InvalidError

T = TypeVar("T")

FAILED = "failed.txt"  # in a cell of a sweep: the last output of a failed process
_TIMEOUT = 30.0  # seconds until a file of another host is visible on a shared file system


class RunDir:
    """The files of one run directory.

    With `writes=False` nothing is written: if a run has several processes, only the first one does.
    """

    def __init__(self, workdir: str | os.PathLike[str], writes: bool = True):
        self.workdir = Path(workdir)
        self.writes = writes
        self.checkpoints = self.workdir / "checkpoints"
        self.metrics = self.workdir / "metrics.jsonl"
        self.listeners: list[Callable[[Mapping[str, Any]], None]] = []  # to new metrics

    def open(self, config: Config, is_cell: bool = False) -> None:
        """Makes the directory for `config`, or checks that it has the same config.

        Keys that do not change the result may differ: those of the section `log`, and
        NO_EFFECT_ON_RESULTS. So may keys that an earlier config left to the data.

        Args:
          config: the config.
          is_cell: whether the directory belongs to a sweep, for the error message.

        Raises:
          RunError: the directory cannot be written, is of a different config, is not a run
            directory, or is not shared by the processes of the run.
        """
        if not self.writes:
            self._find(config)
            return
        try:
            held.anchored(self.workdir).mkdir(parents=True, exist_ok=True)
            if (self.workdir / "config.json").exists():
                self.check_same(config, is_cell)
            else:
                self.check_foreign()
        except OSError as error:
            raise RunError(
                f"the run directory {self.workdir} cannot be written ({error.strerror}); "
                "choose another with --workdir"
            ) from error
        self.write_json("config.json", config_lib.to_dict(config), if_new=True)

    def _find(self, config: Config) -> None:
        """Checks that the first process of the run has made this directory."""
        deadline = time.monotonic() + _TIMEOUT
        while not (self.workdir / "config.json").exists():
            if time.monotonic() > deadline:
                raise RunError(
                    f"the run directory {self.workdir} of process 0 is not visible here; all "
                    "processes need the same --workdir on a shared file system"
                )
            time.sleep(0.1)
        self.check_same(config)

    def check_foreign(self) -> None:
        """Checks that the directory is empty or a run directory. Writes nothing.

        Raises:
          RunError: the directory contains files of something else.
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
                f"{self.workdir} is not empty and not a run directory (it contains "
                f"{one_line(foreign[0])}); choose another --workdir"
            )

    def config(self) -> Config:
        """Returns the config of the run. RunError names file and key if it cannot be read."""
        try:
            return config_lib.from_dict(config_migrations.up_to_date(self.read_json("config.json")))
        except ConfigError as error:
            raise RunError(f"{self.workdir / 'config.json'}: {error}") from error

    def result(self) -> Result | None:
        """Returns the content of `result.json`, or None if the run is not finished.

        Raises:
          RunError: the file is damaged or was written by a different version.
        """
        if not os.path.lexists(self.workdir / "result.json"):
            return None
        values = self.read_json("result.json")
        try:
            return Result.from_dict(values)
        except InvalidError as error:
            raise RunError(
                f"{self.workdir / 'result.json'} is damaged or was written by a different version: "
                f"{error}"
            ) from error

    def environment(self) -> dict[str, Any]:
        """Returns the content of `environment.json`. RunError names file and key on failure."""
        return self.read_json("environment.json", record_types.Environment)

    def config_value(self, key: str) -> Any:
        """Returns the value of a dotted key of `config.json`. RunError: it is missing or wrong.

        The file may be of any version.
        """
        value: Any = self.read_json("config.json")
        for name in key.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise RunError(f"{self.workdir / 'config.json'} has no key {key}")
            value = value[name]
        try:
            return config_lib.check_value(dict(config_lib.declared_keys())[key], value, key)
        except ConfigError as error:
            raise RunError(f"{self.workdir / 'config.json'}: {error}") from error

    def num_devices(self) -> int | None:
        """Returns how many devices a run was started on; None if it has not started."""
        try:
            return len(self.read_json("environment.json")["devices"])
        except (RunError, KeyError, TypeError):
            return None

    def metrics_lines(self) -> list[record_types.Line]:
        """Returns the lines of `metrics.jsonl`. RunError: the file is empty or unreadable."""
        return list(self._metrics())

    def epochs(self) -> list[record_types.Line]:
        """Like `metrics_lines`, but only the lines of epochs, which have a `val_loss`."""
        return [values for values in self._metrics() if "val_loss" in values]

    def _metrics(self) -> Iterator[record_types.Line]:
        """Yields the lines one by one, because a report needs few of them."""
        values = None
        for _, values in record_types.read_lines(self.metrics):
            yield values
        if values is None:
            raise RunError(f"{self.metrics} is empty")

    def read_csv(self, name: str, kind: type[T]) -> list[T]:
        """Returns the rows of a CSV file as NamedTuples. RunError names row and column."""
        return record_types.read_csv(self.workdir / name, kind)

    def write_json(self, name: str, values: Mapping[str, Any], if_new: bool = False) -> None:
        """Writes a JSON file. With `if_new`, a file that has this content already is not written.

        So the file may be on a read-only disk.
        """
        content = _encoded(json.dumps(values, indent=2, ensure_ascii=False) + "\n")
        if not (if_new and self._holds(name, content)):
            self.write_bytes(name, content)

    def write_csv(self, name: str, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
        """Writes a CSV file atomically."""
        buffer = io.StringIO()
        write = csv_rows.writer(buffer)
        for row in (header, *rows):
            write(row)
        self.write_text(name, buffer.getvalue())

    def write_text(self, name: str, text: str) -> None:
        """Writes a text file atomically."""
        self.write_bytes(name, _encoded(text))

    def write_image(self, name: str, image: Image.Image) -> None:
        """Writes a PNG file atomically."""
        self.write_bytes(name, png(image))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Writes a file atomically. RunError: it cannot be written."""
        if self.writes:
            files.write(self.workdir / name, content)

    def append_metrics(self, values: Mapping[str, Any]) -> None:
        """Appends a JSON object to `metrics.jsonl` as one line."""
        if not self.writes:
            return
        files.append(self.metrics, (json.dumps(values) + "\n").encode())
        for listener in self.listeners:
            listener(values)

    def rewind_metrics(self, step: int) -> None:
        """Removes the lines after a step, and a truncated last line."""
        lines = record_types.read_lines(self.metrics) if self.metrics.exists() else ()
        kept = [line for line, values in lines if values.get("step", 0) <= step]
        self.write_bytes("metrics.jsonl", b"".join(kept))

    def _holds(self, name: str, content: bytes) -> bool:
        try:
            return files.read(self.workdir / name) == content
        except OSError:
            return False

    def check_same(self, config: Config, is_cell: bool = False, unresolved: bool = False) -> None:
        """Checks that the directory belongs to this config, as `open` does. Writes nothing.

        With `unresolved`, keys that `config` leaves to the data may differ.
        """
        old = config_lib.flatten(config_migrations.up_to_date(self.read_json("config.json")))
        new = config_lib.flatten(config_lib.to_dict(config))
        changed = [
            f"{key}: was {quote(old.get(key, 'absent'))}, is now {quote(new.get(key, 'absent'))}"
            for key in sorted(old | new)
            if old.get(key) != new.get(key)
            and not key.startswith("log.")
            and key not in NO_EFFECT_ON_RESULTS
            and old.get(key) != LEFT_TO_DATA.get(key, ...)
            and not (unresolved and new.get(key) == LEFT_TO_DATA.get(key, ...))
        ]
        if changed:
            message = (
                f"{self.workdir} contains a run with a different config; choose another --workdir"
            )
            keys = [line.split(":")[0] for line in changed]
            advice = "" if is_cell else continuing.advice(self.workdir, config, keys)
            message += " for the sweep" if is_cell else ""
            raise RunError("\n  ".join([message, *changed, *filter(None, [advice])]))

    def read_json(self, name: str, kind: Any = dict[str, Any]) -> dict[str, Any]:
        """Returns the object of a JSON file, checked against the type `kind`.

        Raises:
          RunError: there is no such file, it cannot be read, or a key has another type.
        """
        try:
            values: dict[str, Any] = record_types.read(self.workdir / name, kind)
        except FileNotFoundError as error:
            raise RunError(f"{self.workdir} is not a run directory: it has no {name}") from error
        return values


def _encoded(text: str) -> bytes:
    # File names that are not UTF-8 contain surrogates, which are written as the original bytes.
    return text.encode("utf-8", errors="surrogateescape")


def png(image: Image.Image) -> bytes:
    """Encodes an image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return buffer.getvalue()


def default_workdir(experiment: str, config: Config) -> Path:
    """Returns runs/<experiment>-<digest of the config>: a command finds its own run again.

    Keys that do not change the result are not part of the digest.
    """
    defaults = config_lib.flatten(config_lib.defaults())
    unchanged = {key: defaults[key] for key in NO_EFFECT_ON_RESULTS}
    values = {**config_lib.with_changes(config_lib.to_dict(config), unchanged), "log": None}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return Path("runs") / f"{experiment}-{digest[:8]}"
