"""How a run takes its directory: the lock first, then the config."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from crnn_jax import errors
from crnn_jax.config import Config
from crnn_jax.errors import CrnnError, RunError
from crnn_jax.runs.mid_epoch import FOLDER
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import files, lock

# What a start writes before its first step; the config last, because it claims the directory.
_OF_A_START = (
    *("params.txt", "augmented.png", "environment.json", "metrics.jsonl", "checkpoints.json"),
    "pseudo_labels.csv",
    *("tensorboard", "checkpoints", "config.json"),
)


@contextlib.contextmanager
def take(run: RunDir, config: Config) -> Iterator[None]:
    """Locks a run directory and opens it for `config`.

    Nothing is written before the lock is held. If an error ends the run before its first step,
    what was written is removed again, so that another config can use the directory.

    Raises:
      RunError: another process trains there, the directory belongs to another config or is no
        run directory, it cannot be written, or the system reports an error that names no file.
    """
    run.check_foreign()
    with lock.hold(run.workdir):
        is_new = not (run.workdir / "config.json").exists()
        try:
            run.open(config)
            with _named(run):
                yield
        except CrnnError:
            with contextlib.suppress(OSError, RunError):
                if is_new and not _has_begun(run):
                    for name in _OF_A_START:
                        files.remove(run.workdir / name)
            raise


@contextlib.contextmanager
def _named(run: RunDir) -> Iterator[None]:
    """Adds the run to an error of the system that names no file, as those of `close` do not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        said = errors.of_system(error)
        raise RunError(f"the run {run.workdir} was stopped: {said}") from error


def _has_begun(run: RunDir) -> bool:
    kept = [*run.checkpoints.glob("*"), *run.workdir.glob(f"{FOLDER}*")]
    lines = run.metrics.exists() and run.metrics.stat().st_size
    return bool(kept or lines or (run.workdir / "not_finite.csv").exists())
