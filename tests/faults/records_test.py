"""Untrusted records and configs: every file is read as declared, or refused in one line."""

import dataclasses
import json
import math
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax import config, interop, schema
from crnn_jax.analysis import sweep_report, sweep_runs
from crnn_jax.charset import Charset
from crnn_jax.errors import ConfigError, RunError
from crnn_jax.inference import evaluate, exported, metrics
from crnn_jax.runs import grid as grids
from crnn_jax.runs.result import Answer, Result
from crnn_jax.runs.run_dir import RunDir
from experiments import base
from tests.faults import mutations


def _leave(cell: Any) -> RunDir:
    """Writes a finished run of ten images, two of them misread."""
    cell.mkdir(parents=True)
    run = RunDir(cell)
    run.write_json("config.json", base.get_config().to_dict())
    data = {"plateau_loss": 16.0, "num_examples": 100, "name": "set"}
    run.write_json("environment.json", {"commit": "c" * 40, "data": data})
    lines = [{"epoch": 1, "step": 9, "step_loss": 4.0},
             {"epoch": 1, "step": 9, "loss": 3.0, "val_loss": 2.0, "exact_match": 0.8, "cer": 0.1,
              "seconds": 5.0}]  # fmt: skip
    run.write_text("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    rows = [(f"{i}.png", "ab", "ab" if i > 1 else "ac", 0.5, 0.1) for i in range(10)]
    header = ("file", "truth", "reading", "confidence", "loss")
    run.write_csv("readings.csv", header, rows)
    run.write_csv("errors.csv", header, rows[:2])
    result = Result(
        exact_match=0.8, exact_match_95=[0.5, 0.9], cer=0.1, char_accuracy=0.9, num_exact=8,
        num_examples=10, num_chars=20, val_loss=2.0, best_epoch=1, epochs_run=1, seconds=5.0,
        seed=0, params_sha256="a" * 64, data_name="set", fingerprint="f" * 64, num_train=90,
        num_val=10,
    )  # fmt: skip
    run.write_json("result.json", dataclasses.asdict(result))
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return _leave(tmp_path / "grid" / "base" / "seed0-fold0")


def _edit(run: RunDir, name: str, key: str, value: Any) -> None:
    values = json.loads((run.workdir / name).read_text())
    *path, last = key.split(".")
    inner = values
    for part in path:
        inner = inner[part]
    inner[last] = value
    (run.workdir / name).write_text(json.dumps(values))


def _table(run: RunDir) -> Any:
    runs = sweep_runs.read_grid(run.workdir.parents[1])
    return sweep_report.to_markdown(runs, sweep_report.table(runs))


def test_mutated_records_are_read_or_refused_in_a_line(trained: Path, tmp_path: Path) -> None:
    interop.export(trained, "safetensors", tmp_path / "export")
    runs = mutations.Runs(trained, tmp_path / "runs", tmp_path / "export")
    with mutations.unrestored():
        found = mutations.sweep(runs, random.Random(0), 300, heavy=10)
    assert min(found["answers"], found["refusals"]) > 300


@pytest.mark.parametrize("value", [10**400, 1e-320, 0.0, -1.0, math.nan, math.inf, "1", 11, True])
def test_a_temperature_that_no_fit_yields_is_refused(run: RunDir, value: Any) -> None:
    """The candidates of the fit are 1.02**-100 to 1.02**100: 0.138 to 7.24."""
    _edit(run, "result.json", "temperature", value)
    with pytest.raises(RunError, match=r"result\.json .*temperature: "):
        run.result()
    for edge in (1.02**-100, 1.02**100):
        _edit(run, "result.json", "temperature", edge)
        assert run.result().temperature == edge


def test_confidences_are_probabilities_whatever_the_model_yields() -> None:
    values = np.array([math.nan, -math.inf, math.inf, 1e-7, -1.0], np.float32)
    readings = evaluate.to_readings(Charset("ab"), np.zeros((5, 1), np.int32), values)
    expected = [0, 0, 1, 1, math.exp(-1)]
    assert [r.confidence for r in readings] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("result.json", "num_exact", 11),  # of ten
        ("result.json", "num_examples", 0),
        ("result.json", "num_chars", 10**400),
        ("result.json", "val_loss", math.nan),
        ("result.json", "exact_match_95", [0.5]),
        ("result.json", "data_name", "a" * 10**4),
        ("result.json", "data_name", "\ud800"),
        ("result.json", "fingerprint", "<script>"),
        ("result.json", "fingerprint", "f" * 64 + "\n"),
        ("environment.json", "commit", "[x](http://y)"),
        ("environment.json", "data.plateau_loss", 10**400),
        ("environment.json", "data.num_examples", "1"),
        ("environment.json", "data", []),
        ("config.json", "data.train_size", 10**30),
    ],
)
def test_a_record_s_values_have_the_declared_types(
    run: RunDir, name: str, key: str, value: Any
) -> None:
    _table(run)
    _edit(run, name, key, value)
    with pytest.raises(RunError, match=rf"{name}.*{key.rpartition('.')[2]}"):
        _table(run)


