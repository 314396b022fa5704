"""How often the lengths of a scheme's texts are found in few of its images, without labels.

    PYTHONPATH=. python studies/scheme_lengths.py general FOLDER... --out scheme_lengths.json

The reader reads at most 400 images of each folder. Then `scheme_form.common_lengths` finds the
lengths in random samples of these readings, and the record has the share of samples for which they
are exactly the smallest and the largest length of the labels.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.data import listing
from crnn_jax.errors import ConfigError
from crnn_jax.inference import recognizer, scheme_form
from crnn_jax.inference.evaluate import Reading
from crnn_jax.models import crnn
from crnn_jax.runs import provenance

SIZES = (20, 40, 100, 400)  # images of a sample
SAMPLES = 200


class Scheme(NamedTuple):
    images: int  # that the reader has read
    lengths: tuple[int, int]  # of the shortest and the longest label
    share_found: dict[int, float]  # by the size of a sample


def share_found(
    readings: Sequence[Reading], lengths: tuple[int, int], size: int, samples: int = SAMPLES
) -> float:
    """Returns the share of random samples in which exactly `lengths` are found, from 0 to 1."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(samples):
        chosen = rng.choice(len(readings), min(size, len(readings)), replace=False)
        with contextlib.suppress(ConfigError):  # too few are read to tell
            found += scheme_form.common_lengths([readings[i] for i in chosen]) == lengths
    return found / samples


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("reader", metavar="RUN", help="a run directory, or a reader of the package")
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    reader = recognizer.load(options.reader)
    schemes = {}
    for folder in options.folders:
        section = dataclasses.replace(
            config_lib.Config().data, source="folder", dir=os.fspath(folder)
        )
        labels = listing.checked(section).labels
        names = [list(labels)[i] for i in scheme_form.sample(len(labels))]
        readings = list(reader.predict([folder / name for name in names]))
        wanted = [len(labels[name]) for name in names]
        lengths = min(wanted), max(wanted)
        shares = {size: share_found(readings, lengths, size) for size in SIZES}
        print(folder.name, lengths, shares, flush=True)
        schemes[folder.name] = Scheme(len(names), lengths, shares)
    means = {
        size: float(np.mean([scheme.share_found[size] for scheme in schemes.values()]))
        for size in SIZES
    }
    print(means)
    record = {
        "command": ["studies/scheme_lengths.py", *arguments],
        "reader": {"run": options.reader, "params_sha256": crnn.params_sha256(reader.params)},
        "samples": SAMPLES,
        "mean_share_found": means,
        "schemes": {name: scheme._asdict() for name, scheme in schemes.items()},
        "environment": provenance.here(str(device) for device in jax.devices()),
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
