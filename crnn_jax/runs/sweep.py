"""Sweeps: a grid of runs (cells) over variants x seeds x folds, each with its own run directory.

Cells run in separate processes, `jobs` at a time, here or on a cluster (launch.py). A cell that
fails or is killed does not affect the others, and finished cells are not repeated. On an
accelerator several cells of a variant can share a process and a compiled step (training/train.py).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

from msgspec import Meta

from crnn_jax import config as config_lib
from crnn_jax import schema
from crnn_jax.config import Config
from crnn_jax.data import folder, folder_advice, resolve
from crnn_jax.errors import ConfigError, one_line, quote
from crnn_jax.runs import launch
from crnn_jax.runs.launch import Job, Task
from crnn_jax.runs.run_dir import FAILED, RunDir
from crnn_jax.runtime import files, held, lock, processes
from crnn_jax.runtime.signals import Interruption


class Cell(NamedTuple):
    """One run of a grid."""

    variant: str
    seed: int
    fold: int
    config: Config

    @property
    def path(self) -> Path:
        """The run directory, relative to the directory of the grid."""
        return Path(self.variant) / f"seed{self.seed}-fold{self.fold}"


@dataclasses.dataclass(frozen=True)
class Grid:
    """Variants of a base config, crossed with seeds and folds.

    A variant is a name and the dotted keys that it changes. The name can be a path:
    `SCHEME/LABELS` is in the directory of its scheme.
    """

    base: Mapping[str, Any]  # plain values, as for `config.from_dict`
    variants: Mapping[str, Mapping[str, Any]]
    seeds: Sequence[int]
    folds: Sequence[int]

    def cells(self) -> list[Cell]:
        """Returns all cells. Seeds and folds are outermost, so that variants can be compared early.

        Raises:
          ConfigError: a key or value of a variant is wrong, or its generated images are not those
            of the others; the message names the variant.
        """
        result = []
        known = resolve.Known()
        for seed in self.seeds:
            for fold in self.folds:
                for name, changes in self.variants.items():
                    values = {**changes, "seed": seed, "data.fold": fold}
                    try:
                        config = config_lib.from_dict(config_lib.with_changes(self.base, values))
                        config = resolve.resolve(config, known)
                    except ConfigError as error:
                        raise ConfigError(f"variant {one_line(name)}: {error}") from error
                    result.append(Cell(name, seed, fold, config))
        _check_data(result)
        return result


# What the fingerprint of generated images depends on.
_KINDS = {"synthetic": "generated", "stream": "generated"}
_OF_IMAGES = ("style", "synthetic_seed", "width", "height", "channels", "crop")
_OF_MIXTURE = ("generated_share", "train_size")  # which determine the number of generated images


def _check_data(cells: Sequence[Cell]) -> None:
    """Checks that a report will be able to compare the cells: their data have one fingerprint.

    For images of a folder, that is not known before they are read. The variants A/B of each A are
    compared for themselves, as those of a scheme.
    """
    firsts: dict[str, tuple[dict[str, Any], str]] = {}
    for cell in cells:
        data = cell.config.data
        values: dict[str, Any] = {"source": _KINDS.get(data.source, data.source)}
        if data.source != "folder":
            names = _OF_IMAGES + (_OF_MIXTURE if data.source == "mixture" else ("count",))
            values |= {name: getattr(data, name) for name in names}
        first = firsts.setdefault(cell.variant.rpartition("/")[0], (values, cell.variant))
        if values != first[0]:
            keys = [f"data.{name}" for name in values if values[name] != first[0].get(name)]
            raise ConfigError(
                f"variant {one_line(cell.variant)}: {keys[0]} is not as in the variant "
                f"{one_line(first[1])}, so it has other images, and a report cannot compare them; "
                "remove it, or write the images to a folder with `crnn-jax generate`, and give it "
                "with data.dir"
            )


# Keys that the grid sets, and where.
_SET_BY_GRID: Mapping[str, str] = {"seed": "seeds", "data.fold": "folds"}


class _Section(TypedDict):
    variants: Annotated[
        dict[Annotated[str, Meta(min_length=1, max_length=200)], dict[str, Any]],
        Meta(min_length=1),
    ]
    seeds: Annotated[Sequence[schema.Seed], Meta(min_length=1, max_length=10**4)]
    folds: Annotated[Sequence[schema.Count], Meta(min_length=1, max_length=10**4)]


def from_dict(values: Mapping[str, Any], given: Collection[str] = ()) -> Grid:
    """Builds a Grid from the plain values of a config that has a section `grid`.

    Args:
      values: the plain values.
      given: the dotted keys that the command line sets.

    Raises:
      ConfigError: a key of the section is missing or has the wrong type, or seed or data.fold is
        set outside of the section; the message names it.
    """
    base = {key: value for key, value in values.items() if key != "grid"}
    try:
        section = schema.check(values["grid"], _Section)
    except schema.InvalidError as error:
        raise ConfigError(f"the section grid: {error}") from error
    for name in ("seeds", "folds"):
        if len(set(section[name])) < len(section[name]):
            raise ConfigError(f"the section grid: {name} has the same number twice")
    for name in section["variants"]:
        parts = name.split("/")
        wrong = any(not part or Path(part).name != part or part[0] == "." for part in parts)
        if wrong or len(parts) > 2:  # the reports find no others
            raise ConfigError(f"variant {quote(name)}: it must be a valid directory name, or A/B")
    _check_seed_and_fold(base, section["variants"], given)
    return Grid(base, section["variants"], tuple(section["seeds"]), tuple(section["folds"]))


def _check_seed_and_fold(
    base: Mapping[str, Any], variants: Mapping[str, Mapping[str, Any]], given: Collection[str]
) -> None:
    """Checks that seed and data.fold are set in the section `grid` only."""
    defaults, base = config_lib.flatten(config_lib.defaults()), config_lib.flatten(base)
    for key, name in _SET_BY_GRID.items():
        value = base.get(key, defaults[key])
        if value != defaults[key] or key in given:
            raise ConfigError(
                f"{key} is set by the grid of a sweep; write --config.grid.{name}='({value},)'"
            )
        for variant, changes in variants.items():
            if key in changes:
                raise ConfigError(
                    f"variant {one_line(variant)}: {key} is set by the grid; remove it, and list "
                    f"the values in grid.{name}"
                )


def run(
    grid: Grid,
    workdir: str | os.PathLike[str],
    jobs: int,
    allow_environment_change: bool = False,
    together: int = 1,
    launcher: str = "local",
    options: Mapping[str, str] | None = None,
) -> list[Cell]:
    """Runs the cells that are not finished and returns those that failed.

    Args:
      grid: the cells.
      workdir: the directory of the grid.
      jobs: the number of processes that run at a time.
      allow_environment_change: resume cells that were started with other package versions or on
        another machine.
      together: the maximum number of cells of a variant that share a process.
      launcher: where the processes run; one of `launch.NAMES`.
      options: options of the launcher.

    Raises:
      ConfigError: a variant or the launcher is wrong; nothing was run.
      DataError: none of the unfinished cells has a folder to train on; nothing was run.
      RunError: the directory contains a cell with another config, or is in use by another process;
        nothing was run.
      DeviceError: JAX has no device of the platform that JAX_PLATFORMS names; nothing was run.
      Interrupted: a signal came; the running cells have saved their state.
    """
    workdir = Path(workdir)
    cells = grid.cells()
    for cell in cells:
        files.below(workdir, *Path(cell.path).parts)
        if (workdir / cell.path / "config.json").exists():
            RunDir(workdir / cell.path).check_same(cell.config, is_cell=True)
    waiting = [cell for cell in cells if RunDir(workdir / cell.path).result() is None]
    folders = [
        Path(cell.config.data.dir) for cell in waiting if folder.uses_folder(cell.config.data)
    ]
    if folders and len(folders) == len(waiting) and not any(f.is_dir() for f in folders):
        folder_advice.check_for_training(folders[0])
    if waiting:
        processes.check_children()
    print(f"{len(cells)} runs, {len(cells) - len(waiting)} of them already finished", flush=True)
    todo, done, failed = len(waiting), 0, []
    start = time.monotonic()
    groups = _grouped(waiting, together)
    running: dict[int, tuple[list[Cell], Job]] = {}  # keyed by slot
    with lock.hold(workdir), Interruption() as interruption, contextlib.ExitStack() as stack:
        engine = launch.make(launcher, jobs, workdir, options or {})
        stack.callback(engine.close)
        stack.callback(_stop, running)
        _wait_for_previous([workdir / cell.path for cell in waiting], engine.is_here, interruption)
        while groups or running:
            free = [slot for slot in range(engine.slots) if slot not in running][: len(groups)]
            starting = {slot: groups.pop(0) for slot in free}
            tasks = {
                slot: _task(group, workdir, allow_environment_change)
                for slot, group in starting.items()
            }
            for slot, job in (engine.start(tasks) if tasks else {}).items():
                running[slot] = starting[slot], job
            time.sleep(0.2)
            held.check(workdir)
            if interruption.number:
                raise interruption.stop(f"after {done} of {todo} runs")
            for slot, (group, job) in list(running.items()):
                if (status := job.poll()) is None:
                    continue
                del running[slot]
                failed += _finish(group, status, workdir)
                done += len(group)
                left = (time.monotonic() - start) / done * (todo - done) / 60
                for cell in group:
                    print(
                        f"[{done}/{todo}, {left:.0f} min left] {_line(cell, workdir)}", flush=True
                    )
    return failed


def _grouped(cells: Sequence[Cell], most: int) -> list[list[Cell]]:
    """Groups cells by variant, at most `most` in a group, in the order of their first cells."""
    groups: list[list[Cell]] = []
    for cell in cells:
        fitting = (g for g in groups if g[0].variant == cell.variant and len(g) < most)
        group = next(fitting, None)
        if group is None:
            groups.append([cell])
        else:
            group.append(cell)
    return groups


def _wait_for_previous(paths: Sequence[Path], is_here: bool, interruption: Interruption) -> None:
    """Waits until the cells of a killed sweep have saved their state.

    Processes of this machine end with their sweep, within a minute. Those on a cluster train on.
    """
    count = 0
    while busy := [path for path in paths if lock.is_held(path)]:
        if count == 300 and is_here:
            return
        if count == 300:
            print(
                f"waiting for {len(busy)} runs of an earlier sweep that are still in progress",
                flush=True,
            )
        if interruption.number:
            raise interruption.stop("before the first run")
        count += 1
        time.sleep(0.2)


def _stop(running: Mapping[int, tuple[list[Cell], Job]]) -> None:
    """Tells the running cells to save and stop, and waits for them."""
    for _, job in running.values():
        job.stop()
    for _, job in running.values():
        job.wait()


def _task(cells: Sequence[Cell], workdir: Path, allow_environment_change: bool) -> Task:
    """Returns the command that trains the cells. Its output goes to log.txt of the first cell."""
    paths = [workdir / cell.path for cell in cells]
    for cell, path in zip(cells, paths, strict=True):
        RunDir(path).open(cell.config, is_cell=True)
        files.remove(path / FAILED)
    command = [sys.executable, "-m", "crnn_jax", "train", *map(os.fspath, paths)]
    command += ["--allow-environment-change"] if allow_environment_change else []
    return Task(command, Path.cwd(), (paths[0] / "log.txt").absolute())


def _finish(group: Sequence[Cell], status: int, workdir: Path) -> list[Cell]:
    """Returns the cells that failed, after writing the end of the output to each as FAILED."""
    failed = []
    for cell in group:
        ended = RunDir(workdir / cell.path).result() is not None
        # With several cells, the process exits with an error if only one of them failed.
        if not ended or (status != 0 and len(group) == 1):
            failed.append(cell)
    if failed:
        log = workdir / group[0].path / "log.txt"
        try:
            text = files.read(log).decode(errors="replace")
        except OSError as error:
            text = f"{log} cannot be read: {error.strerror}"
        lines = [f"status {status}", *text.splitlines()[-20:]]
        for cell in failed:
            RunDir(workdir / cell.path).write_text(FAILED, "\n".join(lines) + "\n")
    return failed


def _line(cell: Cell, workdir: Path) -> str:
    name = f"{cell.variant} seed {cell.seed} fold {cell.fold}"
    result = RunDir(workdir / cell.path).result()
    if result is None:
        return f"{name}: failed, see {workdir / cell.path / FAILED}"
    return f"{name}: {result}"
