"""The commands that train from the config of a run directory: train, reproduce."""

from __future__ import annotations

import argparse
from typing import Any

from crnn_jax import runtime
from crnn_jax.runtime import signals, terminal


def add_to(commands: Any) -> None:
    """Adds the commands to the subparsers of `crnn-jax`."""
    command = commands.add_parser(
        "train", help="train, or resume, from the config.json of a run directory"
    )
    command.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="a run directory with a config.json; several runs that differ only in seed and fold "
        "train together, in one compiled step, which is faster on a GPU",
    )
    command.add_argument(
        "--allow-environment-change",
        action="store_true",
        help="resume even if package versions or the machine have changed",
    )
    command.add_argument(  # the name in version 0.1
        "--elsewhere",
        dest="allow_environment_change",
        action="store_true",
        help=argparse.SUPPRESS,
    )
    command.add_argument(
        "--follow-input",
        action="store_true",
        help="save and stop when standard input is closed; a sweep stops its runs this way",
    )
    command.set_defaults(call=train)

    command = commands.add_parser("reproduce", help="repeat a finished run and compare the weights")
    command.add_argument("run", metavar="RUN", help="the directory of a finished run")
    command.add_argument("--data", metavar="DIR", help="the data set, if it was moved")
    command.add_argument(
        "--workdir", metavar="DIR", help="the directory of the new run; default a folder in runs/"
    )
    command.set_defaults(call=reproduce)


def train(options: argparse.Namespace) -> int:
    """Runs the command train."""
    from crnn_jax.runs import run_dir

    terminal.outlive_output()
    if options.follow_input:
        signals.follow_input()
    configs = [run_dir.RunDir(run).config() for run in options.runs]
    # Runs side by side share one device.
    runtime.configure(configs[0].train.batch_size if len(configs) == 1 else 1)
    from crnn_jax.training import train as train_lib

    allow = options.allow_environment_change
    for result in train_lib.train_all(configs, options.runs, allow):
        print(result)
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Returns 0 if the parameters are bit-identical, otherwise 1."""
    from crnn_jax.training import reproduce as reproduce_lib

    terminal.outlive_output()
    comparison = reproduce_lib.again(options.run, options.workdir, options.data)
    print(comparison)
    return 0 if comparison.identical else 1
