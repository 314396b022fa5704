"""A disk that is really full, or read-only: a part of the long run. Needs the right to mount."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.commands import EPOCHS, ROOT, call, captchas, outcome, train_command, verb


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


# KiB that are free when a run of checkpoints of 220 KiB begins.
_ROOM = (0, 4, 12, 24, 40, 100, 400, 480, 560, 640, 720, 800, 880)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


def refused(done: subprocess.CompletedProcess, folder: Path | str) -> None:
    """One sentence that names the path, and a status that says so."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    said = f"{done.args}: {done.returncode}\n{done.stderr}"
    assert done.returncode in (1, 2), said
    assert len(lines) == 1, said
    assert lines[0].startswith("error: "), said
    assert str(folder) in lines[0], said


def last_checkpoint(run: Path) -> int:
    """The newest epoch that can be restored; 0 where there is none."""
    from crnn_jax import recognizer

    if not any((run / "checkpoints").glob("[0-9]")):
        return 0
    return recognizer.load(run).epoch


def disks(work: Path, moments: random.Random, scale: float) -> dict[str, Any]:
    data, whole = captchas(work / "data"), work / "whole"
    call(train_command(data, whole))
    expected = outcome(whole)
    if os.getuid() or subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).returncode:
        return {"disk faults": "left out: no right to mount"}
    subprocess.run(["umount", "/mnt"], check=True)
    faults = locked(work, data, moments)
    with small_disk(work / "disk", "100m") as disk:
        run, ballast = disk / "run", disk / "ballast"
        for kib in _ROOM[:: max(1, round(1 / scale))]:
            shutil.rmtree(run, ignore_errors=True)
            ballast.unlink(missing_ok=True)
            free = shutil.disk_usage(disk).free
            ballast.write_bytes(bytes(max(0, free - kib * 1024)))
            done = call(train_command(data, run), status=None)
            if done.returncode == 0:
                continue
            refused(done, run)
            faults += 1
            last_checkpoint(run)
            print(f"{kib} KiB: {done.stderr.splitlines()[-1]}", file=sys.stderr)
            ballast.unlink()
            call(train_command(data, run))
            assert outcome(run) == expected
        ballast.unlink(missing_ok=True)
        # Everything that a finished run can be asked for, on a disk that is full and read-only.
        grid = disk / "grid"
        shutil.copytree(whole, grid / "base" / "seed0-fold0")
        picture = next(data.glob("*.png"))
        asked = [
            (verb("report", run), run),
            (verb("report", grid), grid),
            (verb("audit", grid), grid),
            *(
                (verb("export", run, "--format", kind), run)
                for kind in ("onnx", "safetensors", "keras", "stablehlo")
            ),
            (verb("import-safetensors", work / "export", disk / "imported"), disk),
        ]
        call(verb("export", whole, "--format", "safetensors", "--out", work / "export"))
        for state in ("full", "ro"):
            if state == "full":
                ballast.write_bytes(bytes(shutil.disk_usage(disk).free))
            else:
                remount(disk, "ro")
            for command, folder in asked:
                refused(call(command, status=None), folder)
                faults += 1
            if state == "full":
                with (disk / "readings.txt").open("w") as full:
                    done = subprocess.run(verb("predict", run, picture), cwd=ROOT, stdout=full,
                                          stderr=subprocess.PIPE, text=True)  # fmt: skip
                refused(done, "the standard output")
                faults += 1
            # What writes nothing goes on as ever; so does what only looks at a finished run.
            cache = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(disk / "cache")}
            said = call(verb("predict", run, picture), env=cache).stdout
            assert said == call(verb("predict", whole, picture)).stdout
            assert "is finished" in call(train_command(data, run)).stdout
            faults += 1
            if state == "full":
                ballast.unlink()
        remount(disk, "rw")
        for command, _ in asked:
            call(command)
        assert outcome(run) == expected
        faults += tensorboard_and_grid(work, disk, data)
    return {"disk faults": faults}


def locked(work: Path, data: Path, moments: random.Random) -> int:
    """Directories that nobody may write to, root neither, from a random moment of a run on."""
    run, faults = work / "locked", 0
    for _ in range(8):
        process = subprocess.Popen(train_command(data, run), cwd=ROOT, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
        metrics, wanted = run / "metrics.jsonl", moments.randint(0, 12)
        while process.poll() is None:
            if metrics.exists() and metrics.read_text().count("\n") >= wanted:
                break
            time.sleep(0.001)
        folders = [folder for folder in (run, run / "checkpoints") if folder.is_dir()]
        if subprocess.run(["chattr", "+i", *folders], capture_output=True).returncode:
            process.communicate()
            return 0  # a file system that cannot
        try:
            out, err = process.communicate(timeout=3000)
        finally:
            subprocess.run(["chattr", "-i", *folders], check=True)
        if process.returncode == 0:
            break
        done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
        refused(done, run)
        print(f"locked: {err.splitlines()[-1]}", file=sys.stderr)
        faults += 1
        last_checkpoint(run)
    call(train_command(data, run))
    assert outcome(run) == outcome(work / "whole")
    return faults


def tensorboard_and_grid(work: Path, disk: Path, data: Path) -> int:
    """The writers besides: event files, and a grid's log and marks."""
    ballast = disk / "ballast"
    flags = ["--config.log.tensorboard=true"]
    for run, free in ((disk / "events", 8), (disk / "events2", 60)):
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - free * 1024))
        refused(call(train_command(data, run, *flags), status=None), run)
        ballast.unlink()
        call(train_command(data, run, *flags))
        assert outcome(run) == outcome(work / "whole")
    experiment = work / "one.py"
    experiment.write_text(
        "from experiments import tiny\n\n\ndef get_config():\n    config = tiny.get_config()\n"
        f"    config.data.dir = {str(data)!r}\n    config.train.epochs = {EPOCHS}\n"
        "    config.log.every_steps = 2\n"
        "    config.grid = {'variants': {'base': {}}, 'seeds': (0,), 'folds': (0,)}\n"
        "    return config\n"
    )
    command = [sys.executable, "run.py", "--config", str(experiment), "--workdir", str(disk / "g")]
    for free in (0, 40, 300):
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - free * 1024))
        done = call(command, status=None)
        assert done.returncode == 1, done
        assert done.stderr.count("\n") == 1, done.stderr
        ballast.unlink()
    call(command)
    assert outcome(disk / "g/base/seed0-fold0") == outcome(work / "whole")
    return 5
