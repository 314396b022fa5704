"""The configuration: every key with its type, its range, its default and its meaning.

The keys of the section `data` are in data_keys.py.

Parsing, error messages, the defaults of `experiments/base.py` and `crnn-jax keys` are
derived from these declarations. A new key needs, besides its declaration here:
- its value in older records, in `runs/config_migrations.py` (`ADDED`);
- code that uses it. The compiled step gets all keys of `loss`, `flat_start` and `augment`; other
  keys that it needs are fields of `Recipe` (training/step.py);
- a rule in `config/limits.py` if its value depends on other keys.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal

from msgspec import Meta

from crnn_jax import schema
from crnn_jax.config.data_keys import DataConfig, key


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random distortions of training images.

    Each value bounds the range from which the strength is drawn for each image; 0 turns the
    distortion off.
    """

    shift: schema.Share = key(0.05, "Shift in both directions, as a share of the height.")
    rotate: Annotated[float, Meta(ge=0, le=180)] = key(3.0, "Rotation, in degrees.")
    scale: Annotated[float, Meta(ge=0, le=0.9)] = key(0.08, "Change of size, for each axis.")
    shear: Annotated[float, Meta(ge=0, le=2)] = key(
        0.1, "Offset along the width for each unit of height."
    )
    ripple: schema.Share = key(0.02, "Amplitude of a sine warp, as a share of the height.")
    thickness: schema.Share = key(
        0.0, "1 makes dark strokes up to a pixel wider or thinner per side."
    )
    lines: Annotated[int, Meta(ge=0, le=100)] = key(0, "Maximum number of straight lines.")
    blur: schema.Share = key(0.0, "1 is a mean over 3x3 pixels.")
    contrast: schema.Share = key(0.0, "Relative change of a pixel's difference from the mean.")
    brightness: schema.Share = key(0.0, "Change, as a share of the range from black to white.")
    noise: schema.Share = key(
        0.0, "Standard deviation of Gaussian noise, as a share of the range from black to white."
    )

    @property
    def is_on(self) -> bool:
        """Whether any distortion is on."""
        return any(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The layers of the network."""

    conv_features: schema.Layers = key(
        (32, 64), "One 3x3 convolution, ReLU and 2x2 max-pooling (or model.pool) for each entry."
    )
    pool: schema.Pools = key(
        "",
        "Max-pooling of each convolution, width x height, instead of 2x2 after each: '2x2 1x1 1x2' "
        "for three convolutions.",
    )
    dense_features: schema.Units = key(64, "Units of the dense layer.")
    lstm_units: schema.Layers = key(
        (128, 64), "One bidirectional LSTM for each entry, with this many units per direction."
    )
    dropout: schema.Dropout = key(0.2, "Dropout rate after the dense layer.")
    lstm_dropout: schema.Dropout = key(0.25, "Dropout rate of each LSTM's input.")
    norm: Literal["", "layer"] = key(
        "", "'layer' adds a layer norm, which has parameters, after each convolution."
    )
    cell: Literal["lstm", "gru"] = key("lstm", "The recurrent cell; gru has fewer parameters.")

    @property
    def pools(self) -> tuple[tuple[int, int], ...]:
        """Pooling of each convolution, along width and height."""
        if not self.pool:
            return ((2, 2),) * len(self.conv_features)
        return tuple((int(p[0]), int(p[2])) for p in self.pool.split())

    @property
    def reduction(self) -> tuple[int, int]:
        """Pixels along width and height for each position of the last feature map."""
        across, down = zip(*self.pools, strict=True)
        return math.prod(across), math.prod(down)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and the schedule of its learning rate."""

    name: Literal["sgd", "adam"] = key("sgd", "adam uses optimizer.momentum as b1.")
    learning_rate: Annotated[float, Meta(gt=0, le=1000)] = key(
        0.004, "Peak learning rate of the schedule."
    )
    momentum: Annotated[float, Meta(ge=0, le=0.9999)] = key(0.9, "Momentum.")
    nesterov: bool = key(True, "Nesterov momentum.")
    clip_norm: Annotated[float, Meta(ge=0, le=1e9)] = key(
        5.0, "Maximum global norm of the gradients; 0 turns clipping off."
    )
    clip_each: bool = key(False, "Clip each variable by its own norm, not the global norm.")
    trust_ratio: bool = key(
        True,
        "Scale the gradient of each variable to the norm of the variable (LARS); with adam, scale "
        "its update (LAMB). Gradients are clipped first, which then has little effect.",
    )
    warmup_steps: Annotated[int, Meta(ge=0, le=10**8)] = key(
        100, "Steps of linear warmup to the peak, at most half of the run."
    )
    schedule: Literal["cosine", "constant"] = key(
        "cosine", "After warmup: cosine falls to 0 at the last epoch, constant stays at the peak."
    )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Variations of the CTC loss."""

    by_length: bool = key(
        False, "Divide an image's loss by the length of its label and multiply by the mean length."
    )
    entropy: Annotated[float, Meta(ge=0, le=100)] = key(
        0.0, "Weight of the entropy of the outputs, which is subtracted from the loss."
    )


@dataclasses.dataclass(frozen=True)
class FlatStartConfig:
    """The first steps minimize a frame-wise cross-entropy against a segmentation of the label.

    The segmentation follows the ink. Augmentation and dropout are off until the flat start ends.
    """

    until: schema.Share = key(
        0.85, "Fade out below this share of the loss of a uniform guess; 0 turns it off."
    )
    max_steps: schema.Steps = key(
        500,
        "Start to fade out after at most this many steps, or after a third of the run if that is "
        "sooner.",
    )
    fade_steps: schema.Steps = key(20, "The weight is multiplied by 1 - 1 / fade_steps per step.")
    trim: Annotated[float, Meta(ge=0, lt=0.5)] = key(
        0.02, "Share of the ink at either end that does not count as text."
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The length of a run, its start, and the weights that are kept."""

    batch_size: schema.Batch = key(16, "Images per training step.")
    epochs: Annotated[int, Meta(ge=1, le=10**6)] = key(
        24, "Epochs of the schedule; more if these give fewer than train.min_steps steps."
    )
    epochs_for_new_symbols: schema.Epochs = key(
        0,
        "Epochs of the schedule if the labels have symbols that the reader of train.init_from does "
        "not know; 0 for train.epochs.",
    )
    half_rate_labels: Annotated[int, Meta(ge=0, le=10**9)] = key(
        0,
        "Multiply the learning rate of a run from train.init_from by n^2 / (n^2 + h^2), where n is "
        "the number of labels and h is this value. Has no effect if the labels have symbols that "
        "the reader does not know, or with images without labels. 0 turns it off.",
    )
    half_way_labels: Annotated[int, Meta(ge=0, le=10**9)] = key(
        0,
        "Interpolate the weights of a run from train.init_from: n / (n + h) of the way from those "
        "of that reader to the trained ones, where n is the number of labels and h is this value. "
        "It has no effect where train.half_rate_labels has none. 0 turns it off.",
    )
    min_steps: Annotated[int, Meta(ge=0, le=10**9)] = key(
        2800, "Minimum number of steps: a small data set gets more epochs."
    )
    min_steps_per_epoch: Annotated[int, Meta(ge=0, le=10**6)] = key(
        50,
        "Minimum number of steps per epoch; an epoch passes over a small data set several times. "
        "0 for one pass.",
    )
    passes_per_epoch: Annotated[int, Meta(ge=1, le=10**4)] = key(
        1,
        "Minimum passes over the labeled images per epoch. With unlabeled images, it only sets a "
        "minimum number of steps. Labeled images are at least a quarter of each epoch.",
    )
    min_confidence: schema.Share = key(
        0.9,
        "Train on an unlabeled image if the reader's confidence is at least this, or among the "
        "highest tenth.",
    )
    stop_after: schema.Epochs = key(0, "Stop after this many epochs of the schedule; 0 for all.")
    init_from: schema.Path = key(
        "",
        "Start from the best weights of this run directory, or from the weights of another reader "
        "(general, or an address on a hub), without a flat start.",
    )
    detect_case: bool = key(
        False,
        "Read the labeled images with the reader of train.init_from. If at least a tenth of the "
        "readings that match the label when case is ignored have another case than the label, "
        "letters are recognized in both cases and read as labeled.",
    )
    patience: schema.Epochs = key(
        10,
        "Stop after this many epochs without a better validation loss; 0 for never. A schedule "
        "longer than train.epochs has proportionally more.",
    )
    checkpoint_selection: Literal["best", "last"] = key(
        "best",
        "Which weights are kept and scored: those of the lowest validation loss, or the last. "
        "'last' also turns off early stopping.",
    )
    ema_decay: schema.Rate = key(
        0.98, "Decay of the exponential moving average (EMA) of the weights; 0 for none."
    )
    eval_batch_size: schema.Batch = key(64, "Images per evaluation step.")


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """The records of a run during training."""

    every_steps: schema.Steps = key(
        20, "Steps between lines of metrics.jsonl, and between checks that the loss is finite."
    )
    trackers: schema.Trackers = key(
        (),
        "Also log to these: tensorboard, wandb (offline), mlflow or trackio; see runs/trackers.py. "
        "Each is an extra of the package.",
    )


def _section(kind: type) -> Any:
    return dataclasses.field(default_factory=kind)


@dataclasses.dataclass(frozen=True)
class Config:
    """The configuration of a run: a seed, and a section for each part."""

    seed: schema.Seed = key(
        0, "Root seed of initial weights, data order, dropout and augmentation."
    )
    data: DataConfig = _section(DataConfig)
    augment: AugmentConfig = _section(AugmentConfig)
    model: ModelConfig = _section(ModelConfig)
    optimizer: OptimizerConfig = _section(OptimizerConfig)
    loss: LossConfig = _section(LossConfig)
    flat_start: FlatStartConfig = _section(FlatStartConfig)
    train: TrainConfig = _section(TrainConfig)
    log: LogConfig = _section(LogConfig)
