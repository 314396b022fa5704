"""Part `step`: milliseconds per update, for one run and for several runs in one program.

Programs are compiled in parallel, a few at a time, the most important first, and timed when
nothing is compiling. `alike` is what the PyTorch contender computes: without augmentation and flat
start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import accelerator
import jax
import material
import numpy as np
import record
import turns
import variants

from crnn_jax import config as config_lib
from crnn_jax.models import crnn
from crnn_jax.runtime import backend
from crnn_jax.training import context, state

BATCHES = record.pick((16, 64, 256), (4, 8))
SMALL, *OTHERS = BATCHES
CALLS = record.pick((1, 4, 16, 64), (1, 2))
RUNS = record.pick((1, 10, 50, 100), (1, 2))
USUAL = record.pick(16, 2)  # updates per call, as in backend.py for a GPU
WAVES = record.pick((3, 8, 8), (2,))  # programs compiled at once; then the rest
PICTURES = record.pick(400, 12)
SCALE = record.pick(1, 0.125)  # factor of the widths of the model
SIZE = record.pick({}, {"data__width": 64, "data__height": 16})


class Planned(NamedTuple):
    group: str
    name: str
    images: int  # per update
    make: Callable[[], turns.Turn]


def main(how: str = "", count: int | None = None) -> None:
    """Measures the first `count` of the plan, or all; `how` is added to their names."""
    device = jax.devices()[0]
    found = record.Record("step", [f"{device.platform} {device.device_kind}"])
    with tempfile.TemporaryDirectory() as folder:
        jobs = jobs_of(Path(folder))
    keep_arrays(jobs[SMALL])
    planned = plan(jobs, device.platform == "gpu")[:count]
    planned = [item._replace(name=item.name + how) for item in planned]
    for size in (*WAVES, len(planned)):
        if planned:
            measure(found, planned[:size])
        planned = planned[size:]


def jobs_of(folder: Path) -> dict[int, context.TrainContext]:
    """Returns the base recipe for each batch size, on drawn images."""
    material.draw(folder, PICTURES)
    configs = [material.config(folder, SCALE, train__batch_size=n, **SIZE) for n in BATCHES]
    return {config.train.batch_size: context.prepare(config) for config in configs}


def plan(jobs: dict[int, context.TrainContext], is_gpu: bool) -> list[Planned]:
    """Lists the measurements, the most important first."""

    def one(batch: int, calls: int, how: str = "", over: Any = contextlib.nullcontext) -> Planned:
        def make() -> turns.Turn:
            with over():
                return accelerator.in_a_call(jobs[batch], calls)

        return Planned("one run", f"batch {batch}, {calls} in a call{how}", batch, make)

    def alike(batch: int) -> Planned:
        job = without_augmentation(jobs[batch])
        make = functools.partial(accelerator.in_a_call, job, USUAL)
        return Planned("alike", f"batch {batch}, {USUAL} in a call", batch, make)

    def several(runs: int, how: str = "", over: Any = contextlib.nullcontext) -> Planned:
        def make() -> turns.Turn:
            with over():
                return accelerator.side_by_side(jobs[SMALL], runs, USUAL)

        return Planned("runs", f"{runs} runs of batch {SMALL}{how}", SMALL, make)

    windows = functools.partial(variants.convolution, not _windows())
    other = ", convolution " + ("as it stands" if _windows() else "by windows")
    many = RUNS[-2]
    planned = [
        one(SMALL, USUAL),
        several(many),
        alike(SMALL),
        *(several(runs) for runs in RUNS if runs != many),
        several(many, other, windows),
        one(SMALL, USUAL, ", unroll 1", lambda: variants.recurrence(1)),
        *(one(batch, USUAL) for batch in OTHERS),
        *(alike(batch) for batch in OTHERS),
        one(SMALL, 1),
        one(SMALL, USUAL, ", unroll 50", lambda: variants.recurrence(50)),
        several(many, ", unroll 1", lambda: variants.recurrence(1)),
        one(SMALL, USUAL, ", no barriers", lambda: variants.recurrence(10, False)),
        *([one(SMALL, USUAL, ", LSTM by cuDNN", variants.by_cudnn)] if is_gpu else []),
        *(one(SMALL, calls) for calls in CALLS if calls not in (1, USUAL)),
        one(SMALL, USUAL, other, windows),
        one(SMALL, USUAL, ", precision highest", lambda: variants.precision("highest")),
        *(one(batch, calls) for batch in OTHERS for calls in CALLS if calls != USUAL),
    ]
    return planned[: record.pick(None, 7)]


def _windows() -> bool:
    return backend.choices().windows


def measure(found: record.Record, planned: list[Planned]) -> None:
    begun = time.perf_counter()
    programs: dict[tuple[str, str], turns.Turn] = {}
    sizes = {(p.group, p.name): p.images for p in planned}
    for item in planned:
        try:
            programs[item.group, item.name] = item.make()
        except Exception as error:  # a variant that this device or version of jax does not support
            found.add(item.group, item.name, turns.said(error))
    traced = time.perf_counter()
    compiled = turns.compile_all(programs)
    took = {"trace_s": traced - begun, "compile_s": time.perf_counter() - traced}
    found.add("waves", f"{len(planned)} programs, {next(iter(sizes))[1]} first", took)
    for key, program in compiled.items():
        # One at a time, so that a part that is cut off keeps its figures.
        value: Any = turns.series({key: program}, record.pick(3, 1), record.pick(0.3, 0))[key]
        if not isinstance(value, str):
            value = record.times(value, sizes[key], program.seconds)
        found.add(*key, value)


def without_augmentation(job: context.TrainContext) -> context.TrainContext:
    """The job without augmentation and without flat start."""
    strengths = dataclasses.asdict(job.config.augment)
    changes: dict[str, Any] = {f"augment.{k}": type(v)(0) for k, v in strengths.items()}
    changes["flat_start.until"] = 0.0
    values = config_lib.with_changes(config_lib.to_dict(job.config), changes)
    return job._replace(config=config_lib.from_dict(values))


def keep_arrays(job: context.TrainContext) -> None:
    """Saves images, labels, weights and results for PyTorch: $SCRATCH/arrays.npz."""
    if not (scratch := os.environ.get("SCRATCH")):
        return
    params = state.init_state(job).params
    read = jax.jit(lambda params, images: crnn.apply(job.model, params, images))
    np.savez(
        Path(scratch) / "arrays.npz",
        logits=np.asarray(read(params, job.images[:4])),
        images=job.data.images,
        labels=np.asarray(job.labels),
        **crnn.by_name(jax.device_get(params)),
    )


if __name__ == "__main__":
    main()
