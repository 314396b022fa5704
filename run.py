"""Trains and evaluates: python run.py --config experiments/base.py [--config.section.key=value]"""

import os
import re
import signal
import sys
from pathlib import Path

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during an import prints no traceback

from absl import app, flags
from ml_collections import config_flags

from crnn_jax import config as config_lib
from crnn_jax import errors, runtime
from crnn_jax.config import suggestions
from crnn_jax.errors import CrnnError
from crnn_jax.runs import grid as grids
from crnn_jax.runs import launch, run_dir, sweep
from crnn_jax.runtime import hosts, signals, supervisor, terminal

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="A file in experiments/; --config.section.key=value overrides a key."
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run directory; default a folder in runs/ named after the config."
)
_JOBS = flags.DEFINE_integer(
    "jobs", 1, "How many runs of a sweep train at once, each on its share of the cores.", 1
)
_TOGETHER = flags.DEFINE_integer(
    "together",
    1,
    "How many seeds and folds of a variant train in one compiled step, on a GPU.",
    1,
)
_LAUNCHER = flags.DEFINE_enum(
    "launcher",
    "local",
    launch.NAMES,
    "Where the runs of a sweep train: on this machine, on a Slurm cluster, or on a Ray cluster. "
    "--launcher.KEY=value sets an option of it, such as --launcher.partition=gpu.",
)
_ALLOW_CHANGE = flags.DEFINE_bool(
    "allow-environment-change",
    False,
    "Resume even if package versions or the machine have changed.",
)
_DISTRIBUTED = flags.DEFINE_bool(
    "distributed",
    False,
    "Train one run on several hosts: this process is one of those that Slurm, Open MPI or "
    "Kubernetes has started with the same command. Elsewhere give --coordinator, --processes and "
    "--process.",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "Address HOST:PORT of process 0, for a run on several hosts. Any free port works.",
)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "Number of processes, for a run on several hosts.", 1
)
_PROCESS = flags.DEFINE_integer(
    "process", None, "Number of this process, from 0, for a run on several hosts.", 0
)
_JOIN_TIMEOUT = flags.DEFINE_integer(
    "join_timeout",
    300,
    "Seconds until all processes must have started, for a run on several hosts.",
    1,
)
_PROFILE = flags.DEFINE_integer(
    "profile", 0, "Write a profile of this many training steps to the run directory.", 0
)
# The name in version 0.1. A separate module name keeps it out of --help.
flags.DEFINE_alias("elsewhere", "allow-environment-change", module_name="aliases")


_LAUNCHER_OPTIONS: dict[str, str] = {}  # of the command line


def parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags with absl, after checking that all config keys exist.

    Raises:
      CrnnError: a flag is wrong; for an unknown config key it names the nearest one.
    """
    # The key is a number, so that a config file can compute with it.
    argv = [re.sub(r"^(--?config\.data\.width)=auto$", r"\1=0", argument) for argument in argv]
    for place, argument in enumerate(argv[:-1]):
        if re.fullmatch(r"--?config\.data\.width", argument) and argv[place + 1] == "auto":
            argv[place + 1] = "0"
    options = [re.fullmatch(r"--?launcher\.(\w+)=(.*)", argument) for argument in argv]
    _LAUNCHER_OPTIONS.update({option[1]: option[2] for option in options if option})
    argv = [argument for argument, option in zip(argv, options, strict=True) if not option]
    for argument in argv[1:]:
        override = re.match(r"--?(?:no)?config\.([^=]+)", argument)
        if override:
            config_lib.check_key(override[1])
    try:
        rest = flags.FLAGS(argv)
        _ = flags.FLAGS["config"].present and _CONFIG.value.to_dict()  # loads the file
    except flags.UnrecognizedFlagError as error:
        if error.flagname.startswith("launcher."):
            raise CrnnError(f"write --{error.flagname}=VALUE, with an equals sign") from error
        near = suggestions.nearest(error.flagname, [k for k, _ in config_lib.declared_keys()])
        hint = f"; did you mean --config.{near}?" if near else ""
        raise CrnnError(f"there is no flag --{errors.brief(error.flagname, 100)}{hint}") from error
    except KeyError as error:  # the config of a sweep has a section grid, the others none
        if any(re.match(r"--?config\.grid\.", argument) for argument in argv):
            raise CrnnError(
                "--config.grid is for sweeps, but this config defines one run"
            ) from error
        raise
    except (flags.Error, OSError) as error:  # a value of the wrong type, a missing file
        if "get_config() takes 0 positional arguments" in str(error):
            raise CrnnError("--config: this file accepts no argument after the colon") from error
        raise CrnnError(str(error)) from error
    if rest[1:]:
        raise CrnnError(f"run.py accepts flags only, not {' '.join(rest[1:])}")
    if _CONFIG.value is None:
        raise CrnnError("--config is missing; for example: --config experiments/base.py")
    return rest


def is_distributed() -> bool:
    """Whether this process is one of several that train a run together."""
    given = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
    if any(value is not None for value in given) and None in given:
        raise CrnnError("--coordinator, --processes and --process must be given together")
    return _DISTRIBUTED.value or None not in given


def main(_: list[str]) -> None:
    name = Path(config_flags.get_config_filename(flags.FLAGS["config"])).stem
    values = _CONFIG.value.to_dict()
    if "grid" in values:
        if is_distributed():
            raise CrnnError("--distributed is for one run, but this config defines a sweep")
        if _PROFILE.value:
            raise CrnnError("--profile is for one run, but this config defines a sweep")
        workdir = Path(_WORKDIR.value or f"runs/{name}")
        given = config_flags.get_override_values(flags.FLAGS["config"])
        cells = grids.from_dict(values, given)
        failed = sweep.run(
            cells, workdir, _JOBS.value, _ALLOW_CHANGE.value, _TOGETHER.value,
            _LAUNCHER.value, _LAUNCHER_OPTIONS,
        )  # fmt: skip
        if failed:
            raise CrnnError(f"{len(failed)} runs failed; run the same command again to retry them")
        print(f"sweep directory: {workdir}", flush=True)
        return
    if _LAUNCHER.value != "local" or _LAUNCHER_OPTIONS:
        raise CrnnError("--launcher is for sweeps, but this config defines one run")
    for flag in ("jobs", "together"):
        if flags.FLAGS[flag].present:
            raise CrnnError(f"--{flag} is for sweeps, but this config defines one run")
    config = config_lib.from_dict(values)
    if is_distributed() and not supervisor.is_child():
        sys.exit(supervisor.run([sys.executable, *sys.orig_argv[1:]]))
    runtime.configure(config.train.batch_size // (_PROCESSES.value or 1))
    workdir = Path(_WORKDIR.value or run_dir.default_workdir(name, config))
    from crnn_jax.training import train  # imports jax, which a sweep does not need

    if is_distributed():  # after the imports, which can take long on a network file system
        signals.follow_input()
        address = hosts.Address(_COORDINATOR.value or "", _PROCESSES.value, _PROCESS.value)
        hosts.join(address, _JOIN_TIMEOUT.value)
    try:
        result = train.train_and_evaluate(config, workdir, _ALLOW_CHANGE.value, _PROFILE.value)
    except signals.Interrupted:  # in all processes, after the same step
        hosts.leave()
        raise
    print(f"{errors.one_line(result.data_name)} (fingerprint {result.fingerprint[:12]}): {result}")
    print(f"run directory: {workdir}", flush=True)
    hosts.leave()


def run() -> int:
    """Runs the command in `sys.argv` and returns the exit status."""
    terminal.prepare()
    terminal.outlive_output()
    return terminal.conclude(lambda: app.run(main, flags_parser=parse_flags), failure=1)


if __name__ == "__main__":
    status = run()
    if status and hosts.index():
        os._exit(status)  # Python would wait for process 0, and JAX aborts when that one has ended
    terminal.leave(status)
