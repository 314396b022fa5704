"""Seconds from the command to the first training step, and to the first prediction.

    python benchmarks/cold_start.py --cores 0,1

Measures whole processes on a folder of 936 generated images: imports, reading, compiling.
With 'empty cache', jax finds no compiled programs on disk; with 'warm cache', it finds those of an
earlier process with the same command. All files are in the page cache, because the first round is
not counted. The other contenders do less before the first step: they compute no fingerprint and
write no record of the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import contest
import environment
import figures
import process

OURS = "crnn-jax, warm cache"
START = contest.CONTENDERS / "start.py"
PICTURES = 936  # the number in CAPTCHA Version 2


def main() -> None:
    parser = contest.parser(__doc__, "cold_start.json")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--only", default="", help="only contenders whose name contains this, and crnn-jax"
    )
    options = parser.parse_args()
    options.load = os.getloadavg()
    contest.pin(options.cores)
    os.environ["OMP_NUM_THREADS"] = str(len(options.cores))
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        run = prepare(scratch)
        for title, contenders in {
            "s to the first step": training(scratch),
            "s to the first prediction": reading(scratch, run),
        }.items():
            chosen = {
                name: call
                for name, call in contenders.items()
                if options.only in name or name.startswith("crnn-jax")
            }
            series = take_turns(chosen, options.rounds)
            rows = figures.summary(series, OURS)
            print("\n" + figures.table(title, rows, OURS), flush=True)
            results[title] = {name: {**rows[name], "seconds": s} for name, s in series.items()}
    figures.write(options.out, vars(options), results)


def take_turns(contenders: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    series: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, call in contenders.items():
            seconds = call()
            if number:
                series[name].append(seconds)
        contest.note(f"round {number} of {rounds}")
    return series


def prepare(scratch: Path) -> Path:
    """Prepares images, the same weights in the format of each kind, and a run of the package."""
    # In a separate process, because jax would limit this process to its threads.
    code = "import sys, pathlib, material; p = pathlib.Path(sys.argv[1]); "
    code += f"material.draw(p / 'pictures', {PICTURES}); "
    code += "material.job('read', p / 'pictures', p, 16)"
    here = os.fspath(Path(__file__).resolve().parent)
    done = {**os.environ, "PYTHONPATH": here}
    subprocess.run([sys.executable, "-c", code, scratch], env=done, check=True)
    for kind in ("torch_", "keras_tf", "flax_plain"):
        command = [interpreter(kind), START, kind, "save", file_of(scratch, kind)]
        subprocess.run([*command, scratch / "arrays-1.npz"], check=True, capture_output=True)
    run = scratch / "run"
    command = [*train_command(scratch, run), "--config.train.stop_after=1"]
    subprocess.run(
        command, cwd=process.ROOT, check=True, capture_output=True, env=cache_in(scratch / "made")
    )
    return run


def training(scratch: Path) -> dict[str, Callable[[], float]]:
    def package(cache: Path) -> float:
        with tempfile.TemporaryDirectory() as folder:
            command = train_command(scratch, Path(folder) / "run")
            lines = Path(folder) / "run" / "metrics.jsonl"
            return seconds(
                process.until(
                    command,
                    lambda line: process.value(line, "step") == 1,
                    lines,
                    cache_in(cache),
                )
            )

    def other(kind: str, cache: Path | None = None) -> float:
        command = [interpreter(kind), START, kind, "train", scratch / "pictures"]
        return seconds(process.until(command, is_result, None, cache_in(cache)))

    return side_by_side(scratch, package, other)


def reading(scratch: Path, run: Path) -> dict[str, Callable[[], float]]:
    picture = min((scratch / "pictures").iterdir())

    def package(cache: Path) -> float:
        command = [sys.executable, "-m", "crnn_jax", "predict", run, picture]
        return seconds(
            process.until(
                command, lambda line: line.startswith(os.fspath(picture)), None, cache_in(cache)
            )
        )

    def other(kind: str, cache: Path | None = None) -> float:
        command = [interpreter(kind), START, kind, "read", file_of(scratch, kind), picture]
        return seconds(process.until(command, is_result, None, cache_in(cache)))

    return {
        **side_by_side(scratch, package, other),
        "onnxruntime": lambda: other("ort"),
    }


def side_by_side(
    scratch: Path, package: Callable[[Path], float], other: Callable[..., float]
) -> dict[str, Callable[[], float]]:
    """Times all contenders: `package` takes a compilation cache, `other` a kind and maybe one."""
    return {
        "crnn-jax, empty cache": emptied(package, scratch / "cache"),
        OURS: lambda: package(scratch / "cache"),
        "plain Flax, empty cache": emptied(lambda c: other("flax_plain", c), scratch / "flax"),
        "plain Flax, warm cache": lambda: other("flax_plain", scratch / "flax"),
        "Keras on TensorFlow": lambda: other("keras_tf"),
        "PyTorch": lambda: other("torch_"),
    }


def train_command(scratch: Path, workdir: Path) -> list[str | Path]:
    return [
        *(sys.executable, "run.py", "--config", "experiments/base.py", "--workdir", workdir),
        *(f"--config.data.dir={scratch / 'pictures'}", "--config.log.every_steps=1"),
    ]


def emptied(call: Callable[[Path], float], cache: Path) -> Callable[[], float]:
    """Runs the call with an empty compilation cache, and leaves a filled one for the next call."""

    def wrapped() -> float:
        shutil.rmtree(cache, ignore_errors=True)
        return call(cache)

    return wrapped


def cache_in(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return dict(os.environ)
    # run.py sets these itself; plain Flax gets them, too.
    smallest = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return {**os.environ, **smallest, "JAX_COMPILATION_CACHE_DIR": os.fspath(folder)}


def interpreter(kind: str) -> str | Path:
    return sys.executable if kind in contest.OF_THE_PACKAGE else environment.python()


def file_of(scratch: Path, kind: str) -> Path:
    names = {"ort": "model-1.onnx", "keras_tf": "model.keras"}
    return scratch / names.get(kind, f"model.{kind}")


def is_result(line: str) -> bool:
    return line.startswith("result ")


def seconds(outcome: process.Outcome) -> float:
    if outcome.line is None:
        raise RuntimeError("a contender exited without a result")
    return float(outcome.seconds)


if __name__ == "__main__":
    main()
