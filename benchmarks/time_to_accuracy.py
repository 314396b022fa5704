"""Seconds from the command to a validation exact match of 97 %, with imports and compilation.

    python benchmarks/time_to_accuracy.py FOLDER --cores 0,1 --config experiments/base.py

Compares with the captcha_ocr example of Keras as published (contenders/keras_example.py) and with
the recipe of experiments/fast.py in PyTorch (contenders/torch_recipe.py), on the same split: fold 0
of ten. In each round the package runs twice: with an empty compilation cache, and with the cache
that the first run filled. Its evaluations and those of PyTorch count as time. Evaluations of the
Keras example do not, because the example does not make them. Round i has seed i.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import contest
import environment
import figures
import process

PYTORCH = "PyTorch, the recipe of fast.py"
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # by default only on CPUs with AVX512-VNNI


def main() -> None:
    parser = contest.parser(__doc__, "time_to_accuracy.json")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", action="append", help="an experiment file; can be repeated")
    parser.add_argument("--reach", type=float, default=0.97)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=100, help="maximum epochs of the example")
    parser.add_argument("--onednn", action="store_true", help="also run the example with oneDNN")
    parser.add_argument("--without-keras", action="store_true")
    parser.add_argument("--without-pytorch", action="store_true")
    options = parser.parse_args()
    options.load = os.getloadavg()
    options.folder = options.folder.resolve()
    options.config = options.config or ["experiments/base.py"]
    contest.pin(options.cores)
    keras: dict[str, dict[str, str]] = {} if options.without_keras else {"Keras example": {}}
    keras |= {"Keras example, oneDNN": ONEDNN} if options.onednn else {}

    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        split = Path(scratch) / "split.json"
        fingerprint = write_split(options.folder, split)
        for number in range(options.rounds):
            for config in options.config:
                cache = Path(scratch) / f"cache-{number}-{Path(config).stem}"
                for state in ("empty cache", "warm cache"):
                    report(runs, package(config, state, cache, number, options))
            if not options.without_pytorch:
                report(runs, other(PYTORCH, "torch_recipe.py", {}, split, number, options.reach))
            for name, variables in keras.items():
                limits = options.reach, options.epochs
                report(runs, other(name, "keras_example.py", variables, split, number, *limits))
    names = list(dict.fromkeys(run["name"] for run in runs))
    # A run that never reached it took longer than any other.
    series: dict[str, list[float]] = {name: [] for name in names}
    for run in runs:
        series[run["name"]].append(run["seconds"] if run["reached"] else float("inf"))
    rows = figures.summary(series, names[0])
    title = f"s to {options.reach:.0%}"
    print("\n" + figures.table(title, rows, names[0]))
    figures.write(
        options.out, vars(options), {"fingerprint": fingerprint, "runs": runs, "summary": rows}
    )


def write_split(folder: Path, out: Path) -> str:
    """Writes files and texts of fold 0 of ten as JSON. Returns the fingerprint of the data set."""
    import material

    from crnn_jax import config as config_lib
    from crnn_jax.data import folder as dataset
    from crnn_jax.data import splits

    config = material.config(folder, data__alphabet="", data__num_folds=10)
    data = dataset.load(config.data, None, config_lib.num_steps(config))
    parts = {
        name: [[os.fspath(folder / data.files[i]), data.texts[i]] for i in indices]
        for name, indices in splits.split(data.texts, config.data, data.parts)._asdict().items()
    }
    out.write_text(json.dumps(parts))
    return data.fingerprint


def package(config: str, state: str, cache: Path, seed: int, options: Any) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "run" / "metrics.jsonl"
        outcome = process.until(
            [
                *(sys.executable, "run.py", "--config", config),
                *(f"--config.data.dir={options.folder}", "--config.data.num_folds=10"),
                *(f"--config.seed={seed}", "--workdir", metrics.parent),
            ],
            lambda line: (process.value(line, "exact_match") or 0) >= options.reach,
            metrics,
            {"JAX_COMPILATION_CACHE_DIR": os.fspath(cache)},
        )
    return {"name": f"{config}, {state}", "seed": seed, **facts(outcome, 0.0)}


def other(
    name: str,
    program: str,
    variables: dict[str, str],
    split: Path,
    seed: int,
    reach: float,
    *more: int,
) -> dict[str, Any]:
    script = contest.CONTENDERS / program
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "report.jsonl"
        outcome = process.until(
            [environment.python(), script, split, lines, *map(str, (seed, reach, *more))],
            lambda line: (process.value(line, "exact_match") or 0) >= reach,
            lines,
            variables,
        )
    not_counted = process.value(outcome.line or "", "not_counted") or 0.0
    return {"name": name, "seed": seed, **facts(outcome, not_counted)}


def facts(outcome: process.Outcome, not_counted: float) -> dict[str, Any]:
    return {
        "seconds": outcome.seconds - not_counted,
        "reached": outcome.line is not None,
        "epoch": process.value(outcome.line or "", "epoch"),
        "exact_match": process.value(outcome.line or "", "exact_match"),
        "not_counted": not_counted,
        "peak_mib": round(outcome.peak_mib),
    }


def report(runs: list[dict[str, Any]], run: dict[str, Any]) -> None:
    runs.append(run)
    end = f"epoch {run['epoch']}" if run["reached"] else "never"
    contest.note(f"{run['name']}, seed {run['seed']}: {run['seconds']:.1f} s, {end}")


if __name__ == "__main__":
    main()
