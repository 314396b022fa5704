"""Odd command lines: the help, or an error in one line."""

import contextlib
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crnn_jax.cli import main
from tests.helpers.fuzzing import fuzz

VERBS = {
    "evaluate": ["--data", "--format", "--epoch", "--beam", "--length", "--allowed", "--case",
                 "--merge"],
    "predict": ["--format", "--epoch", "--beam", "--length", "--allowed", "--case", "--merge",
                "--explain", "--min-confidence"],
    "report": ["--reach", "--data"],
    "audit": ["--data", "--top"],
    "generate": ["--seed"],
    "robustness": ["--style", "--count", "--adapt", "--distortion", "--workdir"],
    "train": ["--allow-environment-change"],
    "reproduce": ["--data", "--workdir"],
    "export": ["--format", "--out", "--runtime"],
    "import-keras": ["--alphabet", "--blank", "--width", "--height"],
    "import-safetensors": [],
    "nonsense": [],
}  # fmt: skip
# None of the paths leads to a run, so that nothing takes long.
ODD = st.sampled_from([
    "nowhere", "empty", "text.json", "empty/x", "a" * 300, "-", "", " ", "0", "-1", "1", "3.5",
    "nan", "inf", "1e999", "5-", "-5", "4-6", "6-4", "99999999999999999999", "²", "٣", "1_0",
    "0x10", "json", "csv", "\udcff", "\x1b[2J", "é", "--", "--help", "--format=xml", "@text.json",
])  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an empty folder and a file that is no record."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text('{"base": []}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@fuzz(250)
@given(st.data())
def test_command_lines(folder: Path, data: Any) -> None:
    verb = data.draw(st.sampled_from(sorted(VERBS)))
    arguments = [verb, *data.draw(st.lists(ODD, max_size=3))]
    for flag in data.draw(st.lists(st.sampled_from(VERBS[verb] or ["--x"]), max_size=2)):
        arguments += [flag, data.draw(ODD)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status: Any = main.main(arguments)
        except SystemExit as end:  # raised by argparse
            status = end.code
    if status == 0:
        assert "usage: " in out.getvalue(), arguments  # --help; there is nothing more to check
    else:
        assert status in (1, 2), arguments
        last = err.getvalue().splitlines()[-1]
        assert "error: " in last, (arguments, last)
