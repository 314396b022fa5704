"""The commands that exchange models: export, push, import-keras, import-safetensors."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from crnn_jax import config as config_lib
from crnn_jax import interop
from crnn_jax.cli import argument_types
from crnn_jax.clusters import split
from crnn_jax.errors import RunError, one_line


def add_to(commands: Any) -> None:
    """Adds the commands to the subparsers of `crnn-jax`."""
    command = commands.add_parser("export", help="export a run's model for another program")
    command.add_argument("run", metavar="RUN", help=argument_types.RUN)
    command.add_argument(
        "--format", choices=interop.FORMATS, required=True, help="what to export to"
    )
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
    command.add_argument("run", metavar="RUN", help=argument_types.RUN)
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
    print(f"wrote {interop.export(options.run, options.format, options.out, options.runtime)}")
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
