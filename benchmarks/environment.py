"""An environment of their own for what the package is measured against.

    python benchmarks/environment.py

Made below the checkout, in .contenders (2.5 GB), with the versions of requirements.txt; the
scripts that need it call this themselves. A change of the file makes it anew.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / ".contenders"
REQUIREMENTS = HERE / "requirements.txt"


def python() -> Path:
    """The interpreter of the environment, which is made if need be."""
    path, stamp = FOLDER / "bin" / "python", FOLDER / "requirements.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"making {FOLDER}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
        subprocess.run([path, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
        stamp.write_text(digest)
    return path


if __name__ == "__main__":
    print(python())
