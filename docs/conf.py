"""Sphinx configuration. CONTRIBUTING.md has the command that builds the documentation.

Nothing is downloaded during the build, and the built pages load nothing from other sites.
"""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS / "_ext"), str(ROOT)]

import crnn_jax

# The kernels that execute the notebooks inherit these.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
os.environ["JAX_PLATFORMS"] = "cpu"

project = "crnn-jax"
author = "The crnn-jax authors"
copyright = author
version = release = crnn_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "field_comments",
    "generated_pages",
    "repository_links",
]
exclude_patterns = ["_build", "_ext"]

# ------------------------------------------------------------------------------ pages

smartquotes = False  # they change --option
myst_heading_anchors = 4

nb_execution_mode = "force"
nb_execution_timeout = 120  # seconds for a cell
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_merge_streams = True

# ------------------------------------------------------------------------------ docstrings

default_role = "literal"  # of `names` in docstrings
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {name: name for name in ("ArrayLike", "ImageInput")}
python_use_unqualified_type_names = True
maximum_signature_line_length = 96
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

# ------------------------------------------------------------------------------ HTML

html_theme = "furo"
html_title = f"crnn-jax {release}"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["crnn.css"]
