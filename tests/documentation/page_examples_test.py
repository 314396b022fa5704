"""Runs the examples of the README and of docs/: Python, commands, files and outputs, by page."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crnn_jax import config as config_lib
from crnn_jax.cli import main
from crnn_jax.training import train
from tests.helpers.markdown_files import ROOT, Block, blocks, pages

NOT_RUN = "console"  # a block of commands for a cluster, a GPU, a network, ...
# The two commands of the README that install the package, which CI runs.
INSTALL = "python3 -m venv .venv && .venv/bin/pip install "
# Several pages begin with these commands. They run once, and the other pages get their files.
SAMPLE = """\
crnn-jax generate night 40 images
python run.py --config experiments/tiny.py --config.data.dir=images --workdir runs/mine
"""


def run(line: str, capsys: pytest.CaptureFixture[str], long: bool) -> None:
    """Runs a command of a page."""
    words = shlex.split(line, comments=True)
    if not words or line.startswith(INSTALL):
        return
    if words[0] == "crnn-jax":
        assert main.main(words[1:]) == 0, capsys.readouterr().err
        return
    assert words[:3] == ["python", "run.py", "--config"], f"an unknown command: {line}"
    experiment, *flags = words[3:]
    name, _, argument = experiment.partition(":")
    module = importlib.import_module(f"experiments.{Path(name).stem}")
    values = module.get_config(argument) if argument else module.get_config()
    if long or "grid" in values:
        command: list[str | Path] = [sys.executable, ROOT / words[1], words[2], ROOT / experiment]
        subprocess.run([*command, *flags], check=True, capture_output=True)
        return
    # In this process, which takes a fraction of the time.
    *overrides, workdir_flag, workdir = flags
    assert workdir_flag == "--workdir", f"without --workdir: {line}"
    pairs = (flag.removeprefix("--config.").split("=", 1) for flag in overrides)
    defaults = config_lib.flatten(values.to_dict())
    values.update_from_flattened_dict({k: value_of(v, defaults[k]) for k, v in pairs})
    train.train_and_evaluate(config_lib.from_config_dict(values), workdir)


def value_of(text: str, default: object) -> Any:
    """Converts the value of a flag to the type of the key's default, as run.py does."""
    if isinstance(default, bool):
        return text.lower() in ("true", "1")
    return text if isinstance(default, str) else 0 if text == "auto" else ast.literal_eval(text)


def commands(body: str) -> list[str]:
    """Splits a block into commands: lines, joined where one ends in a backslash."""
    return re.sub(r"\\\n\s*", "", body).splitlines()


def cases() -> list[Any]:
    """Returns the pages, and a second time, for the long tests, those with blocks marked `long`."""
    found: list[Any] = []
    for page in pages():
        name = str(page.relative_to(ROOT))
        found.append(pytest.param(page, False, id=name))
        if any(block.note == "long" for block in blocks(page)):
            found.append(pytest.param(page, True, id=f"{name}-long", marks=pytest.mark.long))
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first page with the commands of SAMPLE leaves their files."""
    return tmp_path_factory.mktemp("sample") / "files"


@pytest.mark.parametrize(("page", "long"), cases())
def test_the_examples_of_a_page(
    page: Path,
    long: bool,
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Blocks marked `long` take minutes, and are run by the long tests only."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(page):
        is_sample = block == Block("sh", "", SAMPLE) and not any(tmp_path.iterdir())
        if is_sample and sample.exists():
            shutil.copytree(sample, tmp_path, dirs_exist_ok=True)
            continue
        run_block(block, names, page.name, capsys, long)
        if is_sample:
            shutil.copytree(tmp_path, sample)


def run_block(
    block: Block, names: dict[str, Any], page: str, capsys: pytest.CaptureFixture[str], long: bool
) -> None:
    """Runs a block of a page, whose Python blocks share the variables `names`."""
    kind, note, body = block
    if kind == NOT_RUN or (note == "long" and not long):
        return
    if kind == "text":
        if note:
            Path(note).write_text(body)
    elif kind == "output":
        assert capsys.readouterr().out == body
    elif kind == "python":
        capsys.readouterr()
        exec(compile(body, page, "exec"), names)
    else:
        assert kind == "sh", f"a block of an unknown kind: {kind}"
        capsys.readouterr()
        for line in commands(body):
            run(line, capsys, long)


def test_a_wrong_output_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    run_block(Block("python", "", "x = 2\nprint(x + 1)\n"), names, "page", capsys, False)
    with pytest.raises(AssertionError):
        run_block(Block("output", "", "4\n"), names, "page", capsys, False)


def test_an_unknown_kind_of_block_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError, match="unknown kind: yaml"):
        run_block(Block("yaml", "", "a: 1\n"), {}, "page", capsys, False)


def test_lines_that_end_in_a_backslash_are_joined() -> None:
    assert commands("crnn-jax keys \\\n    train\ncrnn-jax keys\n") == [
        "crnn-jax keys train",
        "crnn-jax keys",
    ]
