import json
import shutil

import pytest

from crnn_jax import __main__, reproduce
from crnn_jax.errors import RunError
from crnn_jax.record import Record


@pytest.fixture
def copies(tmp_path, trained):
    """Two copies of a finished run's record, without its checkpoints."""
    for name in ("old", "new"):
        shutil.copytree(trained, tmp_path / name, ignore=shutil.ignore_patterns("checkpoints"))
    return Record(tmp_path / "old"), Record(tmp_path / "new")


def _change(record, name, change):
    values = json.loads((record.workdir / name).read_text())
    change(values)
    record.write_json(name, values)


def test_a_run_trained_again_is_bit_identical(tmp_path, trained, capsys):
    shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    assert __main__.main(["reproduce", f"{tmp_path}/run/"]) == 0
    out = capsys.readouterr().out
    assert "the parameters are bit-identical" in out
    assert "the environment is the same" in out
    first, second = (Record(tmp_path / name).result() for name in ("run", "run.again"))
    assert first.params_sha256 == second.params_sha256


def test_copies_are_the_same_whatever_time_they_took(copies):
    _change(copies[1], "result.json", lambda values: values.update(seconds=1e9))
    lines = copies[1].metrics.read_text().replace('"seconds": ', '"seconds": 1')
    copies[1].write_text("metrics.jsonl", lines)
    assert reproduce.compare(*copies) == (True, None, [])


def test_the_first_step_and_metric_that_differ_are_named(copies):
    _change(copies[1], "result.json", lambda values: values.update(params_sha256="0"))
    lines = [json.loads(line) for line in copies[1].metrics.read_text().splitlines()]
    # Step 20 is logged as a step and, with five steps an epoch, as epoch 4.
    at = [i for i, line in enumerate(lines) if line["step"] == 20]
    assert [set(lines[i]) & {"step_loss", "val_loss"} for i in at] == [{"step_loss"}, {"val_loss"}]
    lines[at[1]]["cer"] += 1e-16 + lines[at[1]]["cer"]
    lines[-1]["loss"] = 7.0
    copies[1].write_text("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    comparison = reproduce.compare(*copies)
    assert not comparison.identical
    assert "at step 20 (epoch 4), in cer" in str(comparison)
    lines[at[0]]["step_loss"] = 7.0
    copies[1].write_text("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert "at step 20 (epoch 4), in step_loss" in str(reproduce.compare(*copies))


def test_what_differs_in_the_environment_is_named(copies):
    def change(values):
        values["packages"]["jax"] = "0.1"
        values["cores"] = 96
        values["command"] = ["other"]

    _change(copies[1], "environment.json", change)
    environment = reproduce.compare(*copies).environment
    assert [line.partition(":")[0] for line in environment] == ["cores", "packages.jax"]
    assert environment[1].endswith("'0.1' now")


def test_other_data_are_named_before_any_metric(copies):
    _change(
        copies[1],
        "result.json",
        lambda v: v.update(params_sha256="0", fingerprint="abc" + "0" * 60),
    )
    assert "the data differ" in reproduce.compare(*copies).parted
    assert "abc000000000 now" in reproduce.compare(*copies).parted


def test_an_unfinished_run_cannot_be_reproduced(copies, tmp_path):
    (copies[0].workdir / "result.json").unlink()
    with pytest.raises(RunError, match="not finished"):
        reproduce.again(copies[0].workdir, tmp_path / "again", None)
    assert not (tmp_path / "again").exists()
