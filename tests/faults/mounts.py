"""Small disks in memory, and how commands must respond when one is full or read-only."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.commands import call, outcome, verb
from tests.faults.forks import Attempt, tail
from tests.faults.workers import Worker, brief


def remount(folder: Path, how: str) -> None:
    """Changes the options of a mounted tmpfs."""
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A tmpfs of 100 MB and 10,000 inodes; None without the right to mount."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder.is_mount():  # left by a stopped run
        subprocess.run(["umount", "-l", folder], check=True)
    how: list[str | Path] = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=100m,nr_inodes=10000",
        "tmpfs",
        folder,
    ]
    if subprocess.run(how, stderr=subprocess.DEVNULL).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def check_refused(attempt: Attempt, status: int, place: str) -> None:
    """Checks the response to a fault.

    Raises:
      AssertionError: it is not one line, has a traceback or another status, calls an intact file
        damaged, or does not contain `place`.
    """
    said = tail(attempt.err, 20000)
    where = f"status {status}: {brief(said)}"
    assert "Traceback" not in said, f"traceback: {where}"
    assert status in (1, 2), f"wrong status: {where}"
    lines = [line for line in said.splitlines() if not line.startswith("note: ")]
    assert "\n".join(lines).startswith("error: "), f"no error line: {where}"
    # For a data set, the bad files are listed in further lines.
    assert all(line.startswith("  ") for line in lines[1:]), f"more than one line: {where}"
    assert "damaged" not in said, f"an intact file is called damaged: {where}"
    assert place in said, f"the line does not name {place}: {where}"


def check_finished(worker: Worker, disk: Path, whole: Path) -> tuple[int, list[str]]:
    """Runs all commands on a finished run on a disk that is full, and then read-only.

    Returns:
      The number of refused commands, which must include all that write, and the failures.
    """
    number, failures = 0, []
    run, grid = disk / "run", disk / "grid"
    shutil.copytree(whole, run)
    shutil.copytree(whole, grid / "base" / "seed0-fold0")
    export = worker.work / "export"
    call(verb("export", whole, "--format", "safetensors", "--out", export))
    picture = str(next((worker.work / "data").glob("*.png")))
    kinds = "onnx", "safetensors", "keras", "stablehlo"
    writing = [
        (["report", run], run),
        (["report", grid], grid),
        (["audit", grid], grid),
        *((["export", run, "--format", kind], run) for kind in kinds),
        (["import-safetensors", export, disk / "imported"], disk),
    ]

    def ask(arguments: list[Any]) -> tuple[Attempt, int]:
        attempt = worker.start("crnn_jax", list(map(str, arguments)))
        return attempt, attempt.finish(30)

    expected = outcome(run)
    for state in ("full", "read-only"):
        used = shutil.disk_usage(disk).used // 1024
        remount(disk, f"size={used}k" if state == "full" else "ro,size=100m")
        for arguments, folder in writing:
            try:
                check_refused(*ask(arguments), str(folder))
                number += 1
            except AssertionError as error:
                failures.append(f"{state}, {arguments[0]} of a finished run: {error}")
        # Commands that write nothing still work.
        said = [tail(ask(["predict", where, picture])[0].out) for where in (run, whole)]
        if said[0] != said[1] or not said[0]:
            failures.append(f"{state}, predict: {said[0]!r}, not {said[1]!r}")
    remount(disk, "rw,size=100m")
    for arguments, _ in writing:
        attempt, status = ask(arguments)
        if status:
            failures.append(f"after the fault, {arguments[0]}: {brief(tail(attempt.err))}")
    if outcome(run) != expected:
        failures.append("a finished run has changed")
    for folder in (run, grid):
        shutil.rmtree(folder)
    return number, failures
