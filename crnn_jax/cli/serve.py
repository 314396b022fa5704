"""The command that reads images over HTTP: serve."""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from pathlib import Path
from typing import Any

from crnn_jax.cli import argument_types, reader_options
from crnn_jax.errors import ConfigError, RunError
from crnn_jax.runtime import files, terminal
from crnn_jax.serving.settings import Settings, check_token

TOKEN = "CRNN_JAX_TOKEN"
_MOST_TOKEN = 4096  # bytes of the file
_DEFAULTS = {
    "max-images": f"{Settings.max_images}, or --max-queue if that is less",
    "max-batch": "16, on an accelerator 64",
}


def add_to(commands: Any) -> None:
    """Adds the command to the subparsers of `crnn-jax`."""
    command = commands.add_parser("serve", help="read images that are sent over HTTP")
    command.add_argument("run", metavar="RUN", help=argument_types.RUN)
    command.add_argument(
        "--host",
        metavar="ADDRESS",
        default=Settings.host,
        help=f"the address to listen on; default {Settings.host}. Other machines need a token",
    )
    command.add_argument(
        "--port",
        metavar="N",
        type=int,
        default=Settings.port,
        help=f"port to listen on; default {Settings.port}; 0 for a free one",
    )
    command.add_argument(
        "--token-file",
        metavar="FILE",
        help="a file with the token that requests must have; or set the variable CRNN_JAX_TOKEN",
    )
    reader_options.add_to(command)
    command.add_argument(
        "--data", metavar="DIR", help="for --same-scheme: a folder with images of the scheme"
    )
    reader_options.add_frame_to(command)
    reader_options.add_min_confidence_to(command)
    for name, meaning, default in (
        ("max-images", "images per request", None),
        ("max-queue", "images that wait or are being read", Settings.max_queue),
        ("max-body", "MiB per request", Settings.max_body // 2**20),
        ("max-connections", "open connections", Settings.max_connections),
        ("max-batch", "images that the model reads at once", None),
    ):
        shown = default or _DEFAULTS[name]
        command.add_argument(
            f"--{name}",
            metavar="N",
            type=argument_types.positive_integer,
            default=default,
            help=f"maximum number of {meaning}; default {shown}",
        )
    command.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=argument_types.positive_integer,
        default=round(Settings.answer_seconds),
        help="time to read the images of a request, and to finish requests after a signal to "
        "stop; default 30",
    )
    command.set_defaults(call=serve)


def serve(options: argparse.Namespace) -> int:
    """Serves a reader over HTTP until a signal."""
    try:
        from crnn_jax.serving import access, server
        from crnn_jax.serving.programs import Programs
    except ImportError as error:
        raise RunError(f"{error}; install it: pip install 'crnn-jax[serve]'") from error
    from crnn_jax.cli import listing
    from crnn_jax.inference import inputs, recognizer

    # Pillow warns about unusual files; the limits of this package are lower than Pillow's.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    for name in ("PIL", "python_multipart"):  # which logs each form that is not valid
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if options.same_scheme and not options.data:
        raise ConfigError("--same-scheme needs a folder of images; name it with --data")
    if options.data and not options.same_scheme:
        raise ConfigError("--data has an effect only with --same-scheme")
    settings = Settings(
        host=options.host,
        port=options.port,
        token=token(options.token_file),
        min_confidence=options.min_confidence,
        max_images=options.max_images or min(Settings.max_images, options.max_queue),
        max_queue=options.max_queue,
        max_body=options.max_body * 2**20,
        max_bodies=max(Settings.max_bodies, options.max_body * 2**20),
        max_connections=options.max_connections,
        answer_seconds=options.timeout,
        drain_seconds=options.timeout,
    )
    terminal.outlive_output()
    bound = access.listen(settings)  # before the reader is loaded, which takes seconds
    reader = recognizer.load(options.run, options.epoch)
    decoder = reader_options.decoder(reader, options, lambda: [*listing.expand([options.data])])
    form = inputs.Format(frame=options.frame)
    programs = Programs(reader, decoder, form, options.max_batch or 0)
    server.serve(programs, bound, settings, lambda line: print(line, flush=True))
    return 0


def token(file: str | None) -> str | None:
    """Returns the token in a file or in the environment; None if there is none.

    It cannot be given on the command line, which other users of the machine can see.

    Raises:
      ConfigError: the file cannot be read, both are given, or it cannot be a token.
    """
    value = os.environ.get(TOKEN)
    if file is None:
        return None if value is None else _checked(value, TOKEN)
    if value is not None:
        raise ConfigError(f"there is a token in {TOKEN} and one in --token-file; choose one")
    try:
        content = files.read(Path(file), _MOST_TOKEN)
        return _checked(content.decode("ascii").strip(), f"--token-file {file}")
    except OSError as error:
        raise ConfigError(f"--token-file {file}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"--token-file {file}: a token has ASCII characters only") from error


def _checked(value: str, origin: str) -> str:
    try:
        check_token(value)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from error
    return value
