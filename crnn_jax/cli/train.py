"""The verbs that train from a record: train, reproduce."""

from __future__ import annotations

import argparse
from typing import Any

from crnn_jax import runtime
from crnn_jax.runtime import signals, terminal


def add_to(verbs: Any) -> None:
    """Adds them to the subparsers of `python -m crnn_jax`."""
    verb = verbs.add_parser("train", help="train from a run directory's config.json, or go on")
    verb.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help="a run directory with a config.json; several, which differ in seed and fold, are "
        "trained in one step, for a GPU",
    )
    verb.add_argument(
        "--elsewhere",
        action="store_true",
        help="go on although versions or machine are others than the run began with",
    )
    verb.add_argument(
        "--follow-input",
        action="store_true",
        help="stop when the standard input ends, as a grid's cells do that outlive it",
    )
    verb.set_defaults(call=train)

    verb = verbs.add_parser("reproduce", help="train a finished run again, and compare")
    verb.add_argument("run", metavar="RUN", help="the record of a finished run")
    verb.add_argument("--data", metavar="DIR", help="the data set, if it lies elsewhere by now")
    verb.add_argument("--workdir", metavar="DIR", help="for the new run; default below runs/")
    verb.set_defaults(call=reproduce)


def train(options: argparse.Namespace) -> int:
    from crnn_jax.runs import run_dir

    terminal.outlive_output()
    if options.follow_input:
        signals.follow_input()
    configs = [run_dir.RunDir(run).config() for run in options.runs]
    # Runs side by side share one device.
    runtime.configure(configs[0].train.batch_size if len(configs) == 1 else 1)
    from crnn_jax.training import train as train_lib

    for result in train_lib.train_all(configs, options.runs, options.elsewhere):
        print(result)
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Status 0 for bit-identical parameters, 1 for others."""
    from crnn_jax.training import reproduce as reproduce_lib

    terminal.outlive_output()
    comparison = reproduce_lib.again(options.run, options.workdir, options.data)
    print(comparison)
    return 0 if comparison.identical else 1
