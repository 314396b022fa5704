"""Part `tests`: the fast tests of model and training on this device, within the time limit."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading

import record

FILES = (
    "models/alignment_test.py",
    "models/conv_pool_test.py",
    "models/ctc_loss_test.py",
    "models/decoding_test.py",
    "models/lstm_test.py",
    "training/early_stopping_test.py",
    "training/flat_start_test.py",
    "training/objective_test.py",
    "training/optimizer_test.py",
    "training/step_test.py",
)
WORKERS = 4
_OUTCOME = re.compile(r"(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) +(tests/\S+)")
_WHY = re.compile(r"^(FAILED|ERROR) (tests/\S+) - (.*)$")


def main() -> None:
    found = record.Record("tests", ["as the tests find it"])
    files = [f"tests/{name}" for name in (FILES if not record.TINY else FILES[:1])]
    # Warnings of newer libraries do not fail tests here.
    command = [sys.executable, "-m", "pytest", "-v", "-n", str(record.pick(WORKERS, 1))]
    command += ["-W", "default", "--tb=line", "-p", "no:cacheprovider", *files]
    with tempfile.TemporaryDirectory() as cache:
        variables = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        process = subprocess.Popen(
            command, cwd=record.ROOT, env=variables, stdout=subprocess.PIPE, text=True
        )
        # So that pytest prints its summary.
        limit = max(1.0, record.seconds_left() - 8)
        timer = threading.Timer(limit, process.send_signal, [signal.SIGINT])
        timer.start()
        names: dict[str, list[str]] = {}
        why: dict[str, str] = {}
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if match := _OUTCOME.search(line):
                kind, name = match[1].lower(), match[2]
                if name not in names.setdefault(kind, []):
                    names[kind].append(name)
            if match := _WHY.match(line):
                why[match[2]] = match[3]
            if match:
                keep(found, names, why)
        status = process.wait()
        timer.cancel()
    keep(found, names, why)
    found.add("tests", "status", status)


def keep(found: record.Record, names: dict[str, list[str]], why: dict[str, str]) -> None:
    """Records counts, and each failed test with its reason."""
    counts = {kind: len(these) for kind, these in names.items()}
    bad = {name: why.get(name, "") for kind in ("failed", "error") for name in names.get(kind, ())}
    found.results["tests"] = {"counts": counts, "failed": bad}
    found.save()


if __name__ == "__main__":
    main()
