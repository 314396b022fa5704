"""Opens a run directory for training: the lock first, then the config."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from crnn_jax import errors
from crnn_jax.config import Config
from crnn_jax.errors import RunError
from crnn_jax.runs import trackers
from crnn_jax.runs.mid_epoch import FOLDER
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import files, hosts, lock

# Files written before the first step. The config is removed last, because it claims the directory.
_OF_A_START = (
    *("params.txt", "augmented.png", "environment.json", "metrics.jsonl", "checkpoints.json"),
    "pseudo_labels.csv",
    *trackers.FILES.values(),
    *("checkpoints", "config.json"),
)


@contextlib.contextmanager
def take(run: RunDir, config: Config) -> Iterator[None]:
    """Locks a run directory and opens it for `config`.

    Nothing is written before the lock is held. If an error ends the run before its first step, the
    files that it wrote are removed, so that another config can use the directory.

    If the run has several processes, the first one does all this for all of them.

    Raises:
      RunError: another process trains there; the directory belongs to a different config, is not a
        run directory or cannot be written; or the system reports an error that names no file.
    """
    if not hosts.is_first():
        hosts.barrier()
        run.open(config)
        yield
        return
    run.check_foreign()
    with lock.hold(run.workdir):
        is_new = not (run.workdir / "config.json").exists()
        try:
            run.open(config)
            hosts.barrier()
            with _named(run):
                yield
        except BaseException:  # including errors of JAX and a second Ctrl-C
            with contextlib.suppress(OSError, RunError):
                if is_new and not _has_begun(run):
                    for name in _OF_A_START:
                        files.remove(run.workdir / name)
            raise


@contextlib.contextmanager
def _named(run: RunDir) -> Iterator[None]:
    """Adds the run to system errors that name no file, such as those of `close`."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        message = errors.system_error_message(error)
        raise RunError(f"the run {run.workdir} was stopped: {message}") from error


def _has_begun(run: RunDir) -> bool:
    kept = [*run.checkpoints.glob("*"), *run.workdir.glob(f"{FOLDER}*")]
    lines = run.metrics.exists() and run.metrics.stat().st_size
    return bool(kept or lines or (run.workdir / "not_finite.csv").exists())
