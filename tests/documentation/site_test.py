"""Builds the documentation, with warnings as errors, and reads the pages."""

from __future__ import annotations

import html.parser
import os
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.cli import examples
from tests.helpers.markdown_files import ROOT

DOCS = ROOT / "docs"


def build(folder: Path, *options: str) -> Path:
    """Builds the pages and returns their folder."""
    command: list[str | Path] = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"]
    command += ["-b", "html", *options, "-d", folder / "doctrees", DOCS, folder / "html"]
    # A process of its own: the Jupyter client does not pass the strict settings of these tests.
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "IPYTHONDIR": str(folder / "ipython")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages. The notebooks, which take minutes, are not run."""
    return build(tmp_path_factory.mktemp("site"), "-D", "nb_execution_mode=off")


@pytest.mark.long
def test_the_notebooks_run(tmp_path: Path) -> None:
    notebooks = [path.relative_to(DOCS) for path in DOCS.glob("notebooks/*.md")]
    folder = build(tmp_path)
    assert not [path for path in notebooks if not (folder / path).with_suffix(".html").exists()]


class Page(html.parser.HTMLParser):
    """The addresses and anchors of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.loaded: list[str] = []  # by the browser, without a click
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and values.get("rel") not in ("search", "index", "next", "prev"):
            self.loaded.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])


@pytest.fixture(scope="module")
def read(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in site.rglob("*.html")}


def test_there_is_a_page_for_each_file(site: Path) -> None:
    sources = [path.relative_to(DOCS) for path in DOCS.rglob("*.md")]
    wanted = [path for path in sources if path.parts[0] != "_build"]
    assert len(wanted) > 4
    assert not [path for path in wanted if not (site / path).with_suffix(".html").exists()]


def test_the_pages_load_nothing_from_other_sites(site: Path, read: dict[Path, Page]) -> None:
    loaded = {address for page in read.values() for address in page.loaded}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    loaded |= set(re.findall(r"""(?:url\(|@import\s+)["']?([^"')\s]+)""", styles))
    assert loaded
    assert not [address for address in loaded if re.match(r"(?!data:)[a-z]+:|//", address)]


def test_every_link_between_pages_leads_somewhere(read: dict[Path, Page]) -> None:
    wrong, checked = [], 0
    for path, page in read.items():
        for link in page.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme or address.netloc:
                continue
            checked += 1
            name = urllib.parse.unquote(address.path)
            target = (path.parent / name).resolve() if name else path
            anchors = read[target].anchors if target in read else set()
            if not target.exists() or (
                address.fragment and target in read and address.fragment not in anchors
            ):
                wrong.append(f"{path.name}: {link}")
    assert checked > len(read)
    assert not wrong


def test_the_reference_describes_all_names_keys_and_commands(read: dict[Path, Page]) -> None:
    anchors = {path.name: page.anchors for path, page in read.items()}
    assert {f"crnn_jax.{name}" for name in crnn_jax.__all__} <= anchors["api.html"]
    keys = {f"confval-{key}" for key, _ in config_lib.declared_keys() if "." in key}
    found = anchors["config_keys.html"]
    assert not [key for key in keys if key.replace("_", "-") not in found and key not in found]
    assert set(examples.EXAMPLES) <= anchors["command_line.html"]


def test_the_pages_name_the_version(site: Path) -> None:
    assert f"crnn-jax {crnn_jax.__version__}" in (site / "index.html").read_text()
