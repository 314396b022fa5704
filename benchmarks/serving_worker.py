"""A process that reads images with `predict` on command, beside a server.

    python benchmarks/serving_worker.py RUN FOLDER COUNT

Prints the texts of the folder as a line of JSON. Then, for each line on stdin, it reads COUNT image
files from memory (those of the folder, repeated) and prints the seconds and whether all are right.
"""

from __future__ import annotations

import json
import sys
import time

import serving_load

from crnn_jax import runtime


def main(arguments: list[str]) -> None:
    runtime.configure()
    from crnn_jax.inference import recognizer

    run, folder, count = arguments
    reader = recognizer.load(run)
    files = serving_load.files_of(folder)
    some = [files[i % len(files)] for i in range(int(count))]
    texts = [reading.text for reading in reader.predict(files)]
    list(reader.stream(some))  # compiles every size
    print(json.dumps({"texts": texts}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        found = [reading.text for reading in reader.stream(some)]
        seconds = time.perf_counter() - start
        right = all(text == texts[i % len(texts)] for i, text in enumerate(found))
        print(json.dumps({"seconds": seconds, "right": right}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
