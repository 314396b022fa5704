"""The configuration: every key with its type, its range, its default and its meaning.

Parsing, error messages, the defaults of `experiments/base.py` and `python -m crnn_jax keys` are
derived from these declarations. A new key needs, besides its declaration here:
- its value in older records, in `runs/config_migrations.py` (`CAME`);
- code that uses it. The compiled step gets all keys of `loss`, `flat_start` and `augment`; other
  keys that it needs are fields of `Recipe` (training/step.py);
- a rule in `config/limits.py` if its value depends on other keys.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal

from msgspec import Meta

from crnn_jax import charset, schema

AUTO = 0  # value of data.width
AUTO_WIDTHS = (3, 4, 6)  # times the height; few, because a program is compiled for each
DEFAULT_DIR = "data/captcha_images_v2"  # where the README puts the default data set


def _key(default: Any, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class DataConfig:
    source: Literal["auto", "folder", "synthetic", "stream", "mixture"] = _key(
        "auto",
        "folder: data.dir. synthetic: data.count generated images. stream: new ones every epoch. "
        "mixture: the folder, with generated images added to its training part. auto: the folder, "
        "or generated images if the default folder does not exist.",
    )
    dir: schema.Path = _key(
        DEFAULT_DIR,
        "A folder of images, also in subfolders, named by their text (226md.png) or with a label "
        "file such as labels.csv: see data/label_files.py for the formats.",
    )
    val_dir: schema.Path = _key(
        "",
        "A folder with the validation part. If empty: the folder val in data.dir, the rows of the "
        "label file whose split is val, or else a part of data.dir: see data.val_fraction.",
    )
    style: schema.Path = _key(
        "captcha_v2",
        "How generated images look: a preset of data/synthetic/, a .json file, 'wide', or an .npz "
        "file of faces for the wide generator.",
    )
    count: Annotated[int, Meta(ge=2, le=10**7)] = _key(
        1040, "Number of generated images, with the validation part; for a stream, of each epoch."
    )
    synthetic_seed: schema.Seed = _key(0, "Seed and data.style determine image i.")
    generated_share: Annotated[float, Meta(gt=0, le=0.99)] = _key(
        0.5, "Share of generated images in the training part of a mixture."
    )
    width: schema.Width = _key(
        200,
        "Images are resized to this width, in pixels. 0 or auto: 3, 4 or 6 times the height, by "
        "the aspect ratio of the training images.",
    )
    height: schema.Size = _key(50, "Images are resized to this height, in pixels.")
    channels: Literal[1, 3] = _key(1, "1 for gray, 3 for color.")
    crop: bool = _key(False, "Crop images to their text before they are resized: see data/crop.py.")
    frame: Literal["", "first", "last", "darkest", "mean"] = _key(
        "",
        "What to read from an animation: the first or last frame, or the darkest or mean value of "
        "each pixel. Empty: animations are refused.",
    )
    alphabet: Annotated[str, Meta(max_length=2**16)] = _key(
        "", "The symbols; empty for the sorted characters of the labels."
    )
    case: Literal["keep", "lower", "upper"] = _key(
        "keep", "Convert labels to lower or upper case, so that the alphabet has only one case."
    )
    allow_empty: bool = _key(
        False,
        "Allow images without text: an empty label is valid, and an empty reading counts as an "
        "answer. Otherwise an empty label is an error, and an empty reading is not answered.",
    )
    complete_alphabet: bool = _key(
        False,
        "Add symbols that are not in the labels of a folder: all ASCII digits, capitals or small "
        "letters if the labels contain two of them. data.alphabet takes precedence.",
    )
    merge: Annotated[str, Meta(max_length=2**12)] = _key(
        "",
        "Look-alikes that are labeled alike: '0O,1Il' replaces O by 0, and I and l by 1. Groups "
        "are separated by commas and converted to data.case.",
    )
    normalize: Literal["auto", "set", "image", ""] = _key(
        "auto",
        "Normalize by mean and standard deviation of the training 'set' or of each 'image'. auto: "
        "by image if brightness or contrast vary by more than a tenth, else by set. Empty: "
        "pixel / 255.",
    )
    label_pattern: Annotated[str, Meta(max_length=200)] = _key(
        "",
        "A regular expression whose only group matches the label in a file name without its "
        "extension. Empty: the label ends at the first underscore.",
    )
    test_size: Annotated[int, Meta(ge=0, le=10**8)] = _key(
        0,
        "Images held out for testing, at most a third of the data set. They are the same for every "
        "split, fold and train_size. 0 for none.",
    )
    val_fraction: Annotated[float, Meta(ge=0, lt=1)] = _key(
        0.1,
        "Share of the images in the validation part, unless data.num_folds is set or the data set "
        "has its own: see data.val_dir. 0 for none (of a stream: one image): the scores are then "
        "those of training images.",
    )
    min_val_size: Annotated[int, Meta(ge=0, le=10**8)] = _key(
        0, "Train on the images of a validation part that would have fewer images than this."
    )
    split_seed: schema.Seed = _key(0, "The seed of the split.")
    num_folds: Annotated[int, Meta(ge=0, le=10**6)] = _key(
        0, "Number of folds of a cross-validation; 0 for none."
    )
    fold: Annotated[int, Meta(ge=0, le=10**6)] = _key(
        0, "Index of the fold that is the validation part, from 0."
    )
    train_size: Annotated[int, Meta(ge=0, le=10**8)] = _key(
        0, "Number of training images, the first of the shuffled training part; 0 for all."
    )
    use_labels: bool = _key(
        True,
        "Train with the labels of data.dir. If False, the reader of train.init_from labels the "
        "images, and file names have no meaning: see training/self_training.py.",
    )
    unlabeled: schema.Path = _key(
        "",
        "A folder of unlabeled training images. From the second epoch on, the reader labels them "
        "itself. 'rest': the training images beyond data.train_size, without their labels.",
    )

    @property
    def folding(self) -> charset.Folding:
        """The map of symbols by data.case and data.merge. ConfigError if they are invalid."""
        return charset.parse_folding(self.case, self.merge, "data.")


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random distortions of training images.

    Each value is the limit of a range from which every image draws its own strength; 0 turns the
    distortion off.
    """

    shift: schema.Share = _key(0.05, "Shift in both directions, as a share of the height.")
    rotate: Annotated[float, Meta(ge=0, le=180)] = _key(3.0, "Rotation, in degrees.")
    scale: Annotated[float, Meta(ge=0, le=0.9)] = _key(0.08, "Change of size, for each axis.")
    shear: Annotated[float, Meta(ge=0, le=2)] = _key(
        0.1, "Offset along the width for each unit of height."
    )
    ripple: schema.Share = _key(0.0, "Amplitude of a sine warp, as a share of the height.")
    thickness: schema.Share = _key(
        0.0, "1 makes dark strokes up to a pixel wider or thinner per side."
    )
    lines: Annotated[int, Meta(ge=0, le=100)] = _key(0, "Maximum number of straight lines.")
    blur: schema.Share = _key(0.0, "1 is a mean over 3x3 pixels.")
    contrast: schema.Share = _key(0.0, "Relative change of a pixel's difference from the mean.")
    brightness: schema.Share = _key(0.0, "Change, as a share of the range from black to white.")
    noise: schema.Share = _key(
        0.0, "Standard deviation of Gaussian noise, as a share of the range from black to white."
    )

    @property
    def is_on(self) -> bool:
        return any(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    conv_features: schema.Layers = _key(
        (32, 64), "One 3x3 convolution, ReLU and 2x2 max-pooling (or model.pool) for each entry."
    )
    pool: schema.Pools = _key(
        "",
        "Max-pooling of each convolution, width x height, instead of 2x2 after each: '2x2 1x1 1x2' "
        "for three convolutions.",
    )
    dense_features: schema.Units = _key(64, "Units of the dense layer.")
    lstm_units: schema.Layers = _key(
        (128, 64), "One bidirectional LSTM for each entry, with this many units per direction."
    )
    dropout: schema.Dropout = _key(0.2, "Dropout rate after the dense layer.")
    lstm_dropout: schema.Dropout = _key(0.25, "Dropout rate of each LSTM's input.")
    norm: Literal["", "layer"] = _key(
        "", "'layer' adds a layer norm, which has parameters, after each convolution."
    )
    cell: Literal["lstm", "gru"] = _key("lstm", "The recurrent cell; gru has fewer parameters.")

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
    name: Literal["sgd", "adam"] = _key("sgd", "adam uses optimizer.momentum as b1.")
    learning_rate: Annotated[float, Meta(gt=0, le=1000)] = _key(
        0.004, "Peak learning rate of the schedule."
    )
    momentum: Annotated[float, Meta(ge=0, le=0.9999)] = _key(0.9, "Momentum.")
    nesterov: bool = _key(True, "Nesterov momentum.")
    clip_norm: Annotated[float, Meta(ge=0, le=1e9)] = _key(
        5.0, "Maximum global norm of the gradients; 0 turns clipping off."
    )
    clip_each: bool = _key(False, "Clip each variable by its own norm, not the global norm.")
    trust_ratio: bool = _key(
        True, "Scale the gradient of each variable to the norm of the variable (LARS)."
    )
    warmup_steps: Annotated[int, Meta(ge=0, le=10**8)] = _key(
        100, "Steps of linear warmup to the peak, at most half of the run."
    )
    schedule: Literal["cosine", "constant"] = _key(
        "cosine", "After warmup: cosine falls to 0 at the last epoch, constant stays at the peak."
    )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    by_length: bool = _key(
        False, "Divide an image's loss by the length of its label and multiply by the mean length."
    )
    entropy: Annotated[float, Meta(ge=0, le=100)] = _key(
        0.0, "Weight of the entropy of the outputs, which is subtracted from the loss."
    )


@dataclasses.dataclass(frozen=True)
class FlatStartConfig:
    """The first steps minimize a frame-wise cross-entropy against a segmentation of the label.

    The segmentation follows the ink. Augmentation and dropout are off until the flat start ends.
    """

    until: schema.Share = _key(
        0.85, "Fade out once the loss is below this share of a uniform guess's; 0 turns it off."
    )
    max_steps: schema.Steps = _key(
        500, "Fade out after this many steps, or a third of the run, at most."
    )
    fade_steps: schema.Steps = _key(20, "The weight is multiplied by 1 - 1 / fade_steps per step.")
    trim: Annotated[float, Meta(ge=0, lt=0.5)] = _key(
        0.02, "Share of the ink at either end that does not count as text."
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    batch_size: schema.Batch = _key(16, "Images per training step.")
    epochs: Annotated[int, Meta(ge=1, le=10**6)] = _key(24, "Epochs of the schedule.")
    min_steps_per_epoch: Annotated[int, Meta(ge=0, le=10**6)] = _key(
        0,
        "Minimum number of steps per epoch; an epoch passes over a small data set several times. "
        "0 for one pass.",
    )
    passes_per_epoch: Annotated[int, Meta(ge=1, le=10**4)] = _key(
        1, "Minimum passes over the labeled images per epoch; more than 1 balances unlabeled ones."
    )
    min_confidence: schema.Share = _key(
        0.9,
        "Train on an unlabeled image if the reader's confidence is at least this, or among the "
        "highest tenth.",
    )
    stop_after: schema.Epochs = _key(0, "Stop after this many epochs of the schedule; 0 for all.")
    init_from: schema.Path = _key(
        "", "Start from the best weights of this run directory, without a flat start."
    )
    patience: schema.Epochs = _key(
        10, "Stop after this many epochs without a better validation loss; 0 for never."
    )
    checkpoint_selection: Literal["best", "last"] = _key(
        "best",
        "Which weights are kept and scored: those of the lowest validation loss, or the last.",
    )
    ema_decay: schema.Rate = _key(
        0.98, "Decay of the exponential moving average (EMA) of the weights; 0 for none."
    )
    eval_batch_size: schema.Batch = _key(64, "Images per evaluation step.")


@dataclasses.dataclass(frozen=True)
class LogConfig:
    every_steps: schema.Steps = _key(
        20, "Steps between lines of metrics.jsonl, and between checks that the loss is finite."
    )
    tensorboard: bool = _key(False, "Also write TensorBoard files; needs tensorboardX.")


def _section(kind: type) -> Any:
    return dataclasses.field(default_factory=kind)


@dataclasses.dataclass(frozen=True)
class Config:
    seed: schema.Seed = _key(0, "Root seed of initial weights, data order, dropout, ...")
    data: DataConfig = _section(DataConfig)
    augment: AugmentConfig = _section(AugmentConfig)
    model: ModelConfig = _section(ModelConfig)
    optimizer: OptimizerConfig = _section(OptimizerConfig)
    loss: LossConfig = _section(LossConfig)
    flat_start: FlatStartConfig = _section(FlatStartConfig)
    train: TrainConfig = _section(TrainConfig)
    log: LogConfig = _section(LogConfig)
