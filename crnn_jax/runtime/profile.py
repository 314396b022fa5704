"""A profile of training steps, for xprof (TensorBoard) and Perfetto."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import jax

from crnn_jax.errors import RunError
from crnn_jax.runtime import files

FOLDER = "profile"  # folder in the run directory
_SKIPPED = 3  # the first steps of a process compile and fill caches
_NAME = "train step"


class Profile:
    """Records some steps of a run with jax's profiler. A context manager around training.

    Each step is an event with the name 'train step' and its number, from 0. It begins when the step
    is sent to the device, and ends when the step before it is done. On a GPU several steps are sent
    in one call; they are one event, with the number of the first, and count as one.
    """

    def __init__(self, num_calls: int = 0):
        self._left = num_calls  # 0 for no profile
        self._skipped = 0
        self._folder: Path | None = None  # while the profiler is on

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._folder:
            self._stop()
        elif self._left and error is None:
            print(
                f"note: no step was profiled, because training took at most {_SKIPPED} steps",
                flush=True,
            )

    @contextlib.contextmanager
    def call(self, first: int, workdir: Path) -> Iterator[None]:
        """Records a call from step `first` of the run in `workdir`, if it is to be profiled.

        Raises:
          RunError: the folder cannot be written.
        """
        if not self._left:
            yield
            return
        if self._skipped < _SKIPPED:
            self._skipped += 1
            yield
            return
        if not self._folder:
            self._start(workdir)
        with jax.profiler.StepTraceAnnotation(_NAME, step_num=first):
            yield
        self._left -= 1
        if not self._left:
            self._stop()

    def _start(self, workdir: Path) -> None:
        folder = files.below(workdir, FOLDER)
        files.remove(folder)  # the profile of an earlier command
        options = jax.profiler.ProfileOptions()
        # A trace for Perfetto has at most a million events, which calls in Python would fill.
        options.python_tracer_level = 0
        try:
            jax.profiler.start_trace(folder, create_perfetto_trace=True, profiler_options=options)
        except (OSError, RuntimeError) as error:
            raise RunError(f"{folder} cannot be written: {error}") from error
        self._folder = folder

    def _stop(self) -> None:
        folder, self._folder, self._left = self._folder, None, 0
        try:
            jax.profiler.stop_trace()
        except (OSError, RuntimeError) as error:
            raise RunError(f"{folder} cannot be written: {error}") from error
        print(f"profile: {folder}, for xprof and Perfetto", flush=True)
