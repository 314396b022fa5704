"""Completion of commands, options and files in a shell, with shtab.

crnn-jax --print-completion bash > ~/.local/share/bash-completion/completions/crnn-jax
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

SHELLS = ("bash", "zsh", "tcsh")
_FILES = {
    "RUN",
    "WORKDIR",
    "PATH",
    "DIR",
    "OUT",
    "FILE",
    "FOLDER",
    "FILE.npz",
}  # metavars of files and folders


def add_to(parser: argparse.ArgumentParser) -> None:
    """Adds the option --print-completion."""
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        action=_Print,
        help="print the completion script of the command crnn-jax for a shell",
    )


class _Print(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        try:
            import shtab
        except ImportError as error:
            parser.error(f"{error}; install it: pip install shtab")
        _complete_files(parser, shtab.FILE)
        parser.prog = "crnn-jax"
        print(shtab.complete(parser, str(values)))
        parser.exit()


def _complete_files(parser: argparse.ArgumentParser, kind: Any) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _complete_files(command, kind)
        elif action.metavar in _FILES:
            action.complete = kind  # type: ignore[attr-defined]  # shtab looks for it
