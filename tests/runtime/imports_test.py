"""What imports must not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import crnn_jax

IMPORT_ALL = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from jax._src import xla_bridge
print(sorted(xla_bridge._backends))
"""


def test_no_import_starts_a_backend() -> None:
    """Starting a backend takes seconds, fixes the number of devices, and is not shared by forks."""
    package = Path(crnn_jax.__file__).parent
    names = []
    for file in sorted(package.rglob("*.py")):
        if file.name != "__main__.py":  # which runs the program
            path = file.relative_to(package.parent).with_suffix("")
            names.append(".".join(path.parts).removesuffix(".__init__"))
    assert {"crnn_jax", "crnn_jax.training", "crnn_jax.data.synthetic.render"} <= set(names)
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *names], capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr
