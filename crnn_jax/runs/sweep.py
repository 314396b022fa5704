"""Sweeps: the runs (cells) of a grid, each with its own run directory.

Cells run in separate processes, `jobs` at a time, here or on a cluster (launch.py). A cell that
fails or is killed does not affect the others, and finished cells are not repeated. On an
accelerator several cells of a variant can share a process and a compiled step (training/train.py).
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from crnn_jax.data import folder, folder_advice
from crnn_jax.runs import launch
from crnn_jax.runs.grid import Cell, Grid
from crnn_jax.runs.launch import Job, Task
from crnn_jax.runs.run_dir import FAILED, RunDir
from crnn_jax.runtime import files, held, lock, processes
from crnn_jax.runtime.signals import SignalWatcher


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
      RunError: the directory contains a cell with a different config, or is in use by another
        process; nothing was run.
      DeviceError: JAX has no device of the platform that JAX_PLATFORMS names; nothing was run.
      Interrupted: a signal was received; the running cells have saved their state.
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
    with lock.hold(workdir), SignalWatcher() as watcher, contextlib.ExitStack() as stack:
        engine = launch.make(launcher, jobs, workdir, options or {})
        stack.callback(engine.close)
        stack.callback(_stop, running)
        _wait_for_previous([workdir / cell.path for cell in waiting], engine.is_here, watcher)
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
            if watcher.number:
                raise watcher.stop(f"after {done} of {todo} runs")
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


def _wait_for_previous(paths: Sequence[Path], is_here: bool, watcher: SignalWatcher) -> None:
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
        if watcher.number:
            raise watcher.stop("before the first run")
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
