import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.cli import train as cli_train
from crnn_jax.errors import RunError
from crnn_jax.runs import provenance, run_dir
from crnn_jax.runs.result import Answer
from crnn_jax.training import train
from tests.helpers.fixtures import MakeConfig


def test_a_directory_is_made_and_opened_again_by_the_same_config(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    config = tiny_config()
    run = run_dir.RunDir(tmp_path / "a" / "b")
    run.open(config)
    run.open(config)
    assert run.config() == config
    assert os.listdir(run.workdir) == ["config.json"]


def test_names_with_line_ends_and_quotes_are_read_again_from_csv(tmp_path: Path) -> None:
    run = run_dir.RunDir(tmp_path)
    names = ["a.png", "a\rb.png", "a\nb.png", "a\r\nb.png", 'a"\r,b.png', "\r"]
    rows = [Answer(name, "ab", "ac\r", 0.5, 1.25) for name in names]
    run.write_csv("readings.csv", Answer._fields, rows)
    assert run.read_csv("readings.csv", Answer) == rows
    # Other rows are written as ever.
    lines = (tmp_path / "readings.csv").read_bytes().split(b"\n")
    assert lines[0] == b"file,truth,reading,confidence,loss"
    run.write_csv("readings.csv", Answer._fields, [("a.png", "ab", "ab", 0.5, 1.25)])
    assert (tmp_path / "readings.csv").read_bytes().endswith(b"\na.png,ab,ab,0.5,1.25\n")


def test_a_workdir_of_another_config_is_refused_and_the_keys_named(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    run = run_dir.RunDir(tmp_path)
    run.open(tiny_config())
    with pytest.raises(RunError) as error:
        run.open(tiny_config(seed=1, model__dropout=0.5))
    assert "seed: was 0, is now 1" in str(error.value)
    assert "model.dropout: was 0.2, is now 0.5" in str(error.value)
    assert run.config() == tiny_config()


def test_how_often_is_logged_may_change(tmp_path: Path, tiny_config: MakeConfig) -> None:
    run = run_dir.RunDir(tmp_path)
    run.open(tiny_config())
    run.open(tiny_config(log__every_steps=3))


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path, tiny_config: MakeConfig) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match=r"not a run directory.*thesis\.tex"):
        run_dir.RunDir(tmp_path).open(tiny_config())
    assert os.listdir(tmp_path) == ["thesis.tex"]


def test_a_workdir_that_cannot_be_written_is_named(tmp_path: Path, tiny_config: MakeConfig) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/run cannot be written.*--workdir"):
        run_dir.RunDir(tmp_path / "file" / "run").open(tiny_config())


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"seed": 0}'])
def test_a_directory_without_a_readable_config_is_no_run(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json"):
        run_dir.RunDir(tmp_path).config()


def test_metrics_are_rewound_to_a_step_and_to_whole_lines(tmp_path: Path) -> None:
    run = run_dir.RunDir(tmp_path)
    run.rewind_metrics(0)
    for step in (10, 20, 20, 21):
        run.append_metrics({"step": step})
    with run.metrics.open("a") as file:
        file.write('{"step": 20, "lo')  # as after a kill
    run.rewind_metrics(20)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 20]


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_dir.RunDir(tmp_path)
    run.write_json("result.json", {"a": 1})

    def fail(_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=r"result\.json cannot be written: disk full"):
        run.write_json("result.json", {"a": 2})
    assert json.loads((tmp_path / "result.json").read_text()) == {"a": 1}
    with pytest.raises(RunError, match="written by a different version"):
        run.result()


def test_the_default_workdir_is_the_config_s_own(tiny_config: MakeConfig) -> None:
    def name(**overrides: Any) -> Any:
        return run_dir.default_workdir("base", tiny_config(**overrides))

    assert name() == name()
    assert name().parent.name == "runs"
    assert name().name.startswith("base-")
    assert name(seed=1) != name()
    assert name(log__every_steps=7) == name()
    assert name(data__workers=3, data__memory_limit=2.0) == name()


def test_checking_a_config_writes_nothing(tmp_path: Path, tiny_config: MakeConfig) -> None:
    """Another process may train there, with other keys that do not change the result."""
    run = run_dir.RunDir(tmp_path)
    run.open(tiny_config())
    before = (tmp_path / "config.json").read_bytes()
    run.check_same(tiny_config(log__every_steps=7))
    assert (tmp_path / "config.json").read_bytes() == before
    with pytest.raises(RunError, match="a different config"):
        run.check_same(tiny_config(seed=1))


@pytest.mark.parametrize(
    ("devices", "batch_size"), [(None, 8), (["cpu cpu"], 1), (["cpu cpu", "cpu cpu"], 8)]
)
def test_a_run_that_was_trained_beside_others_goes_on_with_one_device(
    tmp_path: Path, tiny_config: MakeConfig, monkeypatch: pytest.MonkeyPatch,
    devices: list[str] | None, batch_size: int,
) -> None:  # fmt: skip
    run = run_dir.RunDir(tmp_path)
    run.open(tiny_config(train__batch_size=8))
    if devices:
        run.write_json("environment.json", {"devices": devices})
    configured: list[int] = []
    monkeypatch.setattr(cli_train.runtime, "configure", configured.append)
    monkeypatch.setattr(train, "train_all", lambda *_: [])
    options = argparse.Namespace(
        runs=[str(tmp_path)], follow_input=False, allow_environment_change=False
    )
    cli_train.train(options)
    assert configured == [batch_size]


def test_environment_tells_commit_versions_and_machine() -> None:
    environment = provenance.here(["cpu"])
    assert environment["packages"]["jax"]
    assert environment["devices"] == ["cpu"]
    assert environment["cores"] >= 1
    json.dumps(environment)


def test_config_of_a_run_keeps_every_key(tmp_path: Path, tiny_config: MakeConfig) -> None:
    run = run_dir.RunDir(tmp_path)
    run.open(tiny_config(data__alphabet="zyx"))
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["data"]["alphabet"] == "zyx"
    assert dataclasses.asdict(tiny_config()).keys() == stored.keys()
