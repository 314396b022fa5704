"""Parts of the benchmarks: figures, agreement, the record, turns, whole processes."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn

from benchmarks import cudnn_lstm, figures, material, process
from benchmarks.contenders import worker
from crnn_jax.models import lstm


def test_cudnn_s_weights_are_ours() -> None:
    """Weights packed for cuDNN, unpacked by jax and run by its reference, give our layer."""
    rng = np.random.default_rng(0)
    features, units = 3, 4
    shapes = (features, 4 * units), (units, 4 * units), (4 * units,)
    both = [
        lstm.Weights(*(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)) for _ in "fb"
    ]
    x = jnp.asarray(rng.normal(size=(2, 5, features)), jnp.float32)
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


def test_variants_of_this_package_take_part(tmp_path: Path) -> None:
    """Each is a process that reports logits like those of plain Flax, and makes a turn."""
    material.draw(tmp_path / "images", worker.CHECKED)
    job = material.job("read", tmp_path / "images", tmp_path, worker.CHECKED, scale=1 / 16)

    def start(name: str, variant: str = "") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                sys.executable,
                process.ROOT / "benchmarks" / "contenders" / f"{name}.py",
                json.dumps({**job, "threads": 1, "variant": variant}),
            ],
            env={**os.environ, "PYTHONPATH": os.fspath(process.ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    started = [start("flax_plain"), *(start("ours", v) for v in ("", "texts", "predict"))]
    answers = [contender.communicate('{"untimed": 0, "count": 1}\n')[0] for contender in started]
    (plain, _), *ours = ([json.loads(line) for line in a.splitlines()] for a in answers)
    for ready, turn in ours:
        assert not figures.disagreement(ready, plain)
        assert turn["seconds"] > 0


def test_summary_divides_medians() -> None:
    series = {"a": [2.0, 9.0, 1.0], "b": [8.0, 4.0], "none": []}
    assert figures.summary(series, "a") == {
        "a": {"median": 2.0, "min": 1.0, "max": 9.0, "ratio": 1.0},
        "b": {"median": 6.0, "min": 4.0, "max": 8.0, "ratio": 2 / 6},
    }


def test_table_has_the_fastest_first() -> None:
    rows = figures.summary({"slow": [10.0], "quick": [4.0]}, "slow")
    assert figures.table("ms", rows, "slow").splitlines()[2:] == [
        "| quick | 4 | 4 to 4 | 2.50 |",
        "| slow | 10 | 10 to 10 | 1.00 |",
    ]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"parameters": 8}, "8 parameters, not 7"),
        ({"logits": [1.0, 2.5]}, "logits differ by 5.0e-01"),
        ({"logits": [1.0, float("nan")]}, "logits differ by nan"),
        ({"loss": 5.0}, "a loss of 5.000, not 4.000"),
        ({"loss": float("nan")}, "a loss of nan, not 4.000"),
        ({"logits": [1.0, 2.0001], "loss": 4.0001}, ""),
        ({"logits": None, "loss": None}, ""),
    ],
)
def test_who_computes_something_else_is_told(other: dict[str, Any], words: str) -> None:
    reference = {"parameters": 7, "logits": [1.0, 2.0], "loss": 4.0}
    assert figures.disagreement({**reference, **other}, reference) == words


def test_record_is_json_that_any_reader_takes(tmp_path: Path) -> None:
    out = tmp_path / "new" / "record.json"
    figures.write(out, {"folder": tmp_path, "rounds": 3}, {16: [1.5, float("inf"), True]})
    record = json.loads(out.read_text())
    assert record["results"] == {"16": [1.5, None, True]}
    assert record["settings"] == {"folder": str(tmp_path), "rounds": 3}
    assert {"commit", "processor", "cores", "packages"} <= set(record["machine"])


def test_a_turn_makes_the_calls_it_is_asked_for() -> None:
    calls: list[Any] = []
    waited: list[Any] = []

    def call() -> int:
        calls.append(len(calls))
        return calls[-1]

    worker.timed(call, waited.append)(2, 3)
    # Each untimed call is awaited, so that none overlaps with timed calls; then only the last.
    assert (calls, waited) == ([0, 1, 2, 3, 4], [0, 1, 4])


GPU = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], ModuleType]]:
    """Returns a function that imports a module of benchmarks/gpu, as gpu.sh does."""
    for folder in (GPU.parent, GPU):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("OUT", str(tmp_path))
    monkeypatch.setenv("TINY", "1")
    yield importlib.import_module
    for module in [*GPU.parent.glob("*.py"), *GPU.glob("*.py")]:
        sys.modules.pop(module.stem, None)


def rehearse(**variables: str) -> str:
    """Returns a function that runs gpu.sh and returns its output."""
    everything = {**os.environ, "TINY": "1", "LONGER": "6", "JAX_PLATFORMS": "cpu", **variables}
    done = subprocess.run(
        ["bash", GPU.with_suffix(".sh")], env=everything, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_gpu_script_runs_each_program_that_is_there() -> None:
    script = GPU.with_suffix(".sh").read_text()
    started = re.findall(r"^(\w+) (\w+) (\d+) (\d+) \$PYTHON", script, re.MULTILINE)
    programs = {f.stem for f in GPU.glob("*.py") if '__name__ == "__main__"' in f.read_text()}
    assert {name for _, name, _, _ in started} == programs - {"summary"}
    listed = re.search(r'^ALL="(.*)"$', script, re.MULTILINE)
    assert listed is not None
    assert listed[1].split() == re.findall(r"^#   (\w+) +\w", script, re.MULTILINE)
    assert listed[1].split() == list(dict.fromkeys(part for part, *_ in started))
    # The reserved seconds fit into the total.
    assert sum(int(least) for _, _, least, _ in started) <= 300


def test_gpu_script_writes_the_record_of_a_part(tmp_path: Path) -> None:
    said = rehearse(PYTHON=sys.executable, PARTS="environment", OUT=str(tmp_path), COMMIT="abc")
    record = json.loads((tmp_path / "environment.json").read_text())
    assert record["results"]["jax"]["platform"] == "cpu"
    assert record["machine"]["packages"]["jax"] == jax.__version__
    assert record["programs"]["machine"]["status"] == 0
    assert "| environment | jax: platform | cpu |" in said


def test_gpu_script_goes_on_after_a_part_that_fails(tmp_path: Path) -> None:
    """A fake Python fails in one part, prints nothing in the next, and is missing in the third."""
    stub = tmp_path / "python"
    stub.write_text(
        "#!/bin/sh\ncase $1 in\n"
        "*machine.py) echo oh dear >&2; exit 3;;\n"
        "*generator.py) exit 0;;\n"
        f'*) exec {sys.executable} "$@";;\nesac\n'
    )
    stub.chmod(0o755)
    out = tmp_path / "out"
    said = rehearse(PYTHON=str(stub), PARTS="environment generator", OUT=str(out))
    failed = json.loads((out / "environment.json").read_text())["programs"]["machine"]
    assert (failed["status"], failed["ended"], failed["said"]) == (3, "failed", ["oh dear"])
    ended = json.loads((out / "generator.json").read_text())["programs"]["generator"]
    assert ended["ended"] == "ended"
    assert "| environment | machine | failed," in said
    said = rehearse(PYTHON=str(stub), PARTS="environment", OUT=str(out), TOTAL="0")
    assert "no time was left" in said


def test_gpu_record_keeps_each_figure_and_those_of_the_program_before(
    gpu: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    record = gpu("record")
    record.Record("part", ["a device"]).add("one", "first", 1.5)
    record.Record("part", ["another"]).add("two", "second", {"ms": 2.0})
    kept = json.loads((tmp_path / "part.json").read_text())
    assert kept["results"] == {"one": {"first": 1.5}, "two": {"second": {"ms": 2.0}}}
    assert kept["machine"]["devices"] == ["a device"]
    # Ten images in 4 ms are 2,500 a second.
    assert record.times([3.0, 9.0, 4.0], 10)["images_per_s"] == 2500


def test_gpu_variants_are_other_programs(gpu: Callable[[str], ModuleType]) -> None:
    """The lowered programs differ in barriers, loop iterations and the precision of products."""
    accelerator, variants = gpu("accelerator"), gpu("variants")

    def text() -> str:
        return accelerator.lstm_layers(lstm.bilstm, 2).lowered.as_text()

    plain = text()
    assert plain.count("stablehlo.while") == 4  # forward and backward pass of two layers
    assert "optimization_barrier" in plain
    with variants.recurrence(2, False):
        unrolled = text()
    assert "optimization_barrier" not in unrolled
    # Fifty steps, two per iteration.
    loops = ["dense<50> : tensor<i32>" in plain, "dense<25> : tensor<i32>" in plain]
    assert loops == [True, False]
    assert "dense<25> : tensor<i32>" in unrolled
    with variants.precision("highest"):
        assert "HIGHEST" in text()
    assert "HIGHEST" not in plain
    assert text() == plain


def test_gpu_steps_can_be_lowered(gpu: Callable[[str], ModuleType], tmp_path: Path) -> None:
    """One program of each group; `alike` is the same with and without augmentation."""
    steps = gpu("steps")
    planned = steps.plan(steps.jobs_of(tmp_path / "pictures"), False)
    one_of_each = {item.group: item for item in reversed(planned)}
    lowered = {name: item.make().lowered.as_text() for name, item in one_of_each.items()}
    assert set(lowered) == {"one run", "alike", "runs"}
    assert "stablehlo.case" in lowered["one run"]
    assert "stablehlo.case" not in lowered["alike"]


def test_gpu_clock_tells_steps_from_evaluation_and_checkpoints(
    gpu: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each function advances a fake clock; the second of two runs ends earlier."""
    many_runs = gpu("many_runs")
    train, now = many_runs.train, [0.0]
    monkeypatch.setattr(many_runs.time, "perf_counter", lambda: now[0])

    def taking(seconds: float, then: str = "") -> Any:
        def function() -> None:
            now[0] += seconds
            if then:
                getattr(train, then)()

        return function

    takes = {"prepare": 1, "run_epoch": 10, "end_epoch": 3, "save": 2, "score": 5}
    for name, seconds in takes.items():
        monkeypatch.setattr(train, name, taking(seconds, "save" if name == "end_epoch" else ""))
    clock = many_runs.Clock(many_runs.record.Record("together", ["a device"]))
    with clock.watching():
        for name in ("prepare", "prepare", *2 * ["run_epoch", "end_epoch", "end_epoch"]):
            getattr(train, name)()
        for name in ("run_epoch", "end_epoch", "score", "score"):
            getattr(train, name)()
    figures = json.loads((tmp_path / "together.json").read_text())["results"]["together"]
    assert figures["before_the_first_epoch"] == {"all_s": 2, "data_s": 2}
    of_both = {"all_s": 20, "steps_s": 10, "evaluation_s": 6, "checkpoints_s": 4}
    of_one = {"all_s": 15, "steps_s": 10, "evaluation_s": 3, "checkpoints_s": 2}
    assert figures["first_epoch"] == of_both
    median = {name: (of_both[name] + of_one[name]) / 2 for name in of_both}
    assert (figures["later_epochs"], figures["epochs"]) == (median, 3)


def test_process_is_ended_at_the_line(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    code = "import os, sys, time; f = open(sys.argv[1], 'w'); "
    code += "print('no\\n', os.getpid(), 'yes', file=f, flush=True); time.sleep(600)"
    found = process.until([sys.executable, "-c", code, file], lambda line: "yes" in line, file)
    assert found.line is not None
    pid, word = found.line.split()
    assert word == "yes"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_process_that_ends_without_the_line_is_told_from_one_that_fails() -> None:
    silent = process.until([sys.executable, "-c", "print('no')"], lambda line: "yes" in line)
    assert silent.line is None
    with pytest.raises(RuntimeError, match="oh dear"):
        process.until([sys.executable, "-c", "raise SystemExit('oh dear')"], lambda _: False)
