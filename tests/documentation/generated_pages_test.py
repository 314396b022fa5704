"""The generated parts of the reference, and the page of the run directory."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import typing
from pathlib import Path
from typing import Annotated, Any

import pytest

from crnn_jax import config as config_lib
from crnn_jax.analysis import label_audit, robustness, scheme_report, sweep_report
from crnn_jax.inference import held_out
from crnn_jax.labeling import journal
from crnn_jax.runs import record_types
from crnn_jax.runs.result import Answer, Result
from crnn_jax.training.self_training import PseudoLabel
from docs._ext import field_comments, generated_pages, repository_links
from tests.helpers.markdown_files import ROOT

PAGE = (ROOT / "docs" / "reference" / "run_directory.md").read_text()


def test_every_key_is_described_once_with_its_default_and_meaning() -> None:
    text = generated_pages.config_keys()
    for name, default, _, meaning in config_lib.reference():
        (part,) = text.split(f"```{{confval}} {name}\n")[1:]
        part = part.split("\n```")[0]
        assert generated_pages._as_text(meaning) in part
        assert f'\n:default: "`{default}`"\n' in part
    assert (
        "```{confval} data.height\n"
        ':type: "int, from 1 to 1048576, and width times height at most 1048576"\n'
        ':default: "`50`"\n\nImages are resized to this height, in pixels.\n```\n'
    ) in text


@pytest.mark.parametrize(
    ("name", "is_said"), [("log.every_steps", True), ("data.workers", True), ("data.width", False)]
)
def test_keys_without_effect_on_results_say_so(name: str, is_said: bool) -> None:
    part = generated_pages.config_keys().split(f"{{confval}} {name}\n")[1].split("```")[0]
    assert ("does not change the results" in part) == is_said


def test_keys_that_the_data_decides_say_so() -> None:
    part = generated_pages.config_keys().split("{confval} data.width\n")[1].split("```")[0]
    assert "The value `0` is replaced when the data is known" in part


def test_a_command_has_its_usage_arguments_options_and_examples() -> None:
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--top", metavar="N", type=int, default=40, help="images; default 40")
    parser.add_argument("--secret", help=argparse.SUPPRESS)
    text = generated_pages.command("audit", "find wrong labels", parser)
    assert text.startswith("## audit\n\nFind wrong labels.\n")
    assert "crnn-jax audit [-h] [--format {text,json}] [--top N] RUN" in text
    assert "```{option} RUN\nA run directory.\n```" in text
    assert "```{option} --format {text,json}\nDefault `text`.\n```" in text
    assert "```{option} --top N\nImages; default 40.\n```" in text
    assert "```console\ncrnn-jax audit runs/cross_validation\n```" in text
    assert "secret" not in text


def test_all_commands_and_no_old_names_are_listed() -> None:
    text = generated_pages.commands()
    assert "## robustness\n" in text
    assert "## strength\n" not in text
    assert "python -m crnn_jax" not in text


def test_the_flags_of_run_py_are_those_that_it_defines() -> None:
    text = generated_pages.run_flags()
    assert "```{option} --jobs N\n" in text
    assert "```{option} --launcher {local,slurm,ray}\n" in text
    assert "```{option} --allow-environment-change\n" in text
    assert "elsewhere" not in text


def test_a_page_names_the_parts_that_replace_its_lines() -> None:
    assert "data.normalize" in generated_pages.replace("a\n<!-- generated: renamed_keys -->\nb")
    with pytest.raises(KeyError):
        generated_pages.replace("<!-- generated: nothing -->")


@pytest.mark.parametrize(
    ("text", "marked"),
    [
        ("see data.val_dir.", "see `data.val_dir`."),
        ("for --format web", "for `--format` web"),
        ("a file data/crop.py of train.", "a file data/crop.py of train."),
        ("1 * 2 < 3", "1 \\* 2 \\< 3"),
    ],
)
def test_keys_and_options_in_a_text_become_code(text: str, marked: str) -> None:
    assert generated_pages._as_text(text) == marked


# ------------------------------------------------------------------------------ docstrings


@dataclasses.dataclass
class Sample:
    plain: int
    # A group.
    beside: str = "#"  # a comment
    # Above it,
    # in two lines.
    above: Annotated[tuple[int, ...], "bound"] = ()
    _hidden: int = 0  # not public


def test_fields_have_the_comments_beside_and_above_them() -> None:
    assert list(field_comments.fields(inspect.getsource(Sample))) == [
        ("plain", "int", ""),
        ("beside", "str", "a comment"),
        ("above", "tuple[int, ...]", "Above it, in two lines."),
    ]


def test_types_are_short() -> None:
    given = "(x: Iterable[TypeAliasForwardRef('Some')], y: Float[jaxlib._jax.Array, 'B T'])"
    assert field_comments.short(given) == "(x: Iterable[Some], y: Float[Array, 'B T'])"


# ------------------------------------------------------------------------------ links


def test_files_outside_of_the_pages_are_copied_with_a_name_that_browsers_show(
    tmp_path: Path,
) -> None:
    root, out = tmp_path / "root", tmp_path / "out"
    (root / "results" / "a").mkdir(parents=True)
    (root / "results" / "a" / "README.md").write_text("# A")
    (root / "experiments").mkdir()
    (root / "experiments" / "base.py").write_text("pass")
    name = repository_links.copy(root / "results" / "a", root, out)
    assert name == "repository/results/a/README.md.txt"
    assert (out / name).read_text() == "# A"
    name = repository_links.copy(root / "experiments", root, out)
    assert (out / name).read_text() == "base.py\n"


# ------------------------------------------------------------------------------ run directory


def names(*kinds: object) -> list[str]:
    """Returns the names of the fields of named tuples, dataclasses and typed dicts."""
    found: list[str] = []
    for kind in kinds:
        if dataclasses.is_dataclass(kind):
            found += [field.name for field in dataclasses.fields(kind)]
        else:
            found += typing.get_type_hints(kind)
    return found


@pytest.mark.parametrize(
    ("heading", "kinds"),
    [
        ("`environment.json`", [record_types.Environment, record_types.DataFacts]),
        ("`metrics.jsonl`", [record_types.Line]),
        ("`checkpoints/` and `checkpoints.json`", [record_types.CheckpointMeta]),
        ("`readings.csv`, `errors.csv`, `test_readings.csv`", [Answer]),
        ("`result.json`", [Result]),
        ("`test.json`", [held_out.HeldOut, held_out.Match]),
        ("`pseudo_labels.csv`", [PseudoLabel]),
        ("`robustness/`", [robustness.Row]),
        ("`report.csv`", [sweep_report.Row, scheme_report.Row]),
        ("`audit.csv`", [label_audit.RankedLabel]),
        ("Files of a labeled folder", [journal.Entry]),
    ],
)
def test_every_key_and_column_of_a_record_is_described(heading: str, kinds: list[Any]) -> None:
    (section,) = re.findall(rf"\n##+ {re.escape(heading)}\n(.*?)(?=\n##|$)", PAGE, re.DOTALL)
    assert [name for name in names(*kinds) if f"`{name}`" not in section] == []


def test_every_file_of_a_run_is_described(trained: Path) -> None:
    found = [path.name + "/" * path.is_dir() for path in trained.iterdir()]
    assert {"result.json", "checkpoints/"} <= set(found)
    assert not [name for name in found if f"`{name}`" not in PAGE]
