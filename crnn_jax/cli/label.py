"""The command that labels a folder on a local page: label."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import Any

from crnn_jax.cli import argument_types, reader_options


def add_to(commands: Any) -> None:
    """Adds the command to the subparsers of `crnn-jax`."""
    command = commands.add_parser(
        "label", help="label a folder of images on a local page, while the reader adapts to them"
    )
    command.add_argument(
        "folder", metavar="FOLDER", help="a folder of images; labels are saved in its labels.csv"
    )
    command.add_argument(
        "--reader",
        metavar="RUN",
        default="general",
        help=f"the reader that suggests labels: {argument_types.RUN}; default general",
    )
    command.add_argument(
        "--adapt-every",
        metavar="N",
        type=argument_types.count,
        default=25,
        help="train the reader on the labels after every N of them, in the background; 0 for "
        "never; default 25",
    )
    reader_options.add_frame_to(command)
    command.add_argument(
        "--port",
        metavar="N",
        type=argument_types.count,
        default=0,
        help="port to listen on; default any free port",
    )
    command.add_argument(
        "--open", action="store_true", help="open the page in the default web browser"
    )
    command.set_defaults(call=label, computes=True)


def label(options: argparse.Namespace) -> int:
    """Serves the labeling page until Ctrl-C, then prints a report."""
    from crnn_jax.labeling import browser, run

    with contextlib.ExitStack() as until_the_end:

        def announce(url: str) -> None:
            print(f"label the images on this page: {url}\nstop with Ctrl-C", flush=True)
            if options.open:
                until_the_end.enter_context(browser.opened(url))

        report = run.run(
            Path(options.folder),
            options.reader,
            options.adapt_every,
            options.port,
            announce,
            options.frame,
        )
    print(report, file=sys.stderr)
    return 0
