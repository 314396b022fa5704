"""Part `step`, in PyTorch with cuDNN: contenders/torch_.py on the same device.

Eager; with forward and backward pass as CUDA graphs; and with torch.compile, which makes its own
graphs ("reduce-overhead"). TF32 is on, as by default in jax; `float32` is without.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import record
import torch
import torch_
import worker

BATCHES = record.pick((16, 256, 64), (4,))
ROUNDS = record.pick(3, 1)
COMPILING = record.pick(35, 20)  # maximum seconds for torch.compile, per size
IS_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if IS_GPU else "cpu")


def main() -> None:
    found = record.Record("step", ["torch"])
    found.add("torch", "device", torch.cuda.get_device_name() if IS_GPU else "cpu")
    found.add("torch", "version", f"{torch.__version__}, cuDNN {torch.backends.cudnn.version()}")
    arrays, scale = material()
    model = torch_.CRNN(
        worker.Job("train", 16, 0, scale, "", "", {}), arrays["images"].shape[2], 20
    )
    if "dense2/bias" in arrays:
        model.load(arrays)
        with tf32(False), torch.inference_mode():
            logits = copy.deepcopy(model).eval().to(DEVICE)(put(arrays["images"][:4]))
        apart = float(np.abs(logits.cpu().numpy() - arrays["logits"]).max())
        found.add("torch", "logits_apart", apart)
    ways: list[tuple[str, Any, bool]] = [("eager", lambda model, images: model, True)]
    if IS_GPU:
        ways.append(("CUDA graphs", graphed, True))
    ways.append(("compile", compiled, True))
    ways.append(("eager, float32", lambda model, images: model, False))
    for name, way, with_tf32 in ways:
        for batch in BATCHES:
            with tf32(with_tf32):
                value = measure(copy.deepcopy(model), arrays, batch, way)
            found.add("torch", f"batch {batch}, {name}", value)


def material() -> tuple[dict[str, np.ndarray], float]:
    """Returns the arrays of steps.py, or arbitrary ones of that size; and the width factor."""
    path = Path(os.environ.get("SCRATCH", "/nonexistent")) / "arrays.npz"
    if path.exists():
        with np.load(path) as stored:
            return dict(stored), record.pick(1, 0.125)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (400, 200, 50, 1), np.uint8)
    return {"images": images, "labels": rng.integers(0, 19, (400, 5))}, record.pick(1, 0.125)


def put(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array).to(DEVICE)


def measure(model: Any, arrays: dict[str, np.ndarray], batch: int, way: Any) -> Any:
    """Returns times per update, or the reason why there are none."""
    try:
        model = model.to(DEVICE, memory_format=torch.channels_last).train()
        images, labels = put(arrays["images"]), put(arrays["labels"].astype(np.int64))
        lengths = torch.from_numpy((arrays["labels"] >= 0).sum(1))  # on the host
        rng = np.random.default_rng(0)
        count = min(batch, len(images))
        chosen = [rng.permutation(len(images))[:count] for _ in range(8)]
        batches = itertools.cycle([(put(i), lengths[i]) for i in map(np.array, chosen)])
        optimizer = torch_.updates(model)
        begun = time.perf_counter()
        with time_limit(COMPILING):
            forward = way(model, images[:count])

            def call() -> torch.Tensor:
                indices, its_lengths = next(batches)
                return torch_.update(
                    forward, optimizer, images[indices], labels[indices], its_lengths
                )

            turn = worker.timed(call, wait)
            turn(record.pick(3, 0), 1)  # compiles and captures the graphs
        ready = time.perf_counter() - begun
        calls = max(1, min(1000, int(record.pick(0.3, 0) / turn(0, record.pick(3, 1)) * 3)))
        series = [1000 * turn(1, calls) / calls for _ in range(ROUNDS)]
        return record.times(series, count, ready)
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


def graphed(model: Any, images: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    """Captures forward and backward pass as one CUDA graph each, without the loss between them."""
    return torch.cuda.make_graphed_callables(model, (images.clone(),))


def compiled(model: Any, images: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    torch._dynamo.reset()
    return torch.compile(model, mode="reduce-overhead" if IS_GPU else None, dynamic=False)


def wait(result: Any) -> None:
    if IS_GPU:
        torch.cuda.synchronize()


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raises TimeoutError after this many seconds."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"not ready after {seconds} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


if __name__ == "__main__":
    main()
