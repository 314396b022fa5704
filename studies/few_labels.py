"""Scores runs on all images they were not trained on, not only on the validation part.

    python studies/few_labels.py runs/few_labels

Prints a row for each finished run below the directory, and a line for each variant, as Markdown.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.data import folder, splits
from crnn_jax.inference import evaluate, metrics, recognizer


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit("usage: few_labels.py DIRECTORY_OF_RUNS")
    totals: dict[str, list[int]] = {}
    images_read: dict[str, set[int]] = {}  # seeds read mostly the same images
    print("| run | labels | images | exact match |\n|---|---|---|---|")
    for path in sorted(Path(arguments[0]).rglob("result.json")):
        reader = recognizer.load(path.parent)
        config = reader.config
        data = folder.load(config.data, reader.charset, config_lib.num_steps(config))
        train = splits.split(data.texts, config.data, data.parts, data.labels).train
        rest = np.setdiff1d(np.arange(len(data), dtype=np.int32), train)
        images, labels = jax.device_put((data.images, reader.charset.encode(data.texts)))
        scores = evaluate.evaluate(
            evaluate.Reader(reader.model, reader.params, reader.charset),
            evaluate.LabeledImages(images, labels, data.files, data.texts),
            rest,
            64,
        ).scores
        name = f"{path.parent.parent.name} {path.parent.name}"
        print(f"| {name} | {len(train)} | {len(rest)} | {scores.exact_match:.2%} |", flush=True)
        total = totals.setdefault(path.parent.parent.name, [0, 0])
        total[0] += scores.num_exact
        total[1] += scores.num_examples
        images_read.setdefault(path.parent.parent.name, set()).update(rest.tolist())
    print()
    for name, (exact, count) in totals.items():
        low, high = metrics.wilson_interval(exact, count, len(images_read[name]))
        print(
            f"{name}: {exact} of {count}, {exact / count:.2%}, "
            f"95 % interval {low:.2%} to {high:.2%}"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
