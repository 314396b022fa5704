"""What the benchmarks are made of: figures, agreement, the record, turns, whole processes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental import rnn

from benchmarks import cudnn_lstm, figures, process
from benchmarks.contenders import worker
from crnn_jax.models import lstm


def test_cudnn_s_weights_are_ours():
    """What is packed for cuDNN, unpacked by jax and run by its reference, is our layer."""
    rng = np.random.default_rng(0)
    features, units = 3, 4
    shapes = (features, 4 * units), (units, 4 * units), (4 * units,)
    both = [lstm.Weights(*(rng.normal(size=s).astype(np.float32) for s in shapes)) for _ in "fb"]
    x = rng.normal(size=(2, 5, features)).astype(np.float32)
    expected = lstm.bilstm(x, x, *both)
    zeros, lengths = np.zeros((1, 2, units), np.float32), np.full(2, 5, np.int32)
    for i, (inputs, weights) in enumerate(zip((x, x[:, ::-1]), both, strict=True)):
        vector = cudnn_lstm.packed(weights)
        unpacked = rnn.unpack_lstm_weights(vector, features, units, 1, False)
        with jax.numpy_rank_promotion("allow"):
            h = rnn.lstm_ref(
                inputs, zeros, zeros, *unpacked, lengths, features, units, 1, 0.0, False
            )
        h = h[0] if i == 0 else h[0][:, ::-1]
        np.testing.assert_allclose(h, expected[..., i * units : (i + 1) * units], atol=1e-5)


def test_summary_divides_medians():
    series = {"a": [2.0, 9.0, 1.0], "b": [8.0, 4.0], "none": []}
    assert figures.summary(series, "a") == {
        "a": {"median": 2.0, "min": 1.0, "max": 9.0, "ratio": 1.0},
        "b": {"median": 6.0, "min": 4.0, "max": 8.0, "ratio": 2 / 6},
    }


def test_table_has_the_fastest_first():
    rows = figures.summary({"slow": [10.0], "quick": [4.0]}, "slow")
    assert figures.table("ms", rows, "slow").splitlines()[2:] == [
        "| quick | 4 | 4 to 4 | 2.50 |",
        "| slow | 10 | 10 to 10 | 1.00 |",
    ]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"parameters": 8}, "8 parameters, not 7"),
        ({"logits": [1.0, 2.5]}, "logits 5.0e-01 apart"),
        ({"logits": [1.0, float("nan")]}, "logits nan apart"),
        ({"loss": 5.0}, "a loss of 5.000, not 4.000"),
        ({"loss": float("nan")}, "a loss of nan, not 4.000"),
        ({"logits": [1.0, 2.0001], "loss": 4.0001}, ""),
        ({"logits": None, "loss": None}, ""),
    ],
)
def test_who_computes_something_else_is_told(other: dict, words: str):
    reference = {"parameters": 7, "logits": [1.0, 2.0], "loss": 4.0}
    assert figures.disagreement({**reference, **other}, reference) == words


def test_record_is_json_that_any_reader_takes(tmp_path: Path):
    out = tmp_path / "new" / "record.json"
    figures.write(out, {"folder": tmp_path, "rounds": 3}, {16: [1.5, float("inf"), True]})
    record = json.loads(out.read_text())
    assert record["results"] == {"16": [1.5, None, True]}
    assert record["settings"] == {"folder": str(tmp_path), "rounds": 3}
    assert {"commit", "processor", "cores", "packages"} <= set(record["machine"])


def test_a_turn_makes_the_calls_it_is_asked_for():
    calls, waited = [], []

    def call() -> int:
        calls.append(len(calls))
        return calls[-1]

    worker.timed(call, waited.append)(2, 3)
    # Each untimed call is waited for, so that none reaches into the time; then the last alone.
    assert (calls, waited) == ([0, 1, 2, 3, 4], [0, 1, 4])


def test_process_is_ended_at_the_line(tmp_path: Path):
    file = tmp_path / "lines"
    code = "import os, sys, time; f = open(sys.argv[1], 'w'); "
    code += "print('no\\n', os.getpid(), 'yes', file=f, flush=True); time.sleep(600)"
    found = process.until([sys.executable, "-c", code, file], lambda line: "yes" in line, file)
    assert found.line is not None
    pid, word = found.line.split()
    assert word == "yes"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_process_that_ends_without_the_line_is_told_from_one_that_fails():
    silent = process.until([sys.executable, "-c", "print('no')"], lambda line: "yes" in line)
    assert silent.line is None
    with pytest.raises(RuntimeError, match="oh dear"):
        process.until([sys.executable, "-c", "raise SystemExit('oh dear')"], lambda _: False)
