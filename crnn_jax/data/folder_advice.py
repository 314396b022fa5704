"""What to do about a folder that does not exist or contains no images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from crnn_jax.data.label_file_names import PACKED
from crnn_jax.errors import DataError, one_line

# By suffix: the form of the data, and what to do. Compound suffixes such as .tar.gz end in one.
_ADVICE = {
    **dict.fromkeys(PACKED, "unpack archives first"),
    **dict.fromkeys(
        (".mdb", ".lmdb"), "write the images and labels of the LMDB database to files first"
    ),
    ".arrow": "save the data set as parquet first, with `to_parquet` of the package datasets",
    **dict.fromkeys(
        (".npy", ".npz", ".h5", ".hdf5", ".mat", ".pkl", ".tfrecord", ".rec"),
        "write the images of arrays and records to PNG files first",
    ),
    "": "add the extension, such as .png, to the names of images",
}

_WHERE_TO_GET_IT = (
    "The default set is 'CAPTCHA Version 2 Images' (1040 PNGs of five characters; on Kaggle: "
    "fournierp/captcha-version-2-images; R. Wilhelmy and H. Rosas, 2013). `crnn-jax "
    "fetch` downloads it to data/captcha_images_v2. Or train on generated images with "
    "--config.data.source=synthetic, or on a folder of your own, with images named by their text, "
    "with --config.data.dir=FOLDER"
)


def check(folder: Path) -> None:
    """Raises DataError unless `folder` is an existing folder."""
    if not folder.exists():
        raise DataError(f"there is no folder {one_line(str(folder))}{hint(folder)}")
    if not folder.is_dir():
        raise DataError(f"{one_line(str(folder))} is a file, not a folder of images{hint(folder)}")


def check_for_training(folder: Path) -> None:
    """Like `check`, and the folder must not be empty. The error says where to get a data set."""
    try:
        check(folder)
        with os.scandir(folder) as entries:
            if any(entries):
                return
    except OSError:  # reported when the folder is listed
        return
    except DataError as error:
        if folder.exists():  # a file
            raise
        raise DataError(f"{error}. {_WHERE_TO_GET_IT}") from error
    raise DataError(f"{one_line(str(folder))} contains no images. {_WHERE_TO_GET_IT}")


def hint(folder: Path) -> str:
    """Returns what to do about a path that is not a folder: `; ...`, or "" if it is not known."""
    if folder.is_file():
        return "; unpack it first" if folder.suffix.lower() in PACKED else ""
    if str(folder).startswith("~"):
        return "; write the whole path, because the shell has not expanded ~"
    return ""


def other_files(names: Sequence[str]) -> str:
    """Describes the files of a folder without images, with advice for known forms of data."""
    suffixes = Counter(Path(name).suffix.lower() for name in names).most_common(3)
    kinds = ", ".join(f"{n} {one_line(kind) or 'without an extension'}" for kind, n in suffixes)
    advice = dict.fromkeys(_ADVICE[kind] for kind, _ in suffixes if kind in _ADVICE)
    return "; ".join([f"it has other files: {kinds}", *advice])
