"""Models of other programs, in and out: a file for each format, an extra of the package each."""

from __future__ import annotations

import argparse
from typing import Any

from crnn_jax.errors import RunError


def add_verbs(verbs: Any) -> None:
    """Adds the verbs of this folder to an argparse parser's subparsers."""
    verb = verbs.add_parser("import-keras", help="make a run of a Keras model's weights")
    verb.add_argument("file", metavar="FILE", help=".h5, .weights.h5 or .keras")
    verb.add_argument("run", metavar="RUN", help="the run directory to be made")
    verb.add_argument(
        "--alphabet", metavar="SYMBOLS", required=True, help="in the order of its classes"
    )
    verb.add_argument("--blank", choices=("last", "first"), default="last", help="its blank class")
    verb.add_argument("--width", type=int, metavar="PIXELS", help="where the file does not tell")
    verb.add_argument("--height", type=int, metavar="PIXELS", help="likewise; 200x50 by default")
    verb.set_defaults(call=_import_keras)


def _import_keras(options: argparse.Namespace) -> int:
    from crnn_jax.interop import keras

    try:
        from experiments import base
    except ImportError as error:
        raise RunError(
            "the configuration is that of experiments/base.py: call this in a checkout of crnn-jax"
        ) from error
    values = base.get_config().to_dict()
    for name in ("width", "height"):
        values["data"][name] = getattr(options, name) or values["data"][name]
    alphabet = keras.import_run(options.file, options.run, values, options.alphabet, options.blank)
    if alphabet != options.alphabet:
        print("the model has one class more: it is taken for [UNK] and read as \ufffd")
    print(f"run directory: {options.run}; score it with evaluate --data FOLDER")
    return 0
