"""Links from pages to files of the repository outside docs/.

The built pages have a copy of each such file, in the folder `repository`. A link to a folder leads
to its README.md, or to a list of its files.
"""

from __future__ import annotations

import posixpath
import shutil
import urllib.parse
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

FOLDER = "repository"
# Files that browsers display. The others get .txt, so that they are not downloaded.
_SHOWN = {".png", ".svg", ".jpg", ".gif", ".json", ".csv", ".txt", ".html", ".pdf"}


def target(node: nodes.Element, page: Path, docs: Path) -> Path | None:
    """Returns the file or folder outside `docs` that a reference leads to, if it does.

    Args:
      node: a reference that MyST has made of a link.
      page: the file of the page.
      docs: the folder of all pages.
    """
    name = urllib.parse.unquote(str(node["reftarget"]).split("#")[0])
    if node.get("refdomain") == "doc":  # a name without extension, from `docs`
        found = next(iter(sorted(docs.joinpath(name).parent.glob(f"{Path(name).name}.*"))), None)
    else:
        found = page.parent / name
    if not name or found is None or not found.exists():
        return None
    found = found.resolve()
    is_outside = not found.is_relative_to(docs) and found.is_relative_to(docs.parent)
    return found if is_outside else None


def copy(source: Path, root: Path, out: Path) -> str:
    """Copies a file or the list of a folder. Returns its path below `out`, with slashes.

    Args:
      source: a file or folder below `root`.
      root: the repository.
      out: the folder of the built pages.
    """
    if source.is_dir() and (source / "README.md").exists():
        source /= "README.md"
    name = posixpath.join(FOLDER, source.relative_to(root).as_posix())
    if source.is_dir():
        name += "/files.txt"
        content = "".join(f"{path.name}\n" for path in sorted(source.iterdir()) if path.is_file())
        place = out / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
        return name
    name += "" if source.suffix in _SHOWN else ".txt"
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, out / name)
    return name


def resolve(app: Sphinx, doctree: nodes.document) -> None:
    """Turns references to files outside docs/ into links to copies of them."""
    docs, page = Path(app.srcdir).resolve(), app.env.docname
    here = posixpath.dirname(app.builder.get_target_uri(page)) if app.builder.format else ""
    kinds = (addnodes.pending_xref, addnodes.download_reference)
    for node in [n for kind in kinds for n in doctree.findall(kind)]:
        if node.get("reftype") != "myst":
            continue
        found = target(node, Path(app.env.doc2path(page)), docs)
        if found is None:
            continue
        address = copy(found, docs.parent, Path(app.outdir))
        address = urllib.parse.quote(posixpath.relpath(address, here or "."))
        node.replace_self(nodes.reference("", "", *node.children, refuri=address, internal=True))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension. Sphinx calls this."""
    # Before Sphinx collects the files that pages offer for download, at priority 500.
    app.connect("doctree-read", resolve, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
