"""Kills cells, launchers, ranks and nodes at random moments; the same command must lose nothing.

    PYTHONPATH=. python tests/faults/scale_out.py WORK --out results/scale_out/kills.json

In each trial a command is started, and a process of it gets SIGKILL at a random step. Then the same
command runs to its end. The weights must be those of an undisturbed run, bit for bit, and no run
that was finished may be trained again. What is lost are the steps since the last checkpoint, which
are done twice. A trial that is in WORK/trials.jsonl already is not repeated.

cell          one run of a sweep of two, as a process of this machine
launcher      run.py of such a sweep
slurm         run.py of such a sweep, whose runs are jobs of submitit on this machine
rank          one of two processes that train a run together
node          one of two Ray nodes, the one that trains; needs ray
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from crnn_jax.runs import provenance
from crnn_jax.runs.run_dir import RunDir
from tests.integration import several_hosts_test as hosts

EPOCHS, STEPS = 10, 14  # of a run; 108 training images in batches of 8
LIMIT = 600.0  # seconds of one command
CELLS = ["base/seed0-fold0", "base/seed1-fold0"]
KINDS = ("cell", "launcher", "slurm", "rank", "node")
GRID = f"""
from ml_collections import ConfigDict
from experiments import tiny

def get_config():
    config = tiny.get_config()
    config.update_from_flattened_dict({{
        "data.source": "synthetic", "data.count": 120, "train.epochs": {EPOCHS},
        "train.patience": 0, "log.every_steps": 1,
    }})
    config.grid = {{"seeds": (0, 1), "folds": (0,), "variants": ConfigDict({{"base": {{}}}})}}
    return config
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--kills", type=int, default=50, help="of each kind")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    os.environ["JAX_NUM_CPU_DEVICES"] = "1"
    ledger = options.work / "trials.jsonl"
    known = list(map(json.loads, ledger.read_text().splitlines())) if ledger.exists() else []
    for number in range(options.kills):
        for kind in options.kinds:
            if any((t["kind"], t["trial"]) == (kind, number) for t in known):
                continue
            moments = random.Random(f"{options.seed} {kind} {number}")
            start = time.monotonic()
            found = {"kind": kind, "trial": number, **trial(kind, options.work, moments)}
            found["seconds"] = round(time.monotonic() - start, 1)
            if found["failure"]:  # its output says why
                kept = options.work / f"failed-{kind}-{number}"
                shutil.copytree(options.work / "trial", kept, dirs_exist_ok=True)
            known.append(found)
            with ledger.open("a") as file:
                file.write(json.dumps(found) + "\n")
            print(found, flush=True)
    if options.out:
        kinds = {kind: summary(known, kind) for kind in KINDS}
        record = {**provenance.here(["cpu"]), "kinds": kinds, "trials": known}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


