"""A separate environment for the contenders.

    python benchmarks/environment.py

It is in .contenders in the checkout (2.5 GB) and has the versions of requirements.txt. Scripts
create it when they need it. If requirements.txt changes, it is created again.
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
    """Returns the interpreter of the environment, and creates the environment if needed."""
    path, stamp = FOLDER / "bin" / "python", FOLDER / "requirements.sha256"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"creating {FOLDER}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
        subprocess.run([path, "-m", "pip", "install", "-q", "-r", REQUIREMENTS], check=True)
        stamp.write_text(digest)
    return path


if __name__ == "__main__":
    print(python())
