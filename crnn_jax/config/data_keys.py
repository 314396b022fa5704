"""The keys of the section `data`; see `keys`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal, TypeAlias, get_args

from msgspec import Meta

from crnn_jax import charset, schema

AUTO = 0  # value of data.width
AUTO_WIDTHS = (3, 4, 6)  # times the height; few, because a program is compiled for each
LABELS = "labels"  # value of data.length
BY_LABELS = "auto"  # value of data.direction
# What to read from an animation: one of its frames, or the darkest or mean value of each pixel.
Frame: TypeAlias = Literal["first", "last", "darkest", "mean"]
FRAMES: tuple[str, ...] = get_args(Frame)
# Values that are replaced when the data is known: see data/resolve.py.
LEFT_TO_DATA = {
    "data.source": "auto",
    "data.width": AUTO,
    "data.length": LABELS,
    "data.direction": BY_LABELS,
}
# Keys that do not change the results of a run.
NO_EFFECT_ON_RESULTS = ("data.memory_limit", "data.workers")
DEFAULT_DIR = "data/captcha_images_v2"  # where the README puts the default data set


def auto_widths(height: int) -> list[int]:
    """Returns the widths that data.width=auto chooses from, in pixels, the smallest first."""
    return [times * height for times in AUTO_WIDTHS]


def key(default: Any, meaning: str) -> Any:
    """Declares a key with its default and its meaning."""
    return dataclasses.field(default=default, metadata={"meaning": meaning})


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The images, their labels, and the split."""

    source: Literal["auto", "folder", "synthetic", "stream", "mixture"] = key(
        "auto",
        "folder: data.dir. synthetic: data.count generated images. stream: new ones every epoch. "
        "mixture: the folder, with generated images added to its training part. auto: the folder, "
        "or generated images if the default folder does not exist.",
    )
    dir: schema.Path = key(
        DEFAULT_DIR,
        "A folder of images, also in subfolders, named by their text (226md.png) or with a label "
        "file such as labels.csv: see data/label_files.py for the formats.",
    )
    val_dir: schema.Path = key(
        "",
        "A folder with the validation part. If empty: the folder val in data.dir, the rows of the "
        "label file whose split is val, or else a part of data.dir: see data.val_fraction.",
    )
    style: schema.Path = key(
        "captcha_v2",
        "How generated images look: captcha_v2, plain, confetti, noisy, crowded or night, a .json "
        "file, 'wide' (each image in a style of its own), or an .npz file of faces for 'wide'.",
    )
    count: Annotated[int, Meta(ge=2, le=10**7)] = key(
        1040,
        "Number of generated images, including the validation part; for a stream, the number per "
        "epoch.",
    )
    synthetic_seed: schema.Seed = key(
        0, "Seed of generated images: with data.style and i, it determines image i."
    )
    generated_share: Annotated[float, Meta(gt=0, le=0.99)] = key(
        0.5, "Share of generated images in the training part of a mixture."
    )
    width: schema.Width = key(
        200,
        "Images are resized to this width, in pixels. 0 or auto: 3, 4 or 6 times the height, by "
        "the aspect ratio of the training images.",
    )
    height: schema.Size = key(50, "Images are resized to this height, in pixels.")
    channels: Literal[1, 3] = key(1, "1 for gray, 3 for color.")
    crop: bool = key(False, "Crop images to their text before they are resized: see data/crop.py.")
    frame: Literal["", Frame] = key(
        "",
        "What to read from an animation: the first or last frame, or the darkest or mean value of "
        "each pixel. Empty: animations are refused.",
    )
    alphabet: Annotated[str, Meta(max_length=2**16)] = key(
        "", "The symbols; empty for the sorted characters of the labels."
    )
    direction: Literal["auto", "ltr", "rtl"] = key(
        "auto",
        "How labels are written. ltr: in the order of the image. rtl: as Hebrew or Arabic is "
        "typed, the first letter first, which is on the right of the image. auto: rtl if there "
        "are such letters.",
    )
    marks: Literal["separate", "joined"] = key(
        "separate",
        "Combining marks, as in Thai, Hindi or Hebrew with vowel points. separate: each is a "
        "symbol of its own. joined: a letter and its marks are one symbol, also in data.alphabet "
        "and data.length.",
    )
    length: schema.Lengths = key(
        "",
        "Number of characters in a text: a number such as 5, or a range such as 4-6. The reader "
        "then returns only such texts. labels: taken from the training labels, see "
        "data/text_lengths.py. Empty: any.",
    )
    case: Literal["keep", "lower", "upper"] = key(
        "keep", "Convert labels to lower or upper case, so that the alphabet has only one case."
    )
    allow_empty: bool = key(
        False,
        "Allow images without text: an empty label is valid, and an empty reading counts as an "
        "answer. Otherwise an empty label is an error, and an empty reading is not answered.",
    )
    complete_alphabet: bool = key(
        False,
        "Add symbols that are not in the labels of a folder: all ASCII digits, uppercase or "
        "lowercase letters if the labels contain two of them. data.alphabet takes precedence.",
    )
    merge: Annotated[str, Meta(max_length=2**12)] = key(
        "",
        "Look-alikes that are labeled alike: '0O,1Il' replaces O by 0, and I and l by 1. Groups "
        "are separated by commas and converted to data.case.",
    )
    normalize: Literal["auto", "set", "image", ""] = key(
        "auto",
        "Normalize by mean and standard deviation of the training 'set' or of each 'image'. auto: "
        "by image if brightness or contrast vary by more than a tenth, else by set. Empty: "
        "pixel / 255.",
    )
    label_pattern: Annotated[str, Meta(max_length=200)] = key(
        "",
        "A regular expression whose only group matches the label in a file name without its "
        "extension. Empty: the label ends at the first underscore.",
    )
    test_size: Annotated[int, Meta(ge=0, le=10**8)] = key(
        0,
        "Images held out for testing, at most a third of the data set. They are the same for every "
        "split, fold and train_size. 0 for none.",
    )
    val_fraction: Annotated[float, Meta(ge=0, lt=1)] = key(
        0.1,
        "Share of the images in the validation part, unless data.num_folds is set or the data set "
        "has its own: see data.val_dir. With 0, there is no validation part (a stream keeps one "
        "image), and the scores are those of training images.",
    )
    min_val_size: Annotated[int, Meta(ge=0, le=10**8)] = key(
        0,
        "Minimum size of the validation part. A smaller one joins the training part, unless the "
        "data set has its own.",
    )
    split_seed: schema.Seed = key(0, "The seed of the split.")
    num_folds: Annotated[int, Meta(ge=0, le=10**6)] = key(
        0, "Number of folds of a cross-validation; 0 for none."
    )
    fold: Annotated[int, Meta(ge=0, le=10**6)] = key(
        0, "Index of the fold that is the validation part, from 0."
    )
    train_size: Annotated[int, Meta(ge=0, le=10**8)] = key(
        0, "Number of training images, the first of the shuffled training part; 0 for all."
    )
    use_labels: bool = key(
        True,
        "Train with the labels of data.dir. If False, the reader of train.init_from labels the "
        "images, and file names have no meaning: see training/self_training.py.",
    )
    unlabeled: schema.Path = key(
        "",
        "A folder of unlabeled training images. From the second epoch on, the reader labels them "
        "itself. 'rest': the training images beyond data.train_size, without their labels.",
    )

    memory_limit: Annotated[float, Meta(ge=0, le=2**20)] = key(
        0.0,
        "GiB of memory for the pixels of a data set, of which each device holds a copy. The images "
        "of a larger pack are read from the disk in every epoch, see data/feed.py; other folders "
        "are refused. 0: a third of the free memory; with N CPU devices, 1 / (N + 2) of it. The "
        "results do not depend on it.",
    )
    workers: Annotated[int, Meta(ge=0, le=1024)] = key(
        1,
        "Processes that decode the images of a pack during training, if it is larger than "
        "data.memory_limit. 0: threads of the training process.",
    )

    @property
    def lengths(self) -> tuple[int, int] | None:
        """The smallest and the largest number of characters of a text; None for any."""
        if self.length in ("", LABELS):
            return None
        shortest, _, longest = self.length.partition("-")
        return int(shortest), int(longest or shortest)

    @property
    def folding(self) -> charset.Folding:
        """The map of symbols by data.case and data.merge. ConfigError if they are invalid."""
        return charset.parse_folding(self.case, self.merge, "data.")
