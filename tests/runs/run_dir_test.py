import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.errors import RunError
from crnn_jax.runs import provenance, run_dir
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
    with pytest.raises(RunError, match="another version"):
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
