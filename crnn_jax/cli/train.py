"""The commands that train from the config of a run directory: train, reproduce."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from crnn_jax import runtime
from crnn_jax.cli import run_records
from crnn_jax.errors import RunError
from crnn_jax.runtime import signals, terminal


def add_to(commands: Any) -> None:
    """Adds the commands to the subparsers of `crnn-jax`."""
    command = commands.add_parser(
        "train",
        help="train, or resume, from the config.json of a run directory; run.py starts a new run",
    )
    command.add_argument(
        "runs",
        metavar="RUN",
        nargs="+",
        help=f"a run directory with a config.json{run_records.NOT_READERS}; several runs that "
        "differ only in seed, fold and learning rate train together, in one compiled step, which "
        "is faster on a GPU",
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
    command.set_defaults(call=train, computes=True)

    command = commands.add_parser("reproduce", help="repeat a finished run and compare the weights")
    command.add_argument(
        "run", metavar="RUN", help=f"the directory of a finished run{run_records.NOT_READERS}"
    )
    command.add_argument("--data", metavar="DIR", help="the data set, if it was moved")
    command.add_argument(
        "--workdir", metavar="DIR", help="the directory of the new run; default a folder in runs/"
    )
    command.set_defaults(call=reproduce, computes=True)


def train(options: argparse.Namespace) -> int:
    """Trains or continues runs from their config.json."""
    from crnn_jax.runs import run_dir

    terminal.outlive_output()
    if options.follow_input:
        signals.follow_input()
    dirs = [run_dir.RunDir(run) for run in options.runs]
    for name, run in zip(options.runs, dirs, strict=True):
        run_records.check(name)
        _check_started(run.workdir)
    configs = [run.config() for run in dirs]
    # Several runs in one program train on one device. A run that began so keeps to one device when
    # it is resumed alone, because sums over several devices round differently.
    on_one = len(dirs) > 1 or dirs[0].num_devices() == 1
    runtime.configure(1 if on_one else configs[0].train.batch_size)
    from crnn_jax.training import train as train_lib

    allow = options.allow_environment_change
    for result in train_lib.train_all(configs, options.runs, allow):
        print(result)
    return 0


def _check_started(workdir: Path) -> None:
    """Raises RunError if `workdir` is not a run directory. The error says how to start a run."""
    if (workdir / "config.json").exists():
        return
    data = shlex.quote(str(workdir)) if workdir.is_dir() else "FOLDER"
    raise RunError(
        f"{workdir} is not a run directory: it has no config.json; to train on a folder of images, "
        f"start a run with `python run.py --config experiments/base.py --config.data.dir={data}`, "
        "or with crnn_jax.train in Python"
    )


def reproduce(options: argparse.Namespace) -> int:
    """Returns 0 if the parameters are bit-identical, otherwise 1."""
    from crnn_jax.training import reproduce as reproduce_lib

    run_records.check(options.run)
    terminal.outlive_output()
    comparison = reproduce_lib.again(options.run, options.workdir, options.data)
    print(comparison)
    return 0 if comparison.identical else 1
