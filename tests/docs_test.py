"""Runs the examples of docs/: Python, commands, files and their outputs, page by page."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from crnn_jax import config as config_lib
from crnn_jax.cli import main
from crnn_jax.training import train

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))
_FENCE = re.compile(r"^```(\w+) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    kind: str
    note: str  # the rest of the first line
    body: str


def blocks(page: Path) -> Iterator[Block]:
    yield from (Block(*found) for found in _FENCE.findall(page.read_text()))


def run(line: str, capsys: pytest.CaptureFixture[str], long: bool) -> None:
    words = shlex.split(line)
    if words[0] == "crnn-jax":
        assert main.main(words[1:]) == 0, capsys.readouterr().err
        return
    python, script, _, config, *flags, workdir = words
    assert (python, script) == ("python", "run.py"), f"an unknown command: {line}"
    if long:
        command: list[str | Path] = [
            sys.executable,
            ROOT / script,
            "--config",
            ROOT / config,
            *flags,
            workdir,
        ]
        subprocess.run(command, check=True, capture_output=True)
        return
    # In this process, which takes a fraction of the time.
    assert flags.pop() == "--workdir"
    values = importlib.import_module(f"experiments.{Path(config).stem}").get_config()
    pairs = (flag.removeprefix("--config.").split("=") for flag in flags)
    values.update_from_flattened_dict(dict(pairs))
    train.train_and_evaluate(config_lib.from_config_dict(values), workdir)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.parametrize("long", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_examples_of_a_page(
    page: Path,
    long: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Blocks marked `long` take minutes, and are run by the long tests only."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for kind, note, body in blocks(page):
        if kind == "text":
            Path(note).write_text(body)
        elif kind == "output":
            assert capsys.readouterr().out == body
        elif note == "long" and not long:
            continue
        else:
            capsys.readouterr()
            if kind == "python":
                exec(compile(body, page.name, "exec"), names)
            else:
                assert kind == "sh", f"a block of an unknown kind: {kind}"
                for line in body.splitlines():
                    run(line, capsys, long)
