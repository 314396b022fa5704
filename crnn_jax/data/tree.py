"""Lists the images below a folder, and finds the image that a row of a label file names."""

from __future__ import annotations

import bisect
import functools
import os
import re
import unicodedata
import urllib.parse
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from crnn_jax.data import part_names
from crnn_jax.data.image_io import IMAGE_SUFFIXES
from crnn_jax.errors import DataError
from crnn_jax.runtime import files

MAX_FILES = 2**21
# Left behind by operating systems and file managers; compared in lower case.
_IGNORED = frozenset([
    "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "icon\r", "zbthumbnail.info", "folder.htt",
])  # fmt: skip
_IGNORED_FOLDERS = frozenset([
    "__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found",
    "__pycache__",
])  # fmt: skip
_RUN = {"config.json", "environment.json"}  # files of a run directory, which is no data


class AmbiguousError(ValueError):
    """A row names an image that could be one of several."""


class _SameName(NamedTuple):
    """Images with the same file name, grouped by the folders above them (keys joined with `/`)."""

    inside: dict[str, list[str]]  # by their whole folder path
    below: dict[str, list[str]]  # by each ending of it


class Tree:
    """The files below a folder, by their names relative to it, with `/` between the parts."""

    def __init__(self, folder: Path, excluded: Path | None = None) -> None:
        """Lists `folder`, without the folder `excluded` below it.

        Raises:
          OSError: a folder cannot be read.
          DataError: there are more than MAX_FILES files.
        """
        self.folder = folder
        self.images: list[str] = []  # sorted
        self.dotted: list[str] = []  # images whose names begin with a dot
        self.others: list[str] = []  # sorted, without files created by the operating system
        skip = excluded.resolve() if excluded else None
        self._set_aside = ""  # the folder `excluded`, relative to `folder`
        if skip and skip.is_relative_to(folder.resolve()):
            self._set_aside = skip.relative_to(folder.resolve()).as_posix()
        for name, is_image in _walk(folder, skip):
            base = name.rpartition("/")[2]
            if base.startswith("."):
                self.dotted += [name] * is_image
            elif is_image:
                self.images.append(name)
            else:
                self.others.append(name)
        self.images.sort()
        self.others.sort()
        self._known = frozenset(self.images)
        self._same: dict[tuple[str, bool], _SameName] = {}

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The images by the keys of their file names."""
        found: dict[str, list[str]] = {}
        for image in self.images:
            found.setdefault(_key(image.rpartition("/")[2]), []).append(image)
        return found

    @functools.cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        """The images by the keys of their file names without extension."""
        found: dict[str, list[str]] = {}
        for name, images in self._by_name.items():
            found.setdefault(name.rpartition(".")[0], []).extend(images)
        return found

    @functools.cached_property
    def _by_number(self) -> dict[str, str]:
        """The images whose names are numbers, by the number without leading zeros."""
        numbers = ((_number(image.rpartition("/")[2]), image) for image in self.images)
        return {number: image for number, image in numbers if number}

    @functools.cached_property
    def _parts_of_folders(self) -> set[str]:
        """The parts (train, val, test) that the folders of the images name."""
        folders = {image.rpartition("/")[0] for image in self.images}
        return {part_names.of_path(f"{folder}/image") for folder in folders} - {""}

    def foreign(self) -> list[str]:
        """Returns the other files that are in the same folder as an image."""
        folders = {image.rpartition("/")[0] for image in self.images}
        return [name for name in self.others if name.rpartition("/")[0] in folders]

    def is_set_aside(self, name: str, base: str = "") -> bool:
        """Whether a row of a label file in `base` names a file of the excluded folder."""
        if not self._set_aside:
            return False
        path = os.path.normpath(f"{base}/{name}" if base else name)
        return path.startswith(f"{self._set_aside}/")

    def find(self, name: str, base: str = "", part: str = "") -> str | None:
        """Returns the file that a row of a label file names; None if it does not exist.

        A name is accepted as it is, or if its path and that of the image end alike, as in lists
        from other machines: `C:\\data\\images\\a.png` is `images/a.png` or `a.png`, and `a.png` is
        `images/a.png`. Of an absolute path, the file name alone is enough if only one image has it,
        as in lists of Label Studio: `/data/upload/1/a.png` is `images/a.png`. Case and Unicode
        normalization may differ, and the extension may be missing.

        Args:
          name: the name in the row.
          base: the folder of the label file, relative to the tree.
          part: the part of the data set that the row is about, if it is known. If there is a folder
            with images of this part, images in folders of another part fit only by their path.

        Raises:
          AmbiguousError: several images fit.
          ValueError: the name leads out of the folder, and no image fits.
        """
        literal = f"{base}/{name}" if base and not name.startswith("/") else name
        if ".." in literal.split("/"):  # such as ../images/a.png in a label file in labels
            literal = os.path.normpath(literal)
        if os.path.normpath(literal).replace("\\", "/") in self._known and "\\" not in literal:
            files.inside(self.folder, literal)
            return literal
        error = None
        try:
            path = files.inside(self.folder, literal)
            if name and os.path.lexists(path) and not path.is_dir():
                return literal
        except (ValueError, OSError) as found:
            error = found
        if near := self._fitting(name, base, part):
            return near
        if isinstance(error, ValueError):
            raise error
        return None

    def near(self, name: str) -> str | None:
        """Returns an image that a row may mean by `name`, for messages.

        It has the same file name in another folder, or the same number with other leading zeros.
        """
        base = _key(part_names.split_path(name)[-1:])
        if found := self._by_name.get(base):
            return found[0]
        return self._by_number.get(_number(base))

    def similar(self, name: str) -> str | None:
        """Like `near`. The image can also have another extension, or be the end of an address."""
        plain = urllib.parse.unquote(name.strip())
        for text in (name, plain, plain.partition("?")[0]):
            if found := self.near(text):
                return found
            stem, dot, suffix = _key(part_names.split_path(text)[-1:]).rpartition(".")
            if dot + suffix in IMAGE_SUFFIXES and stem in self._by_stem:
                return self._by_stem[stem][0]
        return None

    def _has_images(self, prefix: str) -> bool:
        place = bisect.bisect_left(self.images, prefix)
        return place < len(self.images) and self.images[place].startswith(prefix)

    def _fitting(self, name: str, base: str, part: str) -> str | None:
        parts = part_names.split_path(name)
        if not parts:
            return None
        key = _key(parts[-1:])
        same = self._same_name(key, False)
        if not same.below and PurePosixPath(parts[-1]).suffix.lower() not in IMAGE_SUFFIXES:
            same = self._same_name(key, True)
        folders = [_key(folder) for folder in parts[:-1]]
        # Either the row is an ending of the image's path, or the path is an ending of the row.
        found = same.below.get("/".join(folders), [])
        ends = ("/".join(folders[start:]) for start in range(1, len(folders) + 1))
        for images in (found, *(same.inside.get(end, []) for end in ends), _alone(name, same)):
            if part in self._parts_of_folders:
                images = [image for image in images if part_names.of_path(image) in ("", part)]
            # A label file beside images describes only these.
            if base and self._has_images(f"{base}/"):
                images = [image for image in images if image.startswith(f"{base}/")]
            if len(images) > 1:
                exact = [image for image in images if image.rpartition("/")[2] == parts[-1]]
                if len(exact) != 1:
                    raise AmbiguousError(
                        f"it matches both {images[0]} and {images[1]}; write the full path"
                    )
                images = exact
            if images:
                return images[0]
        return None

    def _same_name(self, key: str, without_suffix: bool) -> _SameName:
        """Returns the images with a name, by their folders."""
        if known := self._same.get((key, without_suffix)):
            return known
        images = (self._by_stem if without_suffix else self._by_name).get(key, [])
        made = _SameName({}, {})
        for image in images:
            folders = [_key(part) for part in image.split("/")[:-1]]
            made.inside.setdefault("/".join(folders), []).append(image)
            for start in range(len(folders) + 1):
                made.below.setdefault("/".join(folders[start:]), []).append(image)
        if len(images) > 4:  # many rows will ask for them, as for captcha.png in many folders
            self._same[key, without_suffix] = made
        return made


def _alone(name: str, same: _SameName) -> list[str]:
    """Returns the only image with the file name of an absolute path, if their parts agree."""
    images = same.below.get("", []) if is_absolute(name) else []
    if len(images) != 1:
        return []
    parts = {part_names.of_path(path) for path in (name, *images)} - {""}
    ours, theirs = (part_names.split_path(path)[-2:-1] for path in (images[0], name))
    # set/0003/word_1.png is not 0001/word_1.png: it is in a folder beside that one.
    is_beside = ours != theirs and _digits_hidden(ours) == _digits_hidden(theirs)
    return images if len(parts) < 2 and not is_beside else []


def _digits_hidden(folders: list[str]) -> list[str]:
    return [re.sub(r"\d+", "0", folder) for folder in folders]


def is_absolute(path: str) -> bool:
    """Whether a path is absolute on POSIX or Windows."""
    return path.startswith(("/", "\\")) or PureWindowsPath(path).is_absolute()


def counts(names: list[str]) -> str:
    """Returns the numbers of files in each folder, such as `train/ (30), val/ (6)`."""
    found: dict[str, int] = {}
    for name in names:
        folder = name.rpartition("/")[0]
        found[folder] = found.get(folder, 0) + 1
    shown = [f"{folder}/ ({count})" for folder, count in sorted(found.items()) if folder]
    more = [f"and {len(shown) - 10} more"] if len(shown) > 10 else []
    return ", ".join(shown[:10] + more)


def _walk(top: Path, skip: Path | None) -> Iterator[tuple[str, bool]]:
    """Yields the names of all files below `top`, and whether they are images by extension."""
    count = 0
    stack: list[tuple[str, str]] = [(os.fspath(top), "")]
    visited: set[tuple[int, int]] = set()
    while stack:
        folder, prefix = stack.pop()
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in visited and status.st_ino:  # a loop of links
            continue
        visited.add((status.st_dev, status.st_ino))
        with os.scandir(folder) as scan:
            entries = list(scan)
        if prefix and {entry.name for entry in entries} >= _RUN:
            continue
        for entry in entries:
            name = prefix + entry.name
            if _is_folder(entry):
                junk = entry.name.startswith(".") or entry.name.lower() in _IGNORED_FOLDERS
                if not junk and (skip is None or Path(entry.path).resolve() != skip):
                    stack.append((entry.path, f"{name}/"))
                continue
            if entry.name.lower() in _IGNORED or entry.name.startswith("._"):
                continue
            count += 1
            if count > MAX_FILES:
                raise DataError(f"{top} contains more than {MAX_FILES} files")
            yield name, PurePosixPath(entry.name).suffix.lower() in IMAGE_SUFFIXES


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links; reported when it is read
        return False


def _number(name: str) -> str:
    """Returns the digits of a file name without leading zeros; "" if it is not a number."""
    stem = name.partition(".")[0]
    return (stem.lstrip("0") or "0") if stem.isdecimal() else ""


def _key(name: str | list[str]) -> str:
    text = name if isinstance(name, str) else "".join(name)
    return unicodedata.normalize("NFC", text).casefold()
