"""A wheel outside of the checkout, as a user installs it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from crnn_jax import config as config_lib
from tests.helpers.quiet import BARE
from tests.integration.experiments_test import SMALL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the contents of the wheel and nothing else; its dependencies are beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    source = folder / "source"
    shutil.copytree(ROOT / "crnn_jax", source / "crnn_jax")  # setuptools writes beside its sources
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    wheel: list[str | Path] = ["wheel", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run([*pip, *wheel], check=True)
    (built,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", built], check=True)
    return folder


def run(installed: Any, *arguments: Any) -> Any:
    """Runs a Python command in the folder. A .pth file in a folder of PYTHONPATH is not read, so
    that the editable install of the checkout is not found."""
    path = os.pathsep.join([str(installed / "site"), sysconfig.get_path("purelib")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=installed, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def verbs(installed: Path, *commands: Any) -> list[str]:
    """The file of the program, and the outputs of the commands.

    All run in one process, because a start takes seconds.
    """
    code = "import sys; from crnn_jax.cli import main; print(main.__file__, end=chr(0))\n"
    code += f"for command in {[list(map(str, c)) for c in commands]!r}:\n"
    code += "    status = main.main(command); print(chr(0), end='', flush=True)\n"
    code += "    if status: sys.exit(status)\n"
    return run(installed, "-c", code).split("\0")[:-1]


def test_a_wheel_trains_imports_and_predicts(
    installed: Path, captchas: Path, keras_files: Path
) -> None:
    changes = {**SMALL, **BARE, "data.dir": os.fspath(captchas), "data.source": "folder"}
    values = config_lib.with_changes(config_lib.defaults(), changes)
    (installed / "run").mkdir()
    (installed / "run" / "config.json").write_text(json.dumps(values))
    image = next(captchas.glob("*.png"))
    file = keras_files / "whole.h5"
    symbols = "2345678bcdefgmnpwxy"
    where, trained, read, _, _, _, read_imported = verbs(
        installed,
        ("train", "run"),
        ("predict", "run", image),
        ("report", "run"),
        ("export", "run", "--format", "safetensors"),
        ("import-keras", file, "imported", "--alphabet", symbols),
        ("predict", "imported", image),
    )
    assert where.startswith(str(installed / "site"))
    assert "exact match" in trained
    assert read.startswith(f"{image}\t")
    assert read_imported.count("\n") == 1
    # Templates and types are part of the wheel.
    assert (installed / "run/report.html").read_text().rstrip().endswith("</html>")
    assert "# A CRNN" in (installed / "run/export/safetensors/README.md").read_text()
    assert (installed / "site/crnn_jax/py.typed").exists()
    assert (installed / "site/crnn_jax/serving/templates/docs.html.jinja").exists()
    script = installed / "site" / "bin" / "crnn-jax"
    assert "predict" in run(installed, str(script), "--help")
