"""Trains, evaluates and exports a CRNN that reads text captchas."""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from crnn_jax import __version__, runtime
from crnn_jax.cli import (
    analysis,
    completion,
    data,
    evaluate,
    examples,
    interop,
    keys,
    label,
    predict,
    serve,
    train,
)
from crnn_jax.runtime import terminal


def parser() -> tuple[argparse.ArgumentParser, Any]:
    """Returns the parser of the command line, and its subparsers: one for each command."""
    result = argparse.ArgumentParser(prog=examples.PROGRAM, description=__doc__)
    result.add_argument("--version", action="version", version=f"{result.prog} {__version__}")
    commands = result.add_subparsers(required=True, metavar="COMMAND")

    evaluate.add_to(commands)
    predict.add_to(commands)
    serve.add_to(commands)
    analysis.add_to(commands)
    data.add_to(commands)
    keys.add_to(commands)
    train.add_to(commands)
    label.add_to(commands)
    interop.add_to(commands)
    examples.add_to(commands.choices)
    completion.add_to(result)
    return result, commands


def main(arguments: list[str] | None = None) -> int:
    """Runs a command, by default that of `sys.argv`, and returns the exit status."""
    command_line, commands = parser()
    terminal.prepare()
    given = sys.argv[1:] if arguments is None else arguments
    options = command_line.parse_args(predict.as_paths(given, commands.choices))
    runtime.configure(computes=getattr(options, "computes", False))
    return terminal.conclude(lambda: options.call(options), failure=2)


def program() -> NoReturn:
    """The console script `crnn-jax`."""
    terminal.leave(main())
