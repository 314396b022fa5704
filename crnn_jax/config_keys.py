"""The configuration: every key with its type, its range, its default and its meaning.

Parsing, error messages (config.py), the defaults of `experiments/base.py` and the table printed by
`python -m crnn_jax keys` are derived from these declarations. A new key needs, besides its
declaration here:

- its value in older records, in `runs/config_migrations.py` (`CAME`);
- code that uses it. The compiled step gets all keys of `loss`, `flat_start` and `augment`; other
  keys that it needs are fields of `Recipe` (training/step.py);
- a rule in `_check_limits` (config.py) if its value depends on other keys.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any, Literal

from msgspec import Meta

from crnn_jax import charset, schema

DEFAULT_DIR = "data/captcha_images_v2"  # where the README puts the default data set
MAX_PIXELS = 2**20  # of an image

_Seed = schema.Seed
_Share = schema.Share
_Rate = Annotated[float, Meta(ge=0, lt=1)]
_Dropout = Annotated[float, Meta(ge=0, le=0.99)]  # float32 rounds 1 - 1e-9 to 1
_Size = Annotated[  # pixels
    int, Meta(ge=1, le=2**20, extra={"note": f"width times height at most {MAX_PIXELS}"})
]
_Width = Annotated[
    int, Meta(ge=0, le=2**20, extra={"note": f"width times height at most {MAX_PIXELS}"})
]
_Units = Annotated[int, Meta(ge=1, le=2**13)]
_Layers = Annotated[tuple[_Units, ...], Meta(min_length=1, max_length=16)]
_Pools = Annotated[
    str,
    Meta(
        max_length=128,
        pattern="^((1x1|1x2|2x2)( (?!$)|$))*$",
        extra={"what": "1x1, 1x2 or 2x2 for each convolution, separated by spaces: text"},
    ),
]
_Batch = Annotated[int, Meta(ge=1, le=2**16)]
_Steps = Annotated[int, Meta(ge=1, le=10**8)]
_Epochs = Annotated[int, Meta(ge=0, le=10**6)]
# No NUL, and no surrogates except those that stand for the bytes of a file name.
_Path = Annotated[str, Meta(max_length=4096, pattern="\\A[^\\0\\ud800-\\udc7f\\udd00-\\udfff]*\\Z")]

# Renamed keys, by old name. runs/config_migrations.py translates the records of older runs.
# Elsewhere an old name is an error that names the new one.
RENAMED = {
    "data.standardise": "data.normalize",
    "train.average_decay": "train.ema_decay",
    "train.least_steps": "train.min_steps_per_epoch",
    "train.weights": "train.checkpoint_selection",
}


def _key(default: Any, meaning: str) -> Any:
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class DataConfig:
    source: Literal["auto", "folder", "synthetic", "stream", "mixture"] = _key(
        "auto",
        "folder: data.dir. synthetic: data.count generated images. stream: new ones every epoch. "
        "mixture: the folder, with generated images added to its training part. auto: the folder, "
        "or a generated set if the default folder does not exist.",
    )
    dir: _Path = _key(
        DEFAULT_DIR, "A folder of images named by their text (226md.png) or with a labels.csv."
    )
    style: _Path = _key(
        "captcha_v2",
        "How generated images look: a preset of data/synthetic/, a .json file, 'wide', or an .npz "
        "file of faces for the wide generator.",
    )
    count: Annotated[int, Meta(ge=2, le=10**7)] = _key(
        1040, "Generated images of a set, or of an epoch of a stream, validation included."
    )
    synthetic_seed: _Seed = _key(0, "Image i of a seed and a style is always the same.")
    generated_share: Annotated[float, Meta(gt=0, le=0.99)] = _key(
        0.5, "Share of generated images in the training part of a mixture."
    )
    width: _Width = _key(
        200,
        "Images are resized to this width, in pixels. 0 or auto: 3 to 7 times the height, by the "
        "aspect ratio of the training images.",
    )
    height: _Size = _key(50, "Images are resized to this height, in pixels.")
    channels: Literal[1, 3] = _key(1, "1 for gray, 3 for color.")
    crop: bool = _key(
        False, "Images are cropped to their text before they are resized: see data/crop.py."
    )
    frame: Literal["", "first", "last", "darkest", "mean"] = _key(
        "",
        "What is read of an animation: its first or last frame, or the darkest or the mean value "
        "of each pixel over all frames. Empty: animations are refused.",
    )
    alphabet: Annotated[str, Meta(max_length=2**16)] = _key(
        "", "The symbols; empty for the sorted characters of the labels."
    )
    case: Literal["keep", "lower", "upper"] = _key(
        "keep", "Labels are brought to lower or upper case, so that the reader knows one case only."
    )
    allow_empty: bool = _key(
        False,
        "Images without text are labels too, and the reader can be certain of them. Otherwise an "
        "empty label is an error, and an empty reading is never an answer.",
    )
    complete_alphabet: bool = _key(
        False,
        "Add symbols that the labels of a folder lack: all digits, all capitals or all small "
        "letters of ASCII if they have two of them. data.alphabet goes before.",
    )
    merge: Annotated[str, Meta(max_length=2**12)] = _key(
        "",
        "Look-alikes that labels do not tell apart: '0O,1Il' writes 0 for O, and 1 for I and l. "
        "Groups are separated by commas and brought to data.case.",
    )
    normalize: Literal["auto", "set", "image", ""] = _key(
        "auto",
        "Normalize by mean and standard deviation of the training 'set' or of each 'image'. auto: "
        "by image if brightness or contrast differ by more than a tenth, else by set. Empty: "
        "pixel / 255.",
    )
    label_pattern: Annotated[str, Meta(max_length=200)] = _key(
        "",
        "A regular expression whose one group finds the label in a file name without its "
        "extension. Empty: the label ends at the first underscore.",
    )
    test_size: Annotated[int, Meta(ge=0, le=10**8)] = _key(
        0,
        "Images held back for testing, at most a third of the set: the same ones for every split, "
        "fold and train_size. 0 for none.",
    )
    val_fraction: Annotated[float, Meta(ge=0, lt=1)] = _key(
        0.1,
        "Share of the images in the validation part, unless data.num_folds is set. 0 for none (of "
        "a stream: one image): the scores are then those of training images.",
    )
    min_val_size: Annotated[int, Meta(ge=0, le=10**8)] = _key(
        0, "A validation part of fewer images is left out, and they are trained on."
    )
    split_seed: _Seed = _key(0, "The seed of the split.")
    num_folds: Annotated[int, Meta(ge=0, le=10**6)] = _key(
        0, "The number of folds of a cross-validation; 0 for none."
    )
    fold: Annotated[int, Meta(ge=0, le=10**6)] = _key(
        0, "The fold that is the validation part, counted from 0."
    )
    train_size: Annotated[int, Meta(ge=0, le=10**8)] = _key(
        0, "Images to train on, the first of the shuffled training part; 0 for all."
    )
    use_labels: bool = _key(
        True,
        "Train with the labels of data.dir. Without, its files may have any names, and the reader "
        "of train.init_from labels them: see training/self_training.py.",
    )
    unlabeled: _Path = _key(
        "",
        "A folder of images to train on that the reader itself labels, after an epoch. 'rest': the "
        "training images beyond data.train_size, without their labels.",
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

    shift: _Share = _key(0.05, "Shift in both directions, as a share of the height.")
    rotate: Annotated[float, Meta(ge=0, le=180)] = _key(3.0, "Rotation, in degrees.")
    scale: Annotated[float, Meta(ge=0, le=0.9)] = _key(0.08, "Change of size, for each axis.")
    shear: Annotated[float, Meta(ge=0, le=2)] = _key(
        0.1, "Offset along the width for each unit of height."
    )
    ripple: _Share = _key(0.0, "Amplitude of a sine warp, as a share of the height.")
    thickness: _Share = _key(0.0, "1 lets dark strokes grow or shrink by a pixel on each side.")
    lines: Annotated[int, Meta(ge=0, le=100)] = _key(0, "Up to so many straight lines across.")
    blur: _Share = _key(0.0, "1 is a mean over 3x3 pixels.")
    contrast: _Share = _key(0.0, "Share of a pixel's difference from the image's mean.")
    brightness: _Share = _key(0.0, "Share of the range from black to white.")
    noise: _Share = _key(
        0.0, "Standard deviation of Gaussian noise, as a share of the range from black to white."
    )

    @property
    def is_on(self) -> bool:
        return any(dataclasses.asdict(self).values())


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    conv_features: _Layers = _key(
        (32, 64), "One 3x3 convolution, ReLU and 2x2 max-pooling (or model.pool) for each entry."
    )
    pool: _Pools = _key(
        "",
        "Max-pooling of each convolution, width x height, instead of 2x2 after each: '2x2 1x1 1x2' "
        "for three convolutions.",
    )
    dense_features: _Units = _key(64, "Units of the dense layer.")
    lstm_units: _Layers = _key(
        (128, 64), "One bidirectional LSTM for each entry, with so many units in each direction."
    )
    dropout: _Dropout = _key(0.2, "Dropout rate after the dense layer.")
    lstm_dropout: _Dropout = _key(0.25, "Dropout rate of each LSTM's input.")
    norm: Literal["", "layer"] = _key(
        "", "'layer' adds a layer norm after each convolution, and parameters."
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
    name: Literal["sgd", "adam"] = _key("sgd", "adam takes optimizer.momentum as its first decay.")
    learning_rate: Annotated[float, Meta(gt=0, le=1000)] = _key(0.04, "The peak of the schedule.")
    momentum: Annotated[float, Meta(ge=0, le=0.9999)] = _key(0.9, "Momentum.")
    nesterov: bool = _key(True, "Nesterov momentum.")
    clip_norm: Annotated[float, Meta(ge=0, le=1e9)] = _key(
        5.0, "Gradients of a larger global norm are scaled down to it; 0 turns it off."
    )
    clip_each: bool = _key(False, "Take the norm of each variable instead of the global one.")
    trust_ratio: bool = _key(
        False, "Scale the gradient of each variable to the variable's norm (LARS)."
    )
    warmup_steps: Annotated[int, Meta(ge=0, le=10**8)] = _key(
        100, "Steps of linear rise to the peak, at most half of the run."
    )
    schedule: Literal["cosine", "constant"] = _key(
        "cosine", "After the warm-up: cosine falls to 0 at the last epoch, constant stays."
    )


@dataclasses.dataclass(frozen=True)
class LossConfig:
    by_length: bool = _key(
        False, "Divide an image's loss by the length of its label, and multiply by the mean length."
    )
    entropy: Annotated[float, Meta(ge=0, le=100)] = _key(
        0.0, "Weight of the entropy of the outputs, which is rewarded."
    )


@dataclasses.dataclass(frozen=True)
class FlatStartConfig:
    """The first steps minimize a frame-wise cross-entropy against a segmentation of the label.

    The segmentation follows the ink. Augmentation and dropout are off until the flat start ends.
    """

    until: _Share = _key(
        0.85, "Fade out once the loss is below this share of that of an even guess; 0 turns it off."
    )
    max_steps: _Steps = _key(500, "Fade out after this many steps, or a third of the run, at most.")
    fade_steps: _Steps = _key(20, "Its weight falls by a factor of 1 - 1 / fade_steps each step.")
    trim: Annotated[float, Meta(ge=0, lt=0.5)] = _key(
        0.02, "Share of the ink at either end that is not taken for text."
    )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    batch_size: _Batch = _key(16, "Images in a training step.")
    epochs: Annotated[int, Meta(ge=1, le=10**6)] = _key(24, "Epochs of the schedule.")
    min_steps_per_epoch: Annotated[int, Meta(ge=0, le=10**6)] = _key(
        0,
        "An epoch has at least so many steps: it passes over a small set as often as that takes. 0 "
        "for one pass.",
    )
    passes_per_epoch: Annotated[int, Meta(ge=1, le=10**4)] = _key(
        1, "Passes over the labeled images in an epoch; it can be more if others have no labels."
    )
    min_confidence: _Share = _key(
        0.9,
        "An image without a label is trained on if the reader's confidence is at least this, or "
        "among the highest tenth.",
    )
    stop_after: _Epochs = _key(0, "End after this many epochs of the schedule; 0 for all.")
    init_from: _Path = _key(
        "", "Start from the best weights of this run directory, without a flat start."
    )
    patience: _Epochs = _key(
        10, "Stop after this many epochs without a better validation loss; 0 for never."
    )
    checkpoint_selection: Literal["best", "last"] = _key(
        "best", "Which weights are kept and scored: of the least validation loss or of the end."
    )
    ema_decay: _Rate = _key(
        0.98, "Decay of the exponential moving average (EMA) of the weights; 0 for none."
    )
    eval_batch_size: _Batch = _key(64, "Images in an evaluation step.")


@dataclasses.dataclass(frozen=True)
class LogConfig:
    every_steps: _Steps = _key(
        20, "Steps between two lines of metrics.jsonl and checks that the loss is finite."
    )
    tensorboard: bool = _key(False, "Write event files too; needs tensorboardX.")


def _section(kind: type) -> Any:
    return dataclasses.field(default_factory=kind)


@dataclasses.dataclass(frozen=True)
class Config:
    seed: _Seed = _key(0, "The root of the random streams of initial weights, order, dropout, ...")
    data: DataConfig = _section(DataConfig)
    augment: AugmentConfig = _section(AugmentConfig)
    model: ModelConfig = _section(ModelConfig)
    optimizer: OptimizerConfig = _section(OptimizerConfig)
    loss: LossConfig = _section(LossConfig)
    flat_start: FlatStartConfig = _section(FlatStartConfig)
    train: TrainConfig = _section(TrainConfig)
    log: LogConfig = _section(LogConfig)
