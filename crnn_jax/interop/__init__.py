"""Imports models from other programs and exports runs to them, with one file per format.

Extras of the package install what the formats need. Imports `training` and what `training` may
import.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Mapping
from pathlib import Path

from crnn_jax.errors import RunError

# Each format, and the file that other programs open.
FORMATS: Mapping[str, str] = {
    "stablehlo": "model.stablehlo",
    "onnx": "model.onnx",
    "safetensors": "model.safetensors",
    "keras": "model.keras",
    "web": "index.html",
}


def export(
    run: str | os.PathLike[str],
    kind: str,
    out: str | os.PathLike[str] | None = None,
    runtime: str | os.PathLike[str] | None = None,
) -> Path:
    """Exports a run's model for another program.

    Args:
      run: a run directory, or what else `recognizer.load` accepts.
      kind: one of FORMATS.
      out: a folder, created if it does not exist. Files of an earlier export are replaced after
        all new ones have been written. Other files are left alone.
      runtime: for 'web', the folder of npm's onnxruntime-web.

    Returns:
      The file that other programs open.

    Raises:
      RunError: the run has no trained model, the model cannot be exported, the folder contains
        files but no export, or another format of a different reader, a symbolic link leads out of
        it, or it cannot be written.
      ImportError: a package is missing.
    """
    from crnn_jax.inference import exported, hub, recognizer, shipped
    from crnn_jax.interop import model_spec
    from crnn_jax.runtime import files, staging

    if out is None and (hub.is_address(run) or shipped.is_name(run)):
        raise RunError(f"{run} is not a run directory of yours; choose a folder with --out")
    reader = recognizer.load(run)
    folder = Path(out) if out is not None else files.below(run, "export", kind)
    if not (folder / exported.FILE).exists() and not staging.is_free(folder):
        raise RunError(f"{folder} is not empty and not an export; choose another --out")
    description = model_spec.describe(reader)
    _check_one_reader(folder, kind, description["params_sha256"])
    module = importlib.import_module(f"crnn_jax.interop.{kind}")
    contents = module.export(reader, description, *((runtime,) if kind == "web" else ()))
    contents[exported.FILE] = model_spec.to_json(description).encode()
    staging.replace_files(folder, contents, last=exported.FILE)
    return folder / FORMATS[kind]


def _check_one_reader(folder: Path, kind: str, params_sha256: str) -> None:
    """Checks that exports that stay in a folder are of the same reader as its new reader.json.

    Raises:
      RunError: the folder has another format of a different reader.
    """
    from crnn_jax import schema
    from crnn_jax.inference import exported
    from crnn_jax.runtime import files

    others = [file for name, file in FORMATS.items() if name != kind and (folder / file).exists()]
    if not others:
        return
    found = None
    with contextlib.suppress(OSError, schema.InvalidError):
        found = schema.document(files.read(folder / exported.FILE, schema.MAX_DOCUMENT))
    if not isinstance(found, dict) or found.get("params_sha256") != params_sha256:
        raise RunError(
            f"{folder} already has {others[0]} of a different reader; choose another --out"
        )
