"""Models of other programs, in and out: a file for each format, an extra of the package each."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crnn_jax import config as config_lib
from crnn_jax.errors import RunError, one_line

FORMATS = ("stablehlo", "onnx", "safetensors", "keras", "web")


def add_verbs(verbs: Any) -> None:
    """Adds the verbs of this folder to an argparse parser's subparsers."""
    verb = verbs.add_parser("export", help="write a run's reader for another program")
    verb.add_argument("run", metavar="RUN", help="a run directory")
    verb.add_argument("--format", choices=FORMATS, required=True)
    verb.add_argument("--out", metavar="DIR", help="a folder; default RUN/export/FORMAT")
    verb.add_argument(
        "--runtime", metavar="DIR", help="of --format web: the folder of npm's onnxruntime-web"
    )
    verb.set_defaults(call=_names_package(_export, "export"))

    verb = verbs.add_parser("import-keras", help="make a run of a Keras model's weights")
    verb.add_argument("file", metavar="FILE", help=".h5, .weights.h5 or .keras")
    verb.add_argument("run", metavar="RUN", help="the run directory to be made")
    verb.add_argument(
        "--alphabet",
        metavar="SYMBOLS",
        help="in the order of its classes; needed unless the file was exported from here",
    )
    verb.add_argument("--blank", choices=("last", "first"), default="last", help="its blank class")
    verb.add_argument("--width", type=int, metavar="PIXELS", help="where the file does not tell")
    verb.add_argument("--height", type=int, metavar="PIXELS", help="likewise; 200x50 by default")
    verb.set_defaults(call=_names_package(_import_keras, "keras"))

    verb = verbs.add_parser("import-safetensors", help="make a run of an export to safetensors")
    verb.add_argument("folder", metavar="FOLDER", help="with model.safetensors and its companions")
    verb.add_argument("run", metavar="RUN", help="the run directory to be made")
    verb.set_defaults(call=_names_package(_import_safetensors, "export"))


def export(
    run: str | os.PathLike[str],
    kind: str,
    out: str | os.PathLike[str] | None = None,
    runtime: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes a run's reader for another program.

    Args:
      run: a run directory.
      kind: one of FORMATS.
      out: a folder, made if need be. Files of an earlier export there are replaced, after all new
        ones have been written. Other files are left alone.
      runtime: of 'web', the folder of npm's onnxruntime-web.

    Returns:
      The file that other programs open.

    Raises:
      RunError: there is no reader, it cannot be exported, the folder holds other things than an
        export, a symbolic link leads out of it, or it cannot be written.
      ImportError: a package is missing.
    """
    from crnn_jax.inference import recognizer
    from crnn_jax.interop import model_spec as description_lib
    from crnn_jax.runs import run_dir
    from crnn_jax.runtime import files as disk
    from crnn_jax.runtime import staging

    folder = Path(out) if out is not None else disk.below(run, "export", kind)
    if not (folder / description_lib.FILE).exists() and not staging.is_free(folder):
        raise RunError(f"{folder} holds other things than an export; choose another --out")
    reader = recognizer.load(run)
    description = description_lib.describe(reader, run_dir.RunDir(run).result())
    module = importlib.import_module(f"crnn_jax.interop.{kind}")
    files = module.export(reader, description, *((runtime,) if kind == "web" else ()))
    files[description_lib.FILE] = description_lib.to_json(description).encode()
    staging.files(folder, files, last=description_lib.FILE)
    return folder / module.FILE


def _names_package(call: Callable[[argparse.Namespace], int], extra: str) -> Any:
    """The call, with what is not installed as an error for a person."""

    def wrapped(options: argparse.Namespace) -> int:
        try:
            return call(options)
        except ImportError as error:
            raise RunError(f"{error}; pip install 'crnn-jax[{extra}]' brings it") from error

    return wrapped


def _export(options: argparse.Namespace) -> int:
    if options.runtime and options.format != "web":
        raise RunError("--runtime is for --format web")
    print(f"wrote {export(options.run, options.format, options.out, options.runtime)}")
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
    symbols = one_line(data.alphabet)
    print(f"pictures of {data.width}x{data.height}, {len(data.alphabet)} symbols {symbols}")
    if options.alphabet and len(data.alphabet) > len(options.alphabet):
        print("the model has one class more: it is taken for [UNK] and read as \ufffd")
    print(f"run directory: {options.run}; score it with evaluate --data FOLDER")
    return 0


def _import_safetensors(options: argparse.Namespace) -> int:
    from crnn_jax.interop import safetensors

    safetensors.import_run(options.folder, options.run)
    print(f"run directory: {options.run}; score it with evaluate --data FOLDER")
    return 0
