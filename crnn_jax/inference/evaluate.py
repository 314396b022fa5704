"""Reads a set of images and scores the readings."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int, UInt8

from crnn_jax.charset import Charset
from crnn_jax.data import batching
from crnn_jax.inference import metrics, typicality
from crnn_jax.models import crnn, ctc_loss
from crnn_jax.models.decoding import GREEDY, Decoder
from crnn_jax.runs.result import Answer
from crnn_jax.runtime import xla_options

_Found = tuple[Array, Array, Array]
BATCH = 64  # the largest batch; a reader pads a shorter one to a power of two


class _TextAndConfidence(NamedTuple):
    text: str
    confidence: float


class Reading(_TextAndConfidence):
    """The text that the model reads in an image, and its confidence.

    As a tuple, it is (text, confidence).

    Attributes:
      text: the text that is read; empty if there is none.
      confidence: the probability of the text, summed over its alignments, from 0 to 1.
      typicality: similarity of the image to the validation part, in standard deviations from its
        mean (see `typicality`); None if the run has not measured it.
      answered: False if the image differs from those of the training scheme (its typicality is
        below -3), or if the text is empty and data.allow_empty is off.
    """

    typicality: float | None
    answered: bool

    def __new__(
        cls, text: str, confidence: float, typicality: float | None = None, answered: bool = True
    ) -> Reading:
        self = super().__new__(cls, text, confidence)
        self.typicality, self.answered = typicality, answered
        return self

    def _replace(self, **changes: Any) -> Reading:
        """Like `_replace` of a named tuple, also for `typicality` and `answered`."""
        names = ("text", "confidence", "typicality", "answered")
        return Reading(**{name: getattr(self, name) for name in names} | changes)


class Reader(NamedTuple):
    """A trained model, and how its logits become texts."""

    model: crnn.Model
    params: Any
    charset: Charset
    temperature: float = 1.0  # divides the logits for confidences, but not for losses
    decoder: Decoder = GREEDY


class Shown(NamedTuple):
    """Whether a reading is an answer and its text is shown, given a minimum confidence."""

    answered: bool  # the reading is an answer
    text: bool  # its text is shown


def apply_min_confidence(reading: Any, least: float | None) -> Shown:
    """Applies a minimum confidence to a Reading or an Explanation; None shows all texts."""
    answered = reading.answered and reading.confidence >= (least or 0)
    return Shown(answered, answered or least is None)


class LabeledImages(NamedTuple):
    """A whole data set, with its arrays on the device."""

    images: UInt8[Array, "N W H C"]
    labels: Int[Array, "N L"]
    files: Sequence[str]  # N
    texts: Sequence[str]  # N


class Evaluation(NamedTuple):
    """The scores and the readings of a set of images."""

    scores: metrics.Scores
    loss: float  # mean CTC loss, nats
    answers: list[Answer]  # one for each file, in order

    @property
    def misreads(self) -> list[Answer]:
        """The answers whose reading differs from the truth."""
        return [answer for answer in self.answers if answer.reading != answer.truth]

    @property
    def exact_matches(self) -> metrics.ExactMatches:
        """Exact matches as labeled, case-folded, and with look-alikes merged."""
        return metrics.exact_matches((a.truth, a.reading) for a in self.answers)

    @property
    def calibration_error(self) -> float:
        """Expected calibration error of the confidences, as a fraction."""
        return metrics.calibration_error(*self._confidences())

    def coverage(self, accuracy: float) -> metrics.Coverage:
        """Returns the largest coverage at which at least `accuracy` of the answers are right."""
        return metrics.coverage(*self._confidences(), accuracy)

    def _confidences(self) -> tuple[list[float], list[bool]]:
        answers = self.answers
        return [a.confidence for a in answers], [a.reading == a.truth for a in answers]

    def summary(self) -> dict[str, Any]:
        """Returns the scores by their names in `result.json`."""
        s = self.scores
        return {
            "exact_match": s.exact_match,
            "exact_match_95": [s.exact_match_low, s.exact_match_high],
            "cer": s.cer,
            "char_accuracy": s.char_accuracy,
            "num_exact": s.num_exact,
            "num_examples": s.num_examples,
            "num_chars": s.num_chars,
            "val_loss": self.loss,
            "calibration_error": self.calibration_error,
        }

    def __str__(self) -> str:
        s = self.scores
        return (
            f"exact match {s.num_exact} of {s.num_examples} ({s.exact_match:.2%}, 95 % interval "
            f"{s.exact_match_low:.2%} to {s.exact_match_high:.2%}), CER {s.cer:.2%}, "
            f"character accuracy {s.char_accuracy:.2%}, loss {self.loss:.4f}"
        )


def read(
    params: Any,
    images: UInt8[Array, "B W H C"] | UInt8[np.ndarray, "B W H C"],
    temperature: float | Float[Array, ""],
    *,
    model: crnn.Model,
    decoder: Decoder = GREEDY,
) -> tuple[Int[Array, "B L"], Float[Array, " B"], Float[Array, " B"]]:
    """Reads a batch of images.

    Args:
      params: the parameters of `model`.
      images: pixels from 0 to 255.
      temperature: divides the logits for the probabilities.
      model: the model.
      decoder: how texts are decoded.

    Returns:
      The ids of each reading, padded with PAD; its log-probability; and the energy of each image.
    """
    if decoder == GREEDY:
        found: _Found = _read_greedily(params, images, temperature, model=model)
        return found
    # All other decoders share one program for the model, which takes far longer to compile than a
    # decoder. One program for model and greedy decoder reads a single image 4 % faster.
    found = _decoded(_logits(params, images, model=model), temperature, decoder=decoder)
    return found


@xla_options.jit_reading
def _read_greedily(
    params: Any, images: Array, temperature: Any, *, model: crnn.Model
) -> tuple[Array, Array, Array]:
    logits = crnn.apply(model, params, images)
    return *decode(logits, temperature, GREEDY), typicality.energy(logits)


@xla_options.jit_reading
def _logits(params: Any, images: Array, *, model: crnn.Model) -> Array:
    return crnn.apply(model, params, images)


@functools.partial(xla_options.jit_reading, static_argnames=("decoder",))
def _decoded(logits: Array, temperature: Any, *, decoder: Decoder) -> tuple[Array, Array, Array]:
    return *decode(logits, temperature, decoder), typicality.energy(logits)


def read_and_score(
    params: Any,
    images: UInt8[Array, "N W H C"],
    labels: Int[Array, "N M"],
    indices: Int[Array, " B"] | Int[np.ndarray, " B"],
    temperature: float | Float[Array, ""],
    *,
    model: crnn.Model,
    decoder: Decoder = GREEDY,
) -> tuple[Int[Array, "B L"], Float[Array, " B"], Float[Array, " B"]]:
    """Returns the ids, log-probabilities and losses of the examples `indices` of a data set."""
    logits = logits_of(params, images, indices, model=model)
    found: _Found = _scored(logits, labels, indices, temperature, decoder=decoder)
    return found


@functools.partial(xla_options.jit_reading, static_argnames=("decoder",))
def _scored(
    logits: Array, labels: Array, indices: Array, temperature: Any, *, decoder: Decoder
) -> tuple[Array, Array, Array]:
    return *decode(logits, temperature, decoder), ctc_loss.ctc_loss(logits, labels[indices])


@xla_options.jit_reading
def logits_of(
    params: Any,
    images: UInt8[Array, "N W H C"],
    indices: Int[Array, " B"],
    *,
    model: crnn.Model,
) -> Float[Array, "B T K"]:
    """Returns the logits of the examples `indices` of a data set."""
    return crnn.apply(model, params, images[indices])


def decode(
    logits: Float[Array, "B T K"], temperature: float | Float[Array, ""], decoder: Decoder
) -> tuple[Int[Array, "B L"], Float[Array, " B"]]:
    """Returns the ids and the log-probability of each text.

    Decoders that add probabilities get the scaled logits, because the temperature can change their
    result.
    """
    adds = decoder.beam or decoder.representatives
    ids = decoder(logits / temperature if adds else logits)
    scaled = decoder.merged(logits / temperature)
    # Rounding can make the loss of a reading with confidence 1 slightly negative.
    return ids, jnp.minimum(-ctc_loss.ctc_loss(scaled, ids), 0)


def evaluate(
    reader: Reader, data: LabeledImages, indices: Int[np.ndarray, " B"], batch_size: int
) -> Evaluation:
    """Reads the examples `indices` of a data set, each once, and scores the readings.

    The last batch is padded to `batch_size`; the padding is not counted.
    """
    readings: list[Reading] = []
    losses: list[float] = []
    for batch, mask in batching.batches(indices, batch_size):
        outputs = read_and_score(
            reader.params,
            data.images,
            data.labels,
            batch,
            reader.temperature,
            model=reader.model,
            decoder=reader.decoder,
        )
        ids, log_probability, batch_losses = (rows[mask] for rows in jax.device_get(outputs))
        readings += to_readings(reader.charset, ids, log_probability)
        losses += batch_losses.tolist()
    return of_answers(
        [
            Answer(data.files[i], data.texts[i], *reading, loss)
            for i, reading, loss in zip(indices, readings, losses, strict=True)
        ]
    )


def of_answers(answers: list[Answer]) -> Evaluation:
    """Scores answers, at least one."""
    scores = metrics.score([a.truth for a in answers], [a.reading for a in answers])
    return Evaluation(scores, sum(a.loss for a in answers) / len(answers), answers)


def read_all(
    reader: Reader,
    images: UInt8[Array, "N W H C"] | UInt8[np.ndarray, "N W H C"],
    indices: Int[np.ndarray, " B"],
    batch_size: int,
    before_batch: Callable[[], None] = lambda: None,
) -> list[Reading]:
    """Reads the images `indices`, in their order. Their labels are not needed.

    `before_batch` is called before each batch; it can raise an error to stop.
    """
    readings: list[Reading] = []
    for batch, mask in batching.batches(indices, batch_size):
        before_batch()
        found = read(
            reader.params,
            images[batch],
            reader.temperature,
            model=reader.model,
            decoder=reader.decoder,
        )
        ids, log_probability, _ = (rows[mask] for rows in jax.device_get(found))
        readings += to_readings(reader.charset, ids, log_probability)
    return readings


def to_readings(
    charset: Charset, ids: Int[np.ndarray, "B L"], log_probability: Float[np.ndarray, " B"]
) -> list[Reading]:
    """Converts host arrays to readings. Confidences are in [0, 1]; 0 for a NaN."""
    confidences = np.exp(np.minimum(np.nan_to_num(log_probability, nan=-np.inf), 0)).tolist()
    return [
        Reading(charset.decode(row), confidence)
        for row, confidence in zip(ids.tolist(), confidences, strict=True)
    ]
