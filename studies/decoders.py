"""Compares decoders, and evaluates confidences, on the runs of a cross-validation.

    python run.py --config experiments/cross_validation.py --jobs 2
    python studies/decoders.py runs/cross_validation/base

The logits of each run's validation part are decoded by every decoder, without and with added
Gaussian noise, which makes decoders differ. Confidences use the temperature fitted on the
validation parts of the other runs. With several seeds, an image is also in a validation part of
the other seeds, so it slightly influences the temperature of its own confidence. Prints both
tables as Markdown.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.data import folder, splits
from crnn_jax.inference import calibration, evaluate, metrics, recognizer
from crnn_jax.models import ctc_loss, greedy

NOISE = (0.0, 1.0, 2.0, 3.0)  # standard deviation of the noise added to the logits
BEAM = 16


@dataclasses.dataclass(frozen=True)
class Part:
    """The validation part of a run, with the logits of its model."""

    reader: recognizer.Recognizer
    logits: jax.Array  # [N, T, K]
    texts: list[str]

    def right(self, ids: jax.Array) -> np.ndarray:
        """Returns which texts are read correctly, bool [N]."""
        decode = self.reader.charset.decode
        return np.array([decode(row) == t for row, t in zip(ids.tolist(), self.texts, strict=True)])


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit("usage: decoders.py DIRECTORY_OF_RUNS")
    parts = [load(path.parent) for path in sorted(Path(arguments[0]).glob("*/result.json"))]
    if len(parts) < 2:
        sys.exit(f"{arguments[0]} contains fewer than two finished runs")
    count = sum(len(part.texts) for part in parts)
    print(f"{len(parts)} runs, {count} readings, of {arguments[0]}\n")
    decoders(parts)
    print()
    confidence(parts)


def load(run: Path) -> Part:
    reader = recognizer.load(run)
    config = reader.config
    data = folder.load(config.data, reader.charset, config_lib.num_steps(config))
    val = splits.split(data.texts, config.data, data.parts, data.labels).val
    images, texts = jnp.asarray(data.images), [data.texts[i] for i in val]
    logits = evaluate.logits_of(reader.params, images, val, model=reader.model)
    return Part(reader, logits, texts)


def decoders(parts: list[Part]) -> None:
    """Prints the exact match of each decoder at each level of noise."""
    lengths = [len(text) for part in parts for text in part.texts]
    shortest, longest = min(lengths), max(lengths)
    print("| decoder | " + " | ".join(f"noise {noise:g}" for noise in NOISE) + " |")
    print("|---" * (len(NOISE) + 1) + "|")
    wishes: dict[str, dict[str, Any]] = {
        "greedy": {},
        f"beam search, width {BEAM}": {"beam": BEAM},
        f"known length {shortest} to {longest}": {"length": (shortest, longest)},
    }
    for name, wish in wishes.items():
        cells = []
        for noise in NOISE:
            right = []
            for i, part in enumerate(parts):
                added = noise * jax.random.normal(jax.random.key(i), part.logits.shape)
                ids = jax.jit(part.reader.decoder(**wish))(part.logits + added)
                right.append(part.right(ids))
            cells.append(f"{np.concatenate(right).mean():.2%}")
        print(f"| {name} | " + " | ".join(cells) + " |")


def fit(parts: list[Part]) -> float:
    """Fits the temperature on validation parts, which must have the same alphabet."""
    labels = parts[0].reader.charset.encode([text for part in parts for text in part.texts])
    return float(
        calibration.fit_temperature(jnp.concatenate([part.logits for part in parts]), labels)
    )


def confidence(parts: list[Part]) -> None:
    """Prints calibration error and coverage over all readings, before and after scaling."""
    wanted = " | ".join(f"coverage at {accuracy:.1%} accuracy" for accuracy in metrics.ACCURACIES)
    print(f"| temperature | calibration error | {wanted} |")
    print("|---" * (len(metrics.ACCURACIES) + 2) + "|")
    fitted = [fit([other for other in parts if other is not part]) for part in parts]
    for name, temperatures in [
        ("1", [1.0] * len(parts)),
        (f"of the other runs, {min(fitted):.2f} to {max(fitted):.2f}", fitted),
    ]:
        confidences: list[float] = []
        right: list[bool] = []
        for part, temperature in zip(parts, temperatures, strict=True):
            ids = greedy.greedy_decode(part.logits)
            losses = ctc_loss.ctc_loss(part.logits / temperature, ids)
            confidences += np.minimum(np.exp(-np.asarray(losses)), 1).tolist()
            right += part.right(ids).tolist()
        cells = [f"{metrics.calibration_error(confidences, right):.2%}"]
        for accuracy in metrics.ACCURACIES:
            c = metrics.coverage(confidences, right, accuracy)
            least = "" if c.threshold is None else f", confidence {c.threshold:.3f} or more"
            cells.append(f"{c.coverage:.2%}{least}")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