def test_file_names_that_are_not_utf_8_stay_as_they_are(run: RunDir) -> None:
    _edit(run, "result.json", "data_name", "set\udcff")
    result = run.result()
    assert result
    run.write_json("again.json", dataclasses.asdict(result))
    assert b'"set\xff"' in (run.workdir / "again.json").read_bytes()
    assert run.read_json("again.json")["data_name"] == "set\udcff"


@pytest.mark.parametrize(
    "line",
    [
        '{"epoch": 2, "val_loss": 1.0, "exact_match": "%s", "seconds": 1.0}' % ("1" * 20_000),
        '{"epoch": 2, "val_loss": 1.0, "exact_match": "1", "seconds": 1.0}',
        '{"epoch": 2, "val_loss": 1.0, "exact_match": 1.0}',
        '{"epoch": 1%s}' % ("0" * 400),
        '{"step_loss": NaN}',
        "[" * 10_000,
        "[]",
    ],
)  # fmt: skip
def test_a_line_of_metrics_is_named(run: RunDir, line: str) -> None:
    with run.metrics.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match=r"metrics\.jsonl cannot be read: line 3: ") as error:
        _table(run)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("c.png,a,b,nan,1", "row 11: confidence"),
        ("c.png,a,b,1.5,1", "row 11: confidence"),
        ("c.png,a,b,0.5,x", "row 11: loss: expected float, got str, not 'x'"),
        ("c.png,a,b,0.5", "row 11: 4 fields instead of 5"),
        ("c.png," + "a" * 200_000 + ",b,0.5,1", "row 11: field larger"),
        ("c.png,a,b,0.5,1e999", "row 11: loss"),
    ],
)
def test_a_row_of_readings_is_named(run: RunDir, row: str, says: str) -> None:
    with (run.workdir / "readings.csv").open("a") as file:
        file.write(row + "\n")
    with pytest.raises(RunError, match=rf"readings\.csv cannot be read: {says}"):
        run.read_csv("readings.csv", Answer)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *((key, value) for key in ("optimizer.learning_rate", "augment.rotate", "loss.entropy")
          for value in (math.nan, math.inf, 1e308, 10**400)),
        *(("augment.shift", 1e308), ("augment.lines", 100_000), ("train.batch_size", 10**9)),
        *(("train.epochs", 10**9), ("data.count", 10**9), ("data.split_seed", 10**30)),
        *(("optimizer.warmup_steps", 10**30), ("data.num_folds", 10**9), ("data.dir", "a\0b")),
        *(("data.dir", "\ud800"), ("data.alphabet", "a" * 10**6), ("data.generated_share", 0.9999)),
    ],
)  # fmt: skip
def test_a_config_s_value_has_a_finite_range(key: Any, value: Any) -> None:
    values = config.with_changes(base.get_config().to_dict(), {key: value})
    with pytest.raises(ConfigError, match=rf"^{key} must be [^;]+, not ") as error:
        config.from_dict(values)
    assert len(str(error.value)) < 400


def test_every_number_of_a_config_is_bounded_from_both_sides() -> None:
    for key, kind in config.declared_keys():
        if schema.rule(kind).startswith(("of type int", "of type float")):
            for value in (math.inf, -math.inf, math.nan, 10**400, -(10**400)):
                with pytest.raises(ConfigError, match=f"^{key} must be "):
                    config.check_value(kind, value, key)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train.batch_size": 1823}, "batch_size must be at most 1822 for"),
        ({"train.eval_batch_size": 1823}, "batch_size must be at most 1822 for"),
        ({"augment.lines": 100, "train.batch_size": 676}, "batch_size must be at most 675 for"),
        ({"model.lstm_units": (8192,) * 16}, "at most 268435456 parameters, not 24700324128"),
        (
            {"data.width": 2**10, "data.height": 2**10, "train.batch_size": 2**10},
            "batch_size must be at most 20 for",
        ),
    ],
)
def test_a_config_asks_for_bounded_memory(changes: Any, says: str) -> None:
    """A batch may have 2**30 activations, a model 2**28 parameters.

    An image of 200x50 has 589,200 activations: itself, 32 channels of this size and 64 of
    100x25, 64 features in 50 steps, and 10 values in each step for 128 and 64 units. Each line
    takes another 10,000. An image of 1024x1024 has 51,888,128.
    """
    with pytest.raises(ConfigError, match=says):
        config.from_dict(config.with_changes(base.get_config().to_dict(), changes))


