"""The command that explains the config: keys."""

from __future__ import annotations

import argparse
from typing import Any

from crnn_jax.errors import ConfigError, quote


def add_to(commands: Any) -> None:
    """Adds the command to the subparsers of `crnn-jax`."""
    command = commands.add_parser(
        "keys", help="list the config keys with defaults, ranges and meanings"
    )
    command.add_argument(
        "prefix",
        metavar="PREFIX",
        nargs="?",
        default="",
        help="list only keys that begin with this",
    )
    command.set_defaults(call=keys)


def keys(options: argparse.Namespace) -> int:
    """Prints the config keys that begin with a prefix, as a Markdown table."""
    from crnn_jax import config as config_lib

    rows = [row for row in config_lib.reference() if row[0].startswith(options.prefix)]
    if not rows:
        raise ConfigError(f"no config key begins with {quote(options.prefix)}")
    print("| key | default | values | meaning |\n|---|---|---|---|")
    for row in rows:
        print("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return 0