def summary(trials: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    own = [trial for trial in trials if trial["kind"] == kind]
    killed = [trial for trial in own if trial["killed"]]
    steps = [trial["steps_twice"] for trial in killed]
    return {
        "trials": len(own),
        "kills": len(killed),
        "failures": [trial["failure"] for trial in own if trial["failure"]],
        "steps_twice_mean": round(sum(steps) / max(len(steps), 1), 1),
        "steps_twice_most": max(steps, default=0),
        "seconds_until_all_ended_most": max((t["ended_after"] for t in killed), default=0),
    }


def trial(kind: str, work: Path, moments: random.Random) -> dict[str, Any]:
    """Kills once, runs the command to its end, and compares with an undisturbed run."""
    folder = work / "trial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    runs = expected(kind, work)
    at = moments.randint(1, len(runs) * EPOCHS * STEPS - 5)
    command: Command = {"rank": Ranks, "node": Nodes}.get(kind, Sweep)(kind, folder)
    command.start()
    try:
        is_killed = command.wait_for(at) and command.kill(moments)
        begin = time.monotonic()
        done = {name: done_steps(folder / "run" / name) for name in runs}
        command.end()
        ended_after = time.monotonic() - begin
        finished = {n for n in runs if (folder / "run" / n / "result.json").exists()}
        times = {n: (folder / "run" / n / "result.json").stat().st_mtime_ns for n in finished}
        if is_killed:
            command.start()
            command.end()
    finally:
        command.close()
    failure = ""
    for name, digest in runs.items():
        result = RunDir(folder / "run" / name).result()
        if result is None or result.params_sha256 != digest:
            failure = f"{name}: {'no result' if result is None else 'other weights'}"
        elif (
            name in times
            and (folder / "run" / name / "result.json").stat().st_mtime_ns != times[name]
        ):
            failure = f"{name} was finished, and was trained again"
    # A launcher's cells do a few more steps before they notice.
    twice = sum(max(done[n] - kept, 0) for n, kept in command.continued(done).items())
    return {
        "killed": bool(is_killed),
        "at_step": at,
        "steps_twice": twice,
        "finished_before": len(finished),
        "ended_after": round(ended_after, 1),
        "failure": failure,
    }


def done_steps(run: Path) -> int:
    """Returns the last step in the metrics of a run, with a cut last line or without."""
    steps = [0]
    if (run / "metrics.jsonl").exists():
        for line in (run / "metrics.jsonl").read_text().splitlines():
            try:
                steps.append(json.loads(line).get("step", 0))
            except json.JSONDecodeError:
                continue
    return max(steps)


def expected(kind: str, work: Path) -> dict[str, str]:
    """Returns the digests of undisturbed runs by name: one of two processes, or a sweep of two."""
    name = "rank" if kind == "rank" else "sweep"
    folder = work / f"undisturbed-{name}"
    names = [""] if kind == "rank" else CELLS
    if not all((folder / "run" / n / "result.json").exists() for n in names):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        command = (Ranks if kind == "rank" else Sweep)("cell", folder)
        command.start()
        command.end()
        command.close()
    results = {n: RunDir(folder / "run" / n).result() for n in names}
    return {n: r.params_sha256 for n, r in results.items() if r}


class Command:
    """A command that trains in `folder`/run."""

    def __init__(self, kind: str, folder: Path):
        self.kind, self.folder = kind, folder
        self.outputs: list[Path] = []

    def start(self) -> None:
        raise NotImplementedError

    def is_running(self) -> bool:
        raise NotImplementedError

    def kill(self, moments: random.Random) -> bool:
        """Sends SIGKILL. Returns False if the process has ended."""
        raise NotImplementedError

    def end(self) -> None:
        """Waits until all processes have ended."""
        raise NotImplementedError

    def close(self) -> None:
        pass

    def wait_for(self, step: int) -> bool:
        """Waits until so many steps are done in all runs together. False if the command ends."""
        deadline = time.monotonic() + LIMIT
        while sum(done_steps(p.parent) for p in self.metrics()) < step:
            if not self.is_running() or time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def metrics(self) -> list[Path]:
        names = [""] if self.kind == "rank" else CELLS
        return [self.folder / "run" / name / "metrics.jsonl" for name in names]

    def continued(self, done: dict[str, int]) -> dict[str, int]:
        """Returns the step at which each interrupted run went on, as far as its log tells."""
        found = {}
        for name in done:
            for line in self.log(name).splitlines():
                if line.startswith("continuing after epoch"):
                    words = line.split()
                    steps = int(words[5]) if "steps" in words else 0
                    found[name] = int(words[3]) * STEPS + steps
        return found

    def log(self, name: str) -> str:
        path = self.folder / "run" / name / "log.txt"
        return path.read_text() if path.exists() else ""


class Sweep(Command):
    """A sweep of two runs, one after the other."""

    def start(self) -> None:
        grid = self.folder / "grid.py"
        grid.write_text(GRID)
        command = [sys.executable, "run.py", "--config", os.fspath(grid), "--jobs=1",
                   f"--workdir={self.folder / 'run'}", *self.launcher()]  # fmt: skip
        # For experiments/, and for what the caller has added.
        path = [os.fspath(hosts.ROOT), os.environ.get("PYTHONPATH", "")]
        self.outputs.append(self.folder / f"output{len(self.outputs)}.txt")
        with self.outputs[-1].open("w") as out:
            self.process = psutil.Popen(
                command, cwd=hosts.ROOT, stdout=out, stderr=out,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
            )  # fmt: skip

    def launcher(self) -> list[str]:
        return ["--launcher=slurm", "--launcher.cluster=local"] if self.kind == "slurm" else []

    def is_running(self) -> bool:
        return self.process.poll() is None

    def kill(self, moments: random.Random) -> bool:
        victims = [self.process] if self.kind != "cell" else self.trainings()
        try:
            for victim in victims:
                victim.kill()
        except psutil.NoSuchProcess:
            return False
        return bool(victims)

    def trainings(self) -> list[psutil.Process]:
        """Returns the processes that train in this folder."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or ()
            if "train" in words and any(str(self.folder) in word for word in words):
                found.append(process)
        return found

    def end(self) -> None:
        self.process.wait(LIMIT)
        deadline = time.monotonic() + LIMIT
        while self.trainings():  # a launcher that is gone: they save and stop
            assert time.monotonic() < deadline, "runs go on without their launcher"
            time.sleep(0.05)


class Ranks(Command):
    """One run on two processes."""

    def start(self) -> None:
        arguments = [f"--config.train.epochs={EPOCHS}", "--config.train.patience=0"]
        self.outputs.append(self.folder / "output0.txt")
        self.processes = hosts.start(self.folder, 2, *arguments)

    def is_running(self) -> bool:
        return all(process.popen.poll() is None for process in self.processes)

    def kill(self, moments: random.Random) -> bool:
        try:
            psutil.Process(moments.choice(self.processes).child()).kill()
        except (psutil.NoSuchProcess, IndexError, StopIteration, FileNotFoundError):
            return False
        return True

    def end(self) -> None:
        hosts.end(self.processes)

    def log(self, name: str) -> str:
        return self.outputs[-1].read_text()


class Nodes(Sweep):
    """A sweep on a cluster of Ray with two nodes."""

    def __init__(self, kind: str, folder: Path):
        super().__init__(kind, folder)
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        self.nodes = [self.cluster.add_node(num_cpus=1) for _ in range(2)]

    def launcher(self) -> list[str]:
        return ["--launcher=ray", f"--launcher.address={self.cluster.address}"]

    def kill(self, moments: random.Random) -> bool:
        above = {parent.pid for process in self.trainings() for parent in process.parents()}
        for node in self.nodes:
            if node.all_processes["raylet"][0].process.pid in above:
                self.cluster.remove_node(node, allow_graceful=False)
                return True
        return False

    def close(self) -> None:
        self.cluster.shutdown()


if __name__ == "__main__":
    main()
