"""Runs the suite on every supported Python, with the locked, the newest and the oldest packages.

    python -m tests.versions [--only "3.13 newest"] [--record results/versions/versions.json]

Each environment is created in a temporary folder, from interpreters `python3.N` on the PATH;
`oldest` pins every dependency of pyproject.toml to its lower bound. An existing record is amended.
The exit status is 1 if a suite failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from crnn_jax.runs import provenance

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS = ("3.11 locked", "3.11 oldest", "3.12 newest", "3.13 newest")
SHOWN = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow", "ml-collections")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=ENVIRONMENTS, action="append")
    parser.add_argument("--record", type=Path)
    parser.add_argument("--pytest", default="", help="more arguments of pytest")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    if options.record and options.record.exists():
        found = json.loads(options.record.read_text())
    for name in options.only or ENVIRONMENTS:
        found[name] = measure(name, options.pytest.split())
        print(json.dumps({name: found[name]}), flush=True)
        if options.record:
            options.record.parent.mkdir(parents=True, exist_ok=True)
            options.record.write_text(json.dumps(found, indent=1) + "\n")
    return int(any(not outcome.get("passed") for outcome in found.values()))


def measure(name: str, arguments: list[str]) -> dict[str, Any]:
    """Creates an environment, runs the suite in it, and counts the outcomes."""
    version, packages = name.split()
    interpreter = shutil.which(f"python{version}")
    if not interpreter:
        return {"error": f"there is no python{version}"}
    with tempfile.TemporaryDirectory(prefix="crnn-versions-") as folder:
        Path(folder).chmod(0o755)  # a test imports packages as another user
        python = Path(folder) / "venv" / "bin" / "python"
        subprocess.run([interpreter, "-m", "venv", python.parents[1]], check=True)
        pins = Path(folder) / "pins.txt"
        pins.write_text(pinned(packages))
        install: list[str | Path] = [python, "-m", "pip", "install", "-q", "-c", pins]
        install += ["-e", f"{ROOT}[test]"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            return {"error": done.stderr.strip()[-500:]}
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
        start = time.monotonic()
        done = subprocess.run(
            [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
            cwd=ROOT, env={**os.environ, **cache}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.monotonic() - start
        last = done.stdout.strip().splitlines()[-1:] or [done.stderr.strip()[-500:]]
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        code = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
        shown = subprocess.run(
            [python, "-c", code, *SHOWN], capture_output=True, text=True, check=True
        )
    return {
        "passed": done.returncode == 0,
        "summary": re.sub(r" in [\d.]+s.*", "", last[0]).strip("= "),
        "failed": [line[:200] for line in failed],
        "seconds": round(seconds),
        "commit": provenance.here([])["commit"],
        "packages": dict(zip(SHOWN, shown.stdout.split(), strict=True)),
    }


def pinned(packages: str) -> str:
    """Returns constraints for pip: the lock file, none, or the lower bounds of dependencies."""
    if packages == "locked":
        return (ROOT / "requirements.lock").read_text()
    if packages == "newest":
        return ""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    bounds = [*project["dependencies"], *(item for extra in extras for item in extra)]
    pairs = (re.fullmatch(r"([\w-]+)>=([\w.]+)", bound) for bound in bounds)
    # Not every bound is an exact release: 24.3 means the newest 24.3.x.
    return "".join(f"{pair[1]}=={pair[2]}.*\n" for pair in pairs if pair)


if __name__ == "__main__":
    sys.exit(main())