def test_the_largest_batch_is_accepted() -> None:
    for changes in (
        {"train.batch_size": 1822}, {"augment.lines": 100, "train.batch_size": 675},
    ):  # fmt: skip
        config.from_dict(config.with_changes(base.get_config().to_dict(), changes))


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"variants": {"../x": {}}, "seeds": [0], "folds": [0]}, "valid directory name"),
        ({"variants": [], "seeds": [0], "folds": [0]}, "variants: expected object"),
        ({"variants": {}, "seeds": [0], "folds": [0]}, "variants: expected object of length >= 1"),
        ({"variants": {"a": {}}, "seeds": [10**30], "folds": [0]}, r"seeds\[0\]"),
        ({"variants": {"a": {}}, "seeds": 3, "folds": [0]}, "seeds: expected array"),
        ({"variants": {"a": {}}, "seeds": [0]}, "missing required field folds"),
        ([], "expected object"),
    ],
)
def test_a_grid_s_section_has_the_declared_type(section: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        grids.from_dict({**base.get_config().to_dict(), "grid": section})


def test_documents_are_bounded() -> None:
    for content, says in [
        (b"[" * 100_000, "nested"),
        (b"[" * 50 + b"]" * 50, "12 levels"),
        (b"1" * 10_000, "digits"),
        (b'{"a": {"b": NaN}}', "a.b: it is not a number"),
        (b'{"a": "\\ud800"}', "a: .*unpaired surrogate"),
        (b" " * (schema.MAX_DOCUMENT + 1), "bytes are too many"),
    ]:
        with pytest.raises(schema.InvalidError, match=says):
            schema.document(content)


def test_a_safetensors_header_is_checked_before_arrays_are_read() -> None:
    def check(values: Any, size: int | None = None) -> None:
        header = json.dumps(values).encode()
        exported._check_header((size or len(header)).to_bytes(8, "little") + header)

    array = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    check({"a": array, "__metadata__": {"x": "y"}})
    for values, size in [
        ({"a": array}, 10**12),
        ({"a": {**array, "shape": [10**400]}}, None),
        ({"a": {**array, "dtype": "BF16"}}, None),
        ({"a": {**array, "dtype": "\x1b" + "a" * 20_000}}, None),
        ({str(i): array for i in range(1001)}, None),
        ({"__metadata__": {"x": 1}}, None),
        ([], None),
    ]:
        with pytest.raises(schema.InvalidError) as error:
            check(values, size)
        assert str(error.value).isprintable()
        assert len(str(error.value)) < 400


def test_mcnemar_of_a_million_pairs_is_the_exact_value() -> None:
    """With equal counts, p is 1; far from that, p is the normal tail for a million tosses."""
    assert metrics.mcnemar(500_000, 500_000) == 1.0
    z = (501_000 - 0.5 - 500_000) / 500
    assert metrics.mcnemar(499_000, 501_000) == pytest.approx(math.erfc(z / 2**0.5), rel=1e-4)


def test_a_count_of_images_costs_no_memory() -> None:
    low, high = metrics.bootstrap_mean([1, -1, 1], 10**9)
    assert -1e-8 < low <= high < 1e-8


def test_plots_of_many_variants_and_odd_names(run: RunDir, tmp_path: Path) -> None:
    plots = pytest.importorskip("crnn_jax.analysis.plots")
    runs = sweep_runs.read_grid(run.workdir.parents[1])
    (row,) = sweep_report.table(runs)
    names = ["\udcff\x1b$x$" + "a" * 300, *map(str, range(2000))]
    png = plots.variants([dataclasses.replace(row, variant=name) for name in names])
    assert png[:4] == b"\x89PNG"
    assert int.from_bytes(png[20:24], "big") < 2**16
    alphabet = "".join(map(chr, range(0x4E00, 0x4E00 + 3000)))
    png = plots.confusion({(alphabet[0], alphabet[2999]): 3}, alphabet)
    assert int.from_bytes(png[16:20], "big") < 2**16
    lines = [{"epoch": 10**9, "val_loss": -0.5, "loss": 0.0, "exact_match": 1.0}]
    assert plots.curves(lines)[:4] == b"\x89PNG"


def test_records_are_read_without_jax(run: RunDir) -> None:
    import subprocess

    code = (
        "import sys; from crnn_jax import schema, config; "
        "from crnn_jax.analysis import sweep_runs; from crnn_jax.runs import run_dir; "
        f"sweep_runs.read_grid({str(run.workdir.parents[1])!r}); assert 'jax' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    shutil.rmtree(run.workdir)
