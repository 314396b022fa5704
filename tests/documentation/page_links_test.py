"""Links of the Markdown files, their reading ease, and the files that describe the package."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import crnn_jax
from tests.helpers import markdown_files
from tests.helpers.markdown_files import ROOT, documents, pages

PLAIN = 50  # least reading ease: fairly difficult, but plain for a technical text
_EXTERNAL = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def broken(page: Path, target: str) -> str | None:
    """Returns what is wrong with a link of a page; None if it leads somewhere."""
    if _EXTERNAL.match(target):
        return None
    path, _, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    if not found.is_relative_to(ROOT):
        return f"{target} leads out of the repository"
    if not found.exists():
        return f"{target} does not exist"
    if anchor and found.suffix == ".md" and anchor not in markdown_files.anchors(found):
        return f"{target}: {name_of(found)} has no such heading"
    return None


@pytest.mark.parametrize("page", documents(), ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    found = [broken(page, target) for target in markdown_files.links(page.read_text())]
    assert not [problem for problem in found if problem]


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("CONTRIBUTING.md#set-up-and-test", None),
        ("https://keras.io/", None),
        ("crnn_jax/", None),
        ("CONTRIBUTING.md#no-such-heading", "CONTRIBUTING.md has no such heading"),
        ("no_such_file.md", "does not exist"),
        ("../elsewhere.md", "leads out of the repository"),
    ],
)
def test_a_broken_link_is_found(target: str, problem: str | None) -> None:
    found = broken(ROOT / "README.md", target)
    assert problem in found if problem and found else found == problem


def test_links_in_code_are_no_links() -> None:
    text = "[a](x.md) `[b](y.md)`\n\n```sh\n[c](z.md)\n```\n\n<img src='p.png'> ![d](q.png)\n"
    assert markdown_files.links(text) == ["x.md", "p.png", "q.png"]


def test_headings_have_the_anchors_that_github_gives_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Its `data.width`, and *why*\n\n## Twice\n\n## Twice\n\n(label)=\ntext\n")
    assert markdown_files.anchors(page) == {"its-datawidth-and-why", "twice", "twice-1", "label"}


# ------------------------------------------------------------------------------ reading ease

HOW_TO = [p for p in pages() if p.parent.name == "how_to" or p.name in ("README.md", "tutorial.md")]


@pytest.mark.parametrize("page", HOW_TO, ids=name_of)
def test_how_to_pages_are_easy_to_read(page: Path) -> None:
    ease = markdown_files.reading_ease(markdown_files.prose(page.read_text()))
    assert ease >= PLAIN


def test_reading_ease_is_flesch_s_formula() -> None:
    # 10 words, 2 sentences, 11 syllables.
    text = ["The cat sat on the mat. A dog was sleeping."]
    assert markdown_files.reading_ease(text) == pytest.approx(206.835 - 1.015 * 5 - 84.6 * 1.1)


def test_prose_has_no_headings_tables_and_code() -> None:
    table, code = "| a | b |\n|---|---|\n| c | d |\n", "```sh\nls\n```\n"
    text = f"# A title\n\nUse `x` to\nread.\n\n{table}\n- One.\n\n{code}"
    assert markdown_files.prose(text) == ["Use code to read.", "One."]


# ------------------------------------------------------------------------------ the package


def test_the_citation_names_the_version_and_the_license() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["cff-version"] == "1.2.0"
    assert cited["version"] == crnn_jax.__version__
    assert {"message", "title", "abstract", "authors", "license", "type"} <= cited.keys()
    assert f'license = "{cited["license"]}"' in (ROOT / "pyproject.toml").read_text()


def test_the_reader_of_the_package_has_a_model_card() -> None:
    card = (ROOT / "crnn_jax" / "readers" / "general" / "README.md").read_text()
    for part in ("trained on generated images only", "## Limits", "## Intended use"):
        assert part in card


def test_the_lock_names_packages_only() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[\w.-]+==[\w.!+]+", line) for line in lines)


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180
