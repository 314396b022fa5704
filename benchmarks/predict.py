"""Time to read: until the first result of a process, and for a thousand files.

    python benchmarks/predict.py RUN FOLDER [ROUNDS]

Reads the images of FOLDER, repeated up to a thousand, with a trained run. Measures in turns, so
that a busy machine affects all equally: a process that reads one file, a process that reads a
thousand, and, in this process, only decoding and only the model. Prints medians. The first round
fills the compilation cache and does not count.
"""

import itertools
import json
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from crnn_jax.data import image_io
from crnn_jax.inference import evaluate, recognizer
from crnn_jax.runtime import allocator, compilation_cache

FILES = 1000


def main(arguments: list[str]) -> None:
    if len(arguments) not in (2, 3):
        sys.exit("usage: predict.py RUN FOLDER [ROUNDS]")
    run, folder = arguments[:2]
    rounds = int(arguments[2]) if len(arguments) == 3 else 5
    allocator.keep_memory()
    compilation_cache.keep_programs()
    reader = recognizer.load(run)
    suffixes = image_io.IMAGE_SUFFIXES
    paths = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in suffixes)
    paths = list(itertools.islice(itertools.cycle(paths), FILES))
    section = reader.config.data

    def decode(path: Path) -> np.ndarray:
        return image_io.to_array(image_io.open_image(path), section)

    batch = np.stack([decode(path) for path in paths[: evaluate.BATCH]])

    def predict(count: int) -> None:
        command = [sys.executable, "-m", "crnn_jax", "predict", run, "-"]
        names = "\n".join(map(str, paths[:count]))
        done = subprocess.run(command, input=names, capture_output=True, text=True, check=True)
        assert done.stdout.count("\n") == count

    def decode_all() -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(decode, paths))

    def model() -> None:
        for _ in range(-(-FILES // evaluate.BATCH)):
            outputs = evaluate.read(reader.params, batch, reader.temperature, model=reader.model)
        jax.block_until_ready(outputs)

    contenders = {
        "first answer": lambda: predict(1),
        f"{FILES} files": lambda: predict(FILES),
        "decoding alone": decode_all,
        "model alone": model,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, call in contenders.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<16} {median:6.2f} s")
    rest = medians[f"{FILES} files"] - medians["first answer"]
    print(f"after the first answer {FILES / rest:.0f} files/s")
    print(json.dumps({"rounds": rounds, "median_seconds": medians, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1:])
