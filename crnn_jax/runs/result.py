"""The records that a run leaves: its result, and the readings of its images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Self

from msgspec import Meta

from crnn_jax import schema
from crnn_jax.schema import (
    Count,
    Digest,
    Epoch,
    InvalidError,
    Loss,
    MeanAndStd,
    Seconds,
    Seed,
    Share,
    Temperature,
    Text,
)


@dataclasses.dataclass(frozen=True)
class Result:
    """The content of `result.json`: scores of the validation part. Rates are fractions.

    Without a validation part, num_val is 0 and training images are scored. If num_train is 0 too,
    the labels of these images are the model's own predictions.
    """

    exact_match: Share
    exact_match_95: Annotated[list[Share], Meta(min_length=2, max_length=2)]  # Wilson interval
    cer: Annotated[float, Meta(ge=0, le=1e9)]
    char_accuracy: Share
    num_exact: Count
    num_examples: Annotated[int, Meta(ge=1, le=10**9)]
    num_chars: Annotated[int, Meta(ge=0, le=10**12)]  # 0 if no label has text
    val_loss: Loss
    best_epoch: Epoch
    epochs_run: Epoch
    seconds: Seconds  # training and evaluation, with interrupted attempts up to their save
    seed: Seed
    params_sha256: Digest
    data_name: Text
    fingerprint: Digest
    num_train: Count
    num_val: Count
    # Scales the confidences; fitted on the validation part. Older versions did not scale: 1.
    temperature: Temperature = 1.0
    calibration_error: Share | None = None  # expected calibration error on the validation part
    # Mean and standard deviation of the energy of the validation part: inference/typicality.py.
    typicality: MeanAndStd | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Builds a Result from the plain values of a file. InvalidError names the wrong key."""
        result: Self = schema.check(values, cls)
        if result.num_exact > result.num_examples:
            raise InvalidError(
                f"num_exact: {result.num_exact} is more than num_examples, {result.num_examples}"
            )
        if result.typicality and result.typicality[1] <= 0:
            raise InvalidError(f"typicality: the deviation is {result.typicality[1]}")
        return result

    def __str__(self) -> str:
        low, high = self.exact_match_95
        scored = ""
        if not self.num_val:
            scored = "no validation part; on training images: "
        if not self.num_val and not self.num_train:
            scored = "no labels; agreement with the reader's own labels: "
        return (
            f"{scored}exact match {self.num_exact} of {self.num_examples} ({self.exact_match:.2%}, "
            f"95 % interval {low:.2%} to {high:.2%}), CER {self.cer:.2%}, validation loss "
            f"{self.val_loss:.4f}; best epoch {self.best_epoch} of {self.epochs_run}, "
            f"{self.seconds:.0f} s"
        )


class Answer(NamedTuple):
    """A reading and the truth: a row of `readings.csv`."""

    file: Text
    truth: Text
    reading: Text
    confidence: Share  # at the run's temperature
    loss: Loss  # CTC loss of the truth, nats, at temperature 1


class Misread(NamedTuple):
    """The column of `errors.csv` that a report needs."""

    file: Text
