"""The labeling order of `crnn-jax label` against random order: exact match after N labels.

    python studies/labeling.py ../shared/data/schemes/{mixed10,kcaptcha6,cyrillic5} \\
        --workdir runs/labeling --out results/labeling/labeling.json

A scheme is a folder of labeled images. Its test part is that of experiments/schemes.py; the other
images are labeled one by one from their truth. After 25, 50 and 100 labels, the reader is adapted
as in experiments/adapt.py, and reads the test part. Two arms:

ordered   the order of the labeling page (crnn_jax/labeling/session.py), in which every fourth image
          is drawn at random. The first batch is ordered by the readings of the general reader.
          After each adaptation, the adapted reader reads the rest again. The page's estimate of
          exact match on the rest is recorded together with the true value.
random    images in random order.

Seeds differ in the draws, the random order, and the training. A finished cell is not run again, and
a training that was stopped is resumed. The JSON record has a line for each cell.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # before jax is imported
    from crnn_jax import runtime

    runtime.configure(16)  # train.batch_size of labeling/adapting.py

import jax
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.data import listing, splits
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError
from crnn_jax.inference import held_out, metrics, recognizer
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.labeling import adapting
from crnn_jax.labeling import run as labeling_run
from crnn_jax.labeling.session import Session
from crnn_jax.models import crnn
from crnn_jax.runs import provenance
from crnn_jax.runtime import files
from crnn_jax.training import trained

LABELS = (25, 50, 100)
ARMS = ("ordered", "random")
_READ_AT_ONCE = 64


class Scheme:
    """A folder of labeled images, split into a test part and a pool to be labeled."""

    def __init__(self, folder: Path):
        section = dataclasses.replace(
            config_lib.Config().data, source="folder", dir=os.fspath(folder)
        )
        self.folder, self.truths = folder, listing.checked(section).labels
        names, texts = list(self.truths), list(self.truths.values())
        is_test = np.zeros(len(names), bool)
        is_test[splits.held_out(texts, held_out.TEST_SIZE)] = True
        self.test = [name for name, found in zip(names, is_test, strict=True) if found]
        self.pool = [name for name, found in zip(names, is_test, strict=True) if not found]

    def score(self, reader: Recognizer) -> dict[str, int]:
        """Returns exact matches on the test part, in each way of `metrics.WAYS`."""
        readings = [r.text for r in reader.predict([self.folder / name for name in self.test])]
        truths = [self.truths[name] for name in self.test]
        found = metrics.exact_matches(zip(truths, readings, strict=True))
        return dict(zip(metrics.WAYS, found, strict=False))  # without the number of images


class Arm:
    """The labels of one arm and seed, as far as they are needed."""

    def __init__(self, scheme: Scheme, reader: Recognizer, seed: int, workdir: Path):
        self.scheme, self.seed, self.workdir = scheme, seed, workdir

    def labeled(self, count: int) -> list[str]:
        """Returns the first `count` images."""
        raise NotImplementedError

    def facts(self, count: int) -> dict[str, Any]:
        """Returns what the record says about the first `count` labels."""
        return {}

    def renew(self, reader: Recognizer, name: str) -> None:
        """Switches to an adapted reader."""


class Random(Arm):
    """Images in random order."""

    def labeled(self, count: int) -> list[str]:
        order = np.random.default_rng([1, self.seed]).permutation(len(self.scheme.pool))
        return [self.scheme.pool[i] for i in order[:count].tolist()]


class Ordered(Arm):
    """A session of the labeling page, with the truth in place of a person."""

    def __init__(self, scheme: Scheme, reader: Recognizer, seed: int, workdir: Path):
        super().__init__(scheme, reader, seed, workdir)
        self._reader = reader
        images = workdir / "images"
        for name in scheme.pool:
            if not (images / name).exists():
                adapting.copy_image(scheme.folder / name, images / name)
        state = images / labeling_run.STATE
        files.make_folder(state)
        steps = labeling_run.num_steps(reader)
        self._session = Session(Tree(images), state, "general", steps, seed)

    def labeled(self, count: int) -> list[str]:
        session = self._session
        if session.num_labels < count:
            self._read()
        while session.num_labels < count:
            shown = session.current()
            if shown is None:
                raise DataError(f"{self.scheme.folder} has fewer than {count} images to label")
            truth = self.scheme.truths[session.files[shown.number]]
            session.label(shown.number, truth, is_confirmed=True)
            if session.num_labels == count:
                files.write(self._facts(count), json.dumps(self._estimate()).encode())
        return [entry.file for entry in session.entries()][:count]

    def facts(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._facts(count).read_text())
        return found

    def renew(self, reader: Recognizer, name: str) -> None:
        self._reader = reader
        self._session.renew(name)

    def _facts(self, count: int) -> Path:
        return self.workdir / f"estimate-{count:04}.json"

    def _read(self) -> None:
        session = self._session
        while numbers := session.unread(_READ_AT_ONCE):
            paths = [session.folder / session.files[number] for number in numbers]
            for number, reading in zip(numbers, self._reader.stream(paths), strict=True):
                session.put(number, reading, session.pool.reader)

    def _estimate(self) -> dict[str, Any]:
        """Returns the estimate of exact match on the rest, and the truth."""
        session = self._session
        rest = session.pool.rest.tolist()
        right = sum(session.pool.texts[n] == self.scheme.truths[session.files[n]] for n in rest)
        found = session.estimates()[session.reader]
        return {"estimate": found._asdict(), "rest": len(rest), "rest_right": right}


_ARMS: Mapping[str, Callable[[Scheme, Recognizer, int, Path], Arm]] = {
    "ordered": Ordered,
    "random": Random,
}


def cells(
    scheme: Scheme,
    run: str,
    seed: int,
    name: str,
    labels: Sequence[int],
    workdir: Path,
    changes: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Yields the cells of an arm, with a training for each number of labels.

    Args:
      scheme: the images.
      run: the run directory or name of the reader that is adapted.
      seed: of draws, order and training.
      name: of the arm.
      labels: numbers of labels, from the smallest on.
      workdir: the folder of the arm.
      changes: to the settings of the adaptation.
    """
    base = recognizer.load(run)
    arm = _ARMS[name](scheme, base, seed, workdir)
    for count in labels:
        record = workdir / f"cell-{count:04}.json"
        chosen = arm.labeled(count)
        data = workdir / f"labels-{count:04}"
        if not data.exists():
            known = {file: scheme.truths[file] for file in chosen}
            partial = data.with_name(f"{data.name}.partial")
            files.remove(partial)
            adapting.copy_labeled(scheme.folder, known, partial)
            partial.rename(data)
        config = adapting.config(base, run, data, {"seed": seed, **changes})
        reader = trained.train(config, workdir / f"reader-{count:04}").reader
        if not record.exists():
            cell = {
                "scheme": scheme.folder.name,
                "arm": name,
                "seed": seed,
                "labels": count,
                "num_examples": len(scheme.test),
                **scheme.score(reader),
                "files_sha256": held_out.files_sha256(chosen),
                **arm.facts(count),
            }
            files.write(record, (json.dumps(cell) + "\n").encode())
        arm.renew(reader, f"reader-{count:04}")
        yield json.loads(record.read_text())
        jax.clear_caches()  # XLA's programs take memory maps


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Returns exact match in percent, mean [min ... max] over seeds, as a Markdown table."""
    shares: dict[tuple[str, int], dict[str, list[float]]] = {}
    for cell in found:
        arms = shares.setdefault((cell["scheme"], cell["labels"]), {})
        share = 100 * cell["labeled"] / cell["num_examples"]
        arms.setdefault(cell["arm"], []).append(share)
    lines = [f"| scheme | labels | {' | '.join(ARMS)} |", "|---" * (2 + len(ARMS)) + "|"]
    for (scheme, labels), arms in shares.items():
        row = []
        for name in ARMS:
            values = arms.get(name, [])
            row.append(
                f"{np.mean(values):.1f} [{min(values):.1f} ... {max(values):.1f}]"
                if values
                else "not run"
            )
        lines.append(f"| {scheme} | {labels} | {' | '.join(row)} |")
    return "\n".join(lines)


def main(arguments: list[str], changes: Mapping[str, Any] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    parser.add_argument("--reader", metavar="RUN", default="general")
    parser.add_argument("--workdir", metavar="DIR", type=Path, default=Path("runs/labeling"))
    parser.add_argument("--out", metavar="FILE", type=Path, required=True)
    parser.add_argument("--seeds", metavar="N", type=int, default=3)
    parser.add_argument("--labels", metavar="N", type=int, nargs="+", default=LABELS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS)
    options = parser.parse_args(arguments)
    reader = recognizer.load(options.reader)
    record: dict[str, Any] = {
        "command": ["studies/labeling.py", *arguments],
        "reader": {"run": options.reader, "params_sha256": crnn.params_sha256(reader.params)},
        "environment": provenance.here(str(device) for device in jax.devices()),
        "cells": [],
    }
    for folder in options.folders:
        scheme = Scheme(folder)
        for seed in range(options.seeds):
            for name in options.arms:
                workdir = options.workdir / scheme.folder.name / f"seed{seed}" / name
                for cell in cells(
                    scheme, options.reader, seed, name, sorted(options.labels), workdir,
                    changes or {},
                ):  # fmt: skip
                    record["cells"].append(cell)
                    options.out.parent.mkdir(parents=True, exist_ok=True)
                    files.write(options.out, (json.dumps(record, indent=1) + "\n").encode())
                    print(json.dumps(cell), flush=True)
    print(table(record["cells"]))


if __name__ == "__main__":
    main(sys.argv[1:])
