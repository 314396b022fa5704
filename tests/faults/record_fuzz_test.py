"""Mutated records of runs are read, or refused with a CrnnError."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_jax.analysis import label_audit, sweep_report, sweep_runs
from crnn_jax.errors import CrnnError
from crnn_jax.runs import run_dir
from crnn_jax.runs.result import Answer
from experiments import tiny
from tests.helpers.fuzzing import check_message, edited, fuzz, mutated

RESULT = {
    "num_examples": 4, "num_exact": 3, "exact_match": 0.75, "exact_match_95": [0.3, 0.95],
    "cer": 0.1, "char_accuracy": 0.9, "num_chars": 13, "val_loss": 1.5, "best_epoch": 2,
    "epochs_run": 3, "seconds": 1.5, "seed": 0,
    "params_sha256": "0" * 64, "data_name": "set", "fingerprint": "1" * 64, "num_train": 36,
    "num_val": 4, "temperature": 1.2,
}  # fmt: skip
METRICS = [
    {"epoch": epoch, "step": 5 * epoch, "loss": 3.0, "val_loss": 2.0, "exact_match": 0.5,
     "cer": 0.2, "seconds": 0.5}
    for epoch in (1, 2, 3)
]  # fmt: skip
PLACE = {
    "commit": "2" * 40, "uncommitted_changes": False, "command": ["run.py"], "version": "1",
    "python": "3.11", "packages": {"jax": "0.7.2"}, "platform": "Linux", "processor": "x",
    "cores": 2, "devices": ["cpu cpu"], "xla_flags": "",
    "data": {"name": "set", "num_examples": 40, "num_train": 36, "num_val": 4,
             "plateau_loss": 5.9, "alphabet": "7abc", "mean": [0.5], "deviation": [0.2],
             "each_picture": False, "fingerprint": "1" * 64},
}  # fmt: skip
READINGS = ",".join(Answer._fields) + '\na.png,ab,ab,0.9,0.1\n"b,.png",ab,a,0.4,2.5\n'


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a finished run, as in a cell of a grid."""
    folder = tmp_path_factory.mktemp("grid") / "base" / "seed0-fold0"
    folder.mkdir(parents=True)
    files = {"config.json": tiny.get_config().to_dict(), "result.json": RESULT,
             "environment.json": PLACE}  # fmt: skip
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    header, *answers = READINGS.splitlines(keepends=True)
    (folder / "readings.csv").write_text(READINGS)
    (folder / "errors.csv").write_text(header + answers[1])
    return folder


def read_record(folder: Path) -> Any:
    """Calls everything that reads a record without its checkpoints."""
    run = run_dir.RunDir(folder)
    runs = folder.parents[1]

    def table() -> None:
        found = sweep_runs.read_grid(runs)
        sweep_report.to_markdown(found, sweep_report.table(found))

    return [
        run.config, run.result, run.environment, run.metrics_lines, table,
        lambda: run.config_value("data.dir"),
        lambda: run.read_csv("readings.csv", Answer),
        lambda: run.rewind_metrics(10),
        lambda: label_audit.rank(runs),
    ]  # fmt: skip


def test_the_record_that_is_fuzzed_is_read(cell: Path) -> None:
    for call in read_record(cell):
        call()


FILES = {
    "config.json": mutated(tiny.get_config().to_dict()).map(json.dumps),
    "result.json": mutated(RESULT).map(json.dumps),
    "environment.json": mutated(PLACE).map(json.dumps),
    "metrics.jsonl": st.lists(mutated(METRICS[0]), min_size=1, max_size=3).map(
        lambda lines: "".join(json.dumps(line) + "\n" for line in lines)
    ),
    "readings.csv": edited([READINGS.encode()]),
}
RAW = edited([json.dumps(RESULT).encode(), READINGS.encode(), b"[" * 100_000, b'{"a": 1}\n'])


@fuzz(200)
@given(st.sampled_from(sorted(FILES)).flatmap(lambda n: st.tuples(st.just(n), FILES[n] | RAW)))
def test_records(cell: Path, changed: Any) -> None:
    name, content = changed
    kept = {path: path.read_bytes() for path in cell.iterdir()}
    try:
        # A surrogate represents a byte of a file name that is not UTF-8.
        content = content if isinstance(content, bytes) else content.encode()
        (cell / name).write_bytes(content)
        for call in read_record(cell):
            try:
                call()
            except CrnnError as error:
                check_message(error)
    finally:
        for path, before in kept.items():
            path.write_bytes(before)
