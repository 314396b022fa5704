"""Text from files is shown literally in reports, model cards and messages, never as markup."""

import dataclasses
from pathlib import Path

import pytest

from crnn_jax import config as config_lib
from crnn_jax import errors
from crnn_jax.cli import main
from crnn_jax.interop import safetensors
from crnn_jax.runs import markup
from crnn_jax.runs.run_dir import RunDir
from tests.faults.records_test import _edit, _leave, _table


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return _leave(tmp_path / "grid" / "base" / "seed0-fold0")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("captcha_images_v2", "captcha_images_v2"),
        ("1040 generated pictures (seed 0)", "1040 generated pictures (seed 0)"),
        ("[x](http://y.z)", r"\[x\](http&#58;//y.z)"),
        ("![x](y)", r"\!\[x\](y)"),
        ("a|`b`", r"a\|\`b\`"),
        ("$x$", r"\$x\$"),
        ("<script>&amp;", "&lt;script&gt;&amp;amp;"),
        ("_a_ *b* ~c~", r"\_a\_ \*b\* \~c\~"),
        ("www.x.y a@b.c", "www&#46;x.y a&#64;b.c"),
        ("# a", r"\# a"),
        ("1. a", r"1\. a"),
        ("- a", r"\- a"),
        ("a\nb\x1b\u202e", r"a\\nb\\x1b\\u202e"),
    ],
)
def test_text_is_text_in_markdown(text: str, shown: str) -> None:
    assert markup.markdown(text) == shown


def test_a_report_and_a_card_escape_names(run: RunDir) -> None:
    _edit(run, "result.json", "data_name", "![x](http://y)<script>\n# a")
    table = _table(run)
    assert table.startswith(r"\!\[x\](http&#58;//y)&lt;script&gt;\\n\# a, fingerprint ffff")
    result = run.result()
    assert result
    values = {
        "alphabet": ["`", "<", "a"], "other_cases": [], "input": {"size": {"height": 1}},
        "width_by_image": False, "version": "0", "params_sha256": "",
        "config": config_lib.to_dict(run.config()), "result": dataclasses.asdict(result),
    }  # fmt: skip
    card = safetensors.card(values)
    assert r"3 symbols \`&lt;a, in 50 time steps" in card
    assert "<" not in card
    assert "](http" not in card.replace("\\]", "")


def test_messages_are_bounded_and_printable() -> None:
    text = errors.for_terminal("\n".join(["a" * 10_000 + "\x1b[31m"] * 1000))
    lines = text.split("\n")
    assert len(lines) == 101
    assert lines[-1] == "... (900 more lines)"
    assert {len(line) for line in lines[:-1]} == {
        1000 + len("... (9005 characters left out) ...") + len(r"\x1b") - 1
    }
    assert errors.for_terminal("a\x1b[31m\rb\u202ec\nd") == "a\\x1b[31m\\rb\\u202ec\nd"
    assert errors.quote("a\n\x1b") == r"'a\n\x1b'"
    for value in ("a" * 10**6, [10**5000], {"a" * 10**5: [[[["x" * 10**5]]]]}, 10**5000):
        assert len(errors.quote(value)) <= 300


def test_the_command_prints_a_stranger_s_value_in_one_escaped_line(
    run: RunDir, capsys: pytest.CaptureFixture[str]
) -> None:
    _edit(run, "config.json", "data.train_size", "\x1b[31m\n" + "x" * 100_000)
    assert main.main(["report", str(run.workdir.parents[1])]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert len(said) < 1000
