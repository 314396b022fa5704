"""Downloads the default data set from the repository of the Keras example, checks and unpacks it.

The network is used only on request: docs/explanation/security.md lists the commands that use it.
"""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
from pathlib import Path, PurePosixPath

from crnn_jax.data import archive as archive_lib
from crnn_jax.data import download, image_io
from crnn_jax.data.listing import label_of
from crnn_jax.errors import DataError, brief
from crnn_jax.runtime import files, staging

URL = "https://github.com/AakashKumarNain/CaptchaCracker/raw/master/captcha_images_v2.zip"
COUNT, SIZE, LENGTH, SYMBOLS = 1040, (200, 50), 5, "2345678bcdefgmnpwxy"
MOST = 64 << 20  # maximum bytes of the archive and of its images, six times the actual size
MOST_ENTRIES = 20_000


def fetch(url: str, folder: str | os.PathLike[str], pause: float = 1.0) -> bool:
    """Downloads a zip archive of the data set and unpacks its images into `folder`.

    An interrupted download is resumed a few times (see `download.download` for `pause`). If that
    fails, the partial file stays beside the folder, and the next call resumes it. The folder is
    created only after all images have been checked.

    Returns:
      False if the folder exists and is not empty; then nothing is downloaded.

    Raises:
      DataError: the download failed, or the archive is not the data set.
      RunError: the folder cannot be written.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        return False
    with staging.directory(folder) as unpacked:
        partial = unpacked.with_name(f"{unpacked.name.removesuffix(staging.SUFFIX)}.zip.partial")
        download.download(url, partial, MOST, pause)
        try:
            unpack(partial, unpacked)
        except DataError as error:
            partial.unlink()  # so that the next call does not resume it
            raise DataError(f"{brief(url)}: {error}") from error
    with contextlib.suppress(OSError):
        partial.unlink()
    return True


def unpack(path: Path, folder: Path) -> None:
    """Checks an archive of the data set and writes its images to `folder` by their base names.

    Raises:
      DataError: the archive cannot be read or is not the data set.
      RunError: an image cannot be written.
    """
    try:
        content = files.read(path, MOST)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    archive, entries = archive_lib.entries(content, MOST_ENTRIES)
    images = [(name, entry) for entry in entries if (name := _image_name(entry))]
    if sum(entry.file_size for _, entry in images) > MOST:
        raise DataError(f"the archive unpacks to more than {MOST >> 20} MiB")
    if len({name.casefold() for name, _ in images}) < len(images):
        raise DataError("the archive has two images with the same name")
    if len(images) != COUNT:
        raise DataError(f"the archive contains {len(images)} images, not {COUNT}")
    for name, _ in images:
        label = label_of(name)
        if len(label) != LENGTH or not set(label) <= set(SYMBOLS):
            raise DataError(f"the name {brief(name, 100)} is not {LENGTH} of the symbols {SYMBOLS}")
    for name, entry in images:
        image = archive_lib.read(archive, entry, MOST)
        try:
            size = image_io.open_image(image).size
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        if size != SIZE:
            raise DataError(f"{name} has {size[0]}x{size[1]} pixels, not {SIZE[0]}x{SIZE[1]}")
        try:
            (folder / name).write_bytes(image)
        except OSError as error:
            raise files.unwritable(folder / name, error) from error


def _image_name(entry: zipfile.ZipInfo) -> str | None:
    """The base name of an image; None for other entries. DataError for a link or a bad path."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    shown = brief(entry.filename, 100)
    if path.is_absolute() or ".." in path.parts or any(":" in part for part in path.parts[:1]):
        raise DataError(f"the archive has a path that leads out of its folder: {shown}")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise DataError(f"the archive has a symbolic link: {shown}")
    is_hidden = any(part.startswith((".", "__MACOSX")) for part in path.parts)
    if entry.filename.endswith("/") or is_hidden or path.suffix.lower() != ".png":
        return None
    return path.name
