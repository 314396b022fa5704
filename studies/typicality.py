"""Measures how well typicality and confidence separate a reader's own scheme from others.

    python studies/typicality.py RUN FOLDER...
    python studies/typicality.py general FOLDER...

RUN is a finished run directory; its validation part is compared with up to 100 images of each
FOLDER of another scheme, and with images that are blank, noise, upside down or mirrored. For a
reader of the package, the validation part is drawn by its generator, and the distribution for its
reader.json is printed. The table has the area under the ROC curve (AUROC) of both scores, and the
share of images that count as answered.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from crnn_jax import config as config_lib
from crnn_jax.data import folder, generated, image_io, sources
from crnn_jax.data.synthetic.wide import family
from crnn_jax.errors import DataError
from crnn_jax.inference import recognizer, shipped, typicality
from crnn_jax.inference.evaluate import Reading
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.runtime import files

COUNT = 100  # images of a set
GENERATED = 256  # images that the distribution of a shipped reader is measured on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("folders", nargs="*", type=Path)
    options = parser.parse_args()
    reader = recognizer.load(options.run)
    home = own(reader, is_shipped=shipped.is_name(options.run))
    if shipped.is_name(options.run):
        reader.typical = typicality.Typical(0, 1)  # so that the typicality is the energy
        # An image that is read as empty has no energy, and its typicality is LOWEST.
        energies = [reading.typicality for reading in reader.predict(home) if reading.text]
        reader.typical = typicality.Typical.fit(np.array(energies))
        print(f'"typicality": {json.dumps(list(reader.typical or ()))}\n')
        home = home[:COUNT]
    sets = {"own scheme": home, **distorted(home)}
    sets |= {path.name: some_of(path, reader) for path in options.folders}
    readings = {name: reader.predict(images) for name, images in sets.items()}
    print("| images | count | AUROC, confidence | AUROC, typicality | answered |")
    print("|---|---|---|---|---|")
    for name, found in readings.items():
        areas = [
            area(scores(readings["own scheme"], kind), scores(found, kind))
            for kind in ("confidence", "typicality")
        ]
        cells = ["", ""] if name == "own scheme" else [f"{value:.3f}" for value in areas]
        share = np.mean([reading.answered for reading in found])
        print(f"| {name} | {len(found)} | {cells[0]} | {cells[1]} | {share:.1%} |")


def own(reader: Recognizer, is_shipped: bool) -> list[Image.Image]:
    """Returns images of the reader's own scheme that it was not trained on."""
    config = reader.config.data
    if is_shipped:
        look = family.load(config.style)
        data = generated.generate(look, generated.as_drawn(config, look), range(GENERATED))
        return [generated.to_image(image) for image in data.images]
    data, split, *_ = sources.load(config, config_lib.num_steps(reader.config))
    if folder.uses_folder(config):
        return [sources.image(config, None, data.files[i]) for i in split.val]
    return [generated.to_image(data.images[i]) for i in split.val]


def distorted(images: list[Image.Image]) -> dict[str, list[Image.Image]]:
    """Returns sets without readable text, in the size of the first image."""
    rng, size = np.random.default_rng(0), images[0].size
    shape = size[::-1]
    levels = rng.integers(0, 256, COUNT)
    coarse = rng.integers(0, 256, (COUNT, shape[0] // 8 + 2, shape[1] // 8 + 2), np.uint8)
    noise = rng.integers(0, 256, (COUNT, *shape), np.uint8)
    return {
        "blank": [Image.new("L", size, int(level)) for level in levels],
        "noise": [Image.fromarray(pixels) for pixels in noise],
        "smooth noise": [Image.fromarray(p).resize(size, Image.Resampling.BICUBIC) for p in coarse],
        "upside down": [image.rotate(180) for image in images],
        "mirrored": [image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for image in images],
    }


def some_of(path: Path, reader: Recognizer) -> list[Image.Image]:
    """Returns up to COUNT readable images of a folder, in a random but fixed order."""
    names = sorted(p.name for p in path.iterdir() if p.suffix.lower() in image_io.IMAGE_SUFFIXES)
    order = np.random.default_rng(0).permutation(len(names))
    found: list[Image.Image] = []
    for place in order.tolist():
        try:
            found.append(image_io.open_image(files.inside(path, names[place]), "first"))
        except DataError:
            continue
        if len(found) == COUNT:
            break
    return found


def scores(readings: list[Reading], kind: str) -> np.ndarray:
    return np.array([getattr(reading, kind) for reading in readings], np.float64)


def area(typical: np.ndarray, others: np.ndarray) -> float:
    """Returns the probability that a typical image has the higher score; ties count half."""
    return float(np.mean((typical[:, None] > others) + (typical[:, None] == others) / 2))


if __name__ == "__main__":
    main()
