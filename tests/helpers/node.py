"""Runs the code of the exported page in Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from crnn_jax import interop

NODE = shutil.which("node")
PAGE = Path(interop.__file__).parent / "page"
SCRIPTS = [path for path in sorted(PAGE.glob("*.js")) if path.name != "page.js"]


def run(program: str, values: Any, folder: Path) -> Any:
    """The JSON that a program prints. It runs after SCRIPTS and has `input` and `reader`."""
    if NODE is None:
        pytest.skip("Node is not installed")
    (folder / "input.json").write_text(json.dumps(values))
    source = (
        "".join(path.read_text() for path in SCRIPTS)
        + f"const input = JSON.parse(require('fs').readFileSync('{folder}/input.json'));\n"
        + f"const reader = input.reader;\nconsole.log(JSON.stringify({program}));\n"
    )
    (folder / "test.js").write_text(source)
    done = subprocess.run([NODE, folder / "test.js"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
