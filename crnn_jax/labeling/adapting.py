"""Adapts the reader to the labels so far, in a separate process while labeling continues.

Each adaptation starts from the same reader and trains on all labels, as experiments/adapt.py does.
It trains on a copy of the labeled images, so that new labels do not change the data of a run that
has begun:

labels-0050/    the labeled images (hard links where possible) with their labels.csv
reader-0050/    the run directory, with log.txt

If an adaptation fails, no label is lost, because labels are saved before it starts. The next one
starts at the next number of labels.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import shutil
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from crnn_jax import config as config_lib
from crnn_jax.config import Config
from crnn_jax.config.data_keys import AUTO
from crnn_jax.data.label_tables import LABELS_FILE
from crnn_jax.errors import CrnnError, brief
from crnn_jax.inference import shipped
from crnn_jax.inference.recognizer import Recognizer, load
from crnn_jax.labeling.session import Session
from crnn_jax.runs.launch import Process, Task
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import files

# An adaptation starts at this multiple of the labels of the previous one, or later, because
# training takes longer with more labels. Chosen by hand.
_GROWTH = 1.25
_NICENESS = 5  # niceness of the process, so that the page stays responsive
_NONE: Mapping[str, Any] = types.MappingProxyType({})
_RUN = re.compile(r"reader-(\d{4,})")

# The settings of experiments/adapt.py. What it leaves to the reader (model, size and normalization
# of images) is taken from the config of the reader; so is the width, see `config`.
SETTINGS: Mapping[str, Any] = {
    "seed": 0,
    "data.source": "folder",
    "data.style": "captcha_v2",
    "data.count": 1040,
    "data.synthetic_seed": 0,
    "data.direction": "auto",
    "data.val_dir": "",
    "data.alphabet": "",
    "data.length": "labels",
    "data.complete_alphabet": True,
    "data.label_pattern": "",
    "data.test_size": 0,
    "data.val_fraction": 0.1,
    "data.min_val_size": 20,
    "data.split_seed": 0,
    "data.num_folds": 0,
    "data.fold": 0,
    "data.train_size": 0,
    "data.use_labels": True,
    "data.unlabeled": "",
    "train.detect_case": True,
    "train.epochs": 4,
    "train.epochs_for_new_symbols": 8,
    "train.half_rate_labels": 17,
    "train.half_way_labels": 4,
    "train.passes_per_epoch": 3,
    "train.min_steps": 0,
    "train.min_steps_per_epoch": 10,
    "train.batch_size": 16,
    "train.eval_batch_size": 32,
    "train.ema_decay": 0.95,
    "train.stop_after": 0,
    "train.patience": 0,
    "train.checkpoint_selection": "last",
    "optimizer.name": "adam",
    "optimizer.trust_ratio": False,
    "optimizer.learning_rate": 7e-4,
    "optimizer.clip_norm": 1.0,
    "optimizer.warmup_steps": 10,
    "augment.shift": 0.04,
    "augment.rotate": 2.0,
    "augment.scale": 0.06,
    "augment.shear": 0.06,
    "augment.ripple": 0.0,
    "model.dropout": 0.0,
    "model.lstm_dropout": 0.0,
    "log.trackers": (),
}


def config(
    reader: Recognizer, run: str, folder: Path, changes: Mapping[str, Any] = _NONE
) -> Config:
    """Returns the config that adapts a reader to the labeled images in a folder.

    Args:
      reader: the reader that the training starts from.
      run: its run directory or name.
      folder: images with a label file.
      changes: changed settings, by dotted key.
    """
    is_folder = os.path.isdir(run) and not shipped.is_name(run)
    start = os.path.abspath(run) if is_folder else run
    own = {
        "data.dir": os.fspath(folder.absolute()),
        "train.init_from": start,
        # A reader of one width has learned how wide a character is in it.
        "data.width": AUTO if reader.width_by_image else reader.config.data.width,
    }
    values = config_lib.to_dict(reader.config)
    return config_lib.from_dict(config_lib.with_changes(values, {**SETTINGS, **own, **changes}))


class Status(NamedTuple):
    """The state of the adaptation, for the page."""

    kind: Literal["off", "waiting", "training", "failed", "adapted"]
    labels: int = 0  # used by the training run or the reader, or due for the first run
    message: str = ""  # why it failed
    seconds: float = 0.0  # duration of the training so far


class Adapter:
    """Starts and watches the processes that train. Its methods are called by one thread.

    Attributes:
      status: the state; replaced as a whole, so that other threads can read it.
      newest: the run directory of the newest adapted reader; None if there is none.
    """

    newest: Path | None = None

    def __init__(
        self,
        reader: Recognizer,
        run: str,
        images: Path,
        workdir: Path,
        every: int,
        changes: Mapping[str, Any] = _NONE,
    ):
        """Prepares adaptations.

        Args:
          reader: the reader that every training run starts from.
          run: its run directory or name.
          images: the folder with the images.
          workdir: the folder for the runs.
          every: labels between two training runs; 0 for none.
          changes: changed settings, by dotted key.
        """
        self._reader, self._run, self._images = reader, run, images
        self._workdir, self._every, self._changes = workdir, every, changes
        self._process: Process | None = None
        self._begun = 0.0
        self._last = 0  # labels of the last training run that was started
        self.status = Status("waiting", every) if every else Status("off")

    @property
    def frame(self) -> str:
        """What to read from animations: data.frame of the adaptation."""
        frame: str = self._changes.get("data.frame", self._reader.config.data.frame)
        return frame

    @property
    def is_training(self) -> bool:
        """Whether a training run is in progress."""
        return self._process is not None

    def restored(self) -> tuple[str, Recognizer] | None:
        """Returns the newest reader of an earlier session with the same start, if there is one.

        Returns None if adaptation is off, so that the reader stays the one that was chosen.
        """
        for count in sorted(self._counts(), reverse=True):
            run = RunDir(self._path("reader", count))
            with contextlib.suppress(CrnnError):
                if self._every and run.result() and self._reads_alike(run.config(), count):
                    reader = load(run.workdir)
                    self._last, self.newest = count, run.workdir
                    self.status = Status("adapted", count)
                    return run.workdir.name, reader
        return None

    def _reads_alike(self, found: Config, count: int) -> bool:
        """Whether a run of an earlier session has the same start, width and frame as this one."""
        wanted = self._config(count)
        return (
            found.train.init_from == wanted.train.init_from
            and found.data.frame == wanted.data.frame
            # A run has the width that was chosen for its images.
            and wanted.data.width in (AUTO, found.data.width)
        )

    def step(self, session: Session) -> tuple[str, Recognizer] | None:
        """Starts a training run when it is due, and returns the new reader when one has ended."""
        if self._process is not None:
            return self._followed(self._process)
        due = max(self._last + self._every, int(self._last * _GROWTH))
        if self._every and session.num_labels >= due:
            try:
                self._start(session.labels())
            except (CrnnError, OSError) as error:
                self._fail(str(error))
        return None

    def stop(self) -> None:
        """Ends a training run in progress at once, and removes it, because it is not continued."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.kill()
        if self._process.wait() != 0:  # else it has ended before it was killed
            with contextlib.suppress(CrnnError):
                files.remove(self._path("reader", self._last))
                files.remove(self._path("labels", self._last))

    def _start(self, labels: Mapping[str, str]) -> None:
        count = len(labels)
        self._last = count
        data, run = self._path("labels", count), self._path("reader", count)
        files.remove(data)
        files.remove(run)
        copy_labeled(self._images, labels, data)
        RunDir(run).open(self._config(count))
        command = [sys.executable, "-m", "crnn_jax", "train", os.fspath(run)]
        task = Task(command, Path.cwd(), (run / "log.txt").absolute())
        self._process, self._begun = Process(task), time.monotonic()
        with contextlib.suppress(OSError, AttributeError):  # not on every system
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)
        self.status = Status("training", count)

    def _followed(self, process: Process) -> tuple[str, Recognizer] | None:
        exit_status, count = process.poll(), self._last
        if exit_status is None:
            self.status = Status("training", count, seconds=time.monotonic() - self._begun)
            return None
        self._process = None
        run = self._path("reader", count)
        try:
            if exit_status == 0:
                reader = load(run)
                self._remove_others(count)
                self.newest = run
                self.status = Status("adapted", count)
                return run.name, reader
            self._fail(f"{_last_line(run / 'log.txt')} (see {run / 'log.txt'})")
        except CrnnError as error:
            self._fail(str(error))
        return None

    def _fail(self, reason: str) -> None:
        self.status = Status("failed", self._last, brief(reason, 500))

    def _config(self, count: int) -> Config:
        return config(self._reader, self._run, self._path("labels", count), self._changes)

    def _path(self, kind: str, count: int) -> Path:
        return self._workdir / f"{kind}-{count:04}"

    def _counts(self) -> list[int]:
        try:
            names = os.listdir(self._workdir)
        except OSError:
            return []
        return [int(found[1]) for name in names if (found := _RUN.fullmatch(name))]

    def _remove_others(self, kept: int) -> None:
        """Removes the runs before the newest one, each of which takes some 50 MB."""
        for count in self._counts():
            if count != kept:
                with contextlib.suppress(CrnnError):
                    files.remove(self._path("reader", count))
                    files.remove(self._path("labels", count))


def copy_labeled(images: Path, labels: Mapping[str, str], folder: Path) -> None:
    """Writes a folder with the labeled images and a labels.csv, without images that were removed.

    Raises:
      OSError, RunError: it cannot be written.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(("file", "label"))
    for file, label in labels.items():
        if not (images / file).exists():
            continue
        copy_image(images / file, folder / file)
        writer.writerow((file, label))
    files.write(folder / LABELS_FILE, table.getvalue().encode())


def copy_image(source: Path, target: Path) -> None:
    """Makes a hard link, or a copy where that fails. OSError, RunError if that fails."""
    files.make_folder(target.parent)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _last_line(log: Path) -> str:
    """Returns the last error that a training run printed."""
    try:
        lines = files.read(log).decode(errors="replace").splitlines()
    except OSError:
        return "the training run ended without a message"
    errors = [line for line in lines if line.startswith("error: ")]
    found = (errors or [line for line in lines if line.strip()] or [""])[-1]
    return brief(found.removeprefix("error: "), 300) or "the training run ended without a message"
