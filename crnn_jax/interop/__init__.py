"""Imports models from other programs and exports runs to them, with one file per format.

Extras of the package install what the formats need. Imports `training` and what `training` may
import.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from crnn_jax import config as config_lib
from crnn_jax.clusters import split
from crnn_jax.errors import RunError, one_line

# Each format, and the file that other programs open.
FORMATS: Mapping[str, str] = {
    "stablehlo": "model.stablehlo",
    "onnx": "model.onnx",
    "safetensors": "model.safetensors",
    "keras": "model.keras",
    "web": "index.html",
}


def add_commands(commands: Any, readers: str) -> None:
    """Adds the commands of this package to the subparsers of `crnn-jax`.

    Args:
      commands: the subparsers.
      readers: what is accepted as a reader, for the help.
    """
    command = commands.add_parser("export", help="export a run's model for another program")
    command.add_argument("run", metavar="RUN", help=readers)
    command.add_argument("--format", choices=FORMATS, required=True)
    command.add_argument(
        "--out",
        metavar="DIR",
        help="the folder to write; default RUN/export/FORMAT; needed unless RUN is a directory",
    )
    command.add_argument(
        "--runtime",
        metavar="DIR",
        help="for --format web: the folder of the npm package onnxruntime-web",
    )
    command.set_defaults(call=_with_extra(_export, "export"))

    command = commands.add_parser("push", help="push a run's model to a model hub")
    command.add_argument("run", metavar="RUN", help=readers)
    command.add_argument("address", metavar="hf://OWNER/NAME", help="the repository on the hub")
    command.add_argument("--private", action="store_true", help="make a new repository private")
    command.add_argument("--message", default="", help="the message of the commit")
    command.set_defaults(call=_with_extra(_push, "export"))

    command = commands.add_parser("import-keras", help="make a run directory from a Keras model")
    command.add_argument("file", metavar="FILE", help=".h5, .weights.h5 or .keras")
    command.add_argument("run", metavar="RUN", help="the new run directory")
    command.add_argument(
        "--alphabet",
        metavar="SYMBOLS",
        help="the symbols, in class order; needed unless this package exported the file",
    )
    command.add_argument(
        "--blank",
        choices=("last", "first"),
        default="last",
        help="position of the blank class; default last",
    )
    command.add_argument(
        "--width",
        type=int,
        metavar="PIXELS",
        help="width of the images, if not in the file; default 200",
    )
    command.add_argument(
        "--height",
        type=int,
        metavar="PIXELS",
        help="height of the images, if not in the file; default 50",
    )
    command.set_defaults(call=_with_extra(_import_keras, "keras"))

    command = commands.add_parser(
        "import-safetensors", help="make a run directory from a safetensors export"
    )
    command.add_argument(
        "folder", metavar="FOLDER", help="an export: model.safetensors and reader.json"
    )
    command.add_argument("run", metavar="RUN", help="the new run directory")
    command.set_defaults(call=_with_extra(_import_safetensors, "export"))


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
        files but no export, or another format of another reader, a symbolic link leads out of it,
        or it cannot be written.
      ImportError: a package is missing.
    """
    from crnn_jax.inference import exported, hub, recognizer, shipped
    from crnn_jax.interop import model_spec as description_lib
    from crnn_jax.runtime import files as disk
    from crnn_jax.runtime import staging

    if out is None and (hub.is_address(run) or shipped.is_name(run)):
        raise RunError(f"{run} is not a run directory of yours; choose a folder with --out")
    reader = recognizer.load(run)
    folder = Path(out) if out is not None else disk.below(run, "export", kind)
    if not (folder / exported.FILE).exists() and not staging.is_free(folder):
        raise RunError(f"{folder} is not empty and not an export; choose another --out")
    description = description_lib.describe(reader)
    _check_one_reader(folder, kind, description["params_sha256"])
    module = importlib.import_module(f"crnn_jax.interop.{kind}")
    files = module.export(reader, description, *((runtime,) if kind == "web" else ()))
    files[exported.FILE] = description_lib.to_json(description).encode()
    staging.files(folder, files, last=exported.FILE)
    return folder / FORMATS[kind]


def _check_one_reader(folder: Path, kind: str, params_sha256: str) -> None:
    """Checks that exports that stay in a folder are of the same reader as its new reader.json.

    Raises:
      RunError: the folder has another format of another reader.
    """
    from crnn_jax import schema
    from crnn_jax.inference import exported
    from crnn_jax.runtime import files as disk

    others = [file for name, file in FORMATS.items() if name != kind and (folder / file).exists()]
    if not others:
        return
    found = None
    with contextlib.suppress(OSError, schema.InvalidError):
        found = schema.document(disk.read(folder / exported.FILE, schema.MAX_DOCUMENT))
    if not isinstance(found, dict) or found.get("params_sha256") != params_sha256:
        raise RunError(f"{folder} has {others[0]} of another reader; choose another --out")


def _with_extra(call: Callable[[argparse.Namespace], int], extra: str) -> Any:
    """Wraps a command so that a missing package is a RunError that says how to install it."""

    def wrapped(options: argparse.Namespace) -> int:
        try:
            return call(options)
        except ImportError as error:
            raise RunError(f"{error}; install it: pip install 'crnn-jax[{extra}]'") from error

    return wrapped


def _export(options: argparse.Namespace) -> int:
    if options.runtime and options.format != "web":
        raise RunError("--runtime works only with --format web")
    print(f"wrote {export(options.run, options.format, options.out, options.runtime)}")
    return 0


def _push(options: argparse.Namespace) -> int:
    from crnn_jax.interop import hub

    print(f"pushed {hub.push(options.run, options.address, options.private, options.message)}")
    return 0


def _import_keras(options: argparse.Namespace) -> int:
    from crnn_jax.interop import keras

    config = keras.import_run(
        options.file,
        options.run,
        config_lib.defaults(),
        options.alphabet,
        options.blank,
        (options.width, options.height),
    )
    data = config.data
    count, symbols = len(split(data.alphabet, data.marks)), one_line(data.alphabet)
    print(f"images of {data.width}x{data.height}, {count} symbols: {symbols}")
    if options.alphabet and len(data.alphabet) > len(options.alphabet):
        print("the model has one more class, which is taken to be [UNK] and read as \ufffd")
    print(f"run directory: {options.run}; score it with evaluate --data FOLDER")
    return 0


def _import_safetensors(options: argparse.Namespace) -> int:
    from crnn_jax.interop import safetensors

    safetensors.import_run(options.folder, options.run)
    print(f"run directory: {options.run}; score it with evaluate --data FOLDER")
    return 0
