"""Lists the images of the folders of a config with their labels, without reading the images."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from crnn_jax.config import DataConfig
from crnn_jax.data import (
    folder_advice,
    label_files,
    label_rows,
    packed,
    part_names,
    tree,
    unread_images,
)
from crnn_jax.data.label_files import FILE_NAMES
from crnn_jax.data.label_rows import MAX_BAD, Listing
from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, one_line, quote

VAL_DIR = "data.val_dir/"  # begins the names of images that are in data.val_dir
_MAX_NAMED = 50  # bad files that an error lists; the others are counted


def label_of(file: str, pattern: str = "") -> str:
    """Returns the label in a file name; an empty string if the pattern does not match.

    The label is composed (NFC), because some file systems store names in decomposed Unicode.

    Args:
      file: the name of the file.
      pattern: a regular expression whose one group is the label. It is searched in the name without
        its extension. If empty, the label is the name up to the first underscore.
    """
    stem = unicodedata.normalize("NFC", Path(file).stem)
    if not pattern:
        return stem.split("_")[0]
    found = re.search(pattern, stem)
    return (found[1] or "") if found else ""


def labels(folder: str | os.PathLike[str], pattern: str = "") -> dict[str, str]:
    """Returns {file: label} of a folder, sorted by file name, without reading the images.

    Raises:
      DataError: the folder is missing or cannot be read, or files or labels cannot be used.
    """
    with _naming(folder):
        listed = _list_folder(Path(folder), pattern)
    if listed.complaints:
        raise DataError(name_all(Path(folder), listed.complaints))
    return listed.labels


def checked(config: DataConfig) -> Listing:
    """Like `of`. DataError: there are files that cannot be used."""
    found = of(config)
    if found.complaints:
        raise DataError(name_all(Path(config.dir), found.complaints))
    return found


def image_files(folder: str | os.PathLike[str]) -> list[str]:
    """Returns the names of the images in a folder, sorted. DataError: it cannot be read."""
    with _naming(folder):
        return list(_list_images(Path(folder)).labels)


@contextlib.contextmanager
def _naming(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Converts the errors of the system to DataErrors that name the file or folder."""
    try:
        yield
    except OSError as error:
        path = one_line(os.fsdecode(error.filename or os.fspath(folder)))
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        if "\0" not in os.fspath(folder):
            raise
        raise DataError(f"data.dir is not a valid folder name: {error}") from error


def of(config: DataConfig) -> Listing:
    """Lists data.dir, and data.val_dir if it is set.

    Without data.use_labels and data.test_size, the labels are empty.

    Raises:
      DataError: a folder is missing, or cannot be read, or contains no images.
    """
    if packed.is_pack(config.dir):
        if config.val_dir:
            raise DataError(
                "data.val_dir cannot be used with a pack; pack one folder that has the folders "
                "train and val"
            )
        return packed.listed(config.dir, config.use_labels or config.test_size > 0)
    folder, val_dir = Path(config.dir), Path(config.val_dir)
    with _naming(folder):
        if not (config.use_labels or config.test_size > 0):
            found = _list_images(folder)
        else:
            found = _list_folder(folder, config.label_pattern, val_dir if config.val_dir else None)
    if not found.labels and not found.complaints:
        hidden = "; ".join((*found.warnings, *found.notes))
        shown = f" ({hidden})" if hidden else ""
        if found.origin not in ("", FILE_NAMES):
            raise DataError(f"no image in {one_line(str(folder))} has a label{shown}")
        raise DataError(f"{one_line(str(folder))} contains no images{shown}")
    return _with_val_dir(found, config) if config.val_dir else found


def _with_val_dir(found: Listing, config: DataConfig) -> Listing:
    """Adds the images of data.val_dir, as the validation part, to those of data.dir."""
    folder, val_dir = Path(config.dir), Path(config.val_dir)
    if not val_dir.is_dir():
        what = f"data.val_dir: {one_line(config.val_dir)} is not a folder"
        raise DataError(what + folder_advice.hint(val_dir))
    if val_dir.resolve() == folder.resolve():
        raise DataError("data.val_dir is the same folder as data.dir; give another one")
    with _naming(val_dir):
        extra = _list_folder(val_dir, config.label_pattern)
        if extra.origin == FILE_NAMES and found.origin != FILE_NAMES:
            extra = _labeled_above(folder, val_dir, extra)
    if not extra.labels and not extra.complaints:
        raise DataError(f"data.val_dir: {one_line(config.val_dir)} contains no images")

    def named(values: Mapping[str, str]) -> dict[str, str]:
        return {VAL_DIR + file: value for file, value in values.items()}

    return Listing(
        found.labels | named(extra.labels),
        found.complaints | named(extra.complaints),
        dict.fromkeys(found.labels, "train")
        | found.parts
        | dict.fromkeys(named(extra.labels), "val"),
        found.origin,
        found.notes + tuple(f"data.val_dir: {note}" for note in extra.notes),
        found.warnings + tuple(f"data.val_dir: {warning}" for warning in extra.warnings),
        {**found.places, **named(extra.places)},
    )


def _labeled_above(folder: Path, below: Path, names: Listing) -> Listing:
    """Returns the images of `below` with the labels that label files of `folder` give them.

    Args:
      folder: a folder that has label files.
      below: a folder without label files. It may be outside of `folder`.
      names: `below`, labeled by the file names; returned if no label file names its images.
    """
    if not below.resolve().is_relative_to(folder.resolve()):
        return names
    prefix = f"{below.resolve().relative_to(folder.resolve()).as_posix()}/"
    whole = _list_folder(folder, "")

    def inside(values: Mapping[str, str]) -> dict[str, str]:
        return {f.removeprefix(prefix): v for f, v in values.items() if f.startswith(prefix)}

    labels = inside(whole.labels)
    if not labels:
        return names
    lost = [file for file in names.labels if file not in labels]
    left_out = f"{label_rows.count(len(lost), 'image')} without a label in {whole.origin}: left out"
    return Listing(
        labels,
        inside(whole.complaints),
        {},
        whole.origin,
        warnings=(left_out,) if lost else (),
        places=inside(whole.places),
    )


def _list_folder(folder: Path, pattern: str, excluded: Path | None = None) -> Listing:
    """Lists a folder with its labels, without the folder `excluded` below it."""
    folder_advice.check(folder)
    listed = Tree(folder, excluded)
    found, unusable, foreign = label_files.search(listed)
    if found:
        if pattern:
            unused = f"data.label_pattern is not used, because the labels are from {found.origin}"
            found = found._replace(warnings=(*found.warnings, unused))
        return found
    names = {file: label_of(file, pattern) for file in listed.images}
    complaints = dict(foreign)
    if listed.images:
        complaints |= unread_images.find(listed)
    if pattern:
        for file in (file for file, text in names.items() if not text):
            what = f"data.label_pattern finds no label in {quote(Path(file).stem)}"
            complaints.setdefault(file, f"{what} (its name without the folder and extension)")
    parts = label_rows.distinct_parts({f: part_names.of_path(f) for f in listed.images})
    return Listing(
        names,
        complaints,
        parts,
        FILE_NAMES,
        _notes(listed),
        (*_warnings(listed), *unusable),
    )


def _suffix(file: str) -> str:
    return os.path.splitext(file)[1].lower()


def _list_images(folder: Path) -> Listing:
    """Like `_list_folder`, without labels. Label files and the parts in them are ignored."""
    folder_advice.check(folder)
    listed = Tree(folder)
    foreign = [file for file in listed.foreign() if _suffix(file) not in label_files.SUFFIXES]
    parts = label_rows.distinct_parts({f: part_names.of_path(f) for f in listed.images})
    return Listing(
        dict.fromkeys(listed.images, ""),
        dict.fromkeys(foreign, "not an image"),
        parts,
        "",
        _notes(listed),
        _warnings(listed),
    )


def _notes(listed: Tree) -> tuple[str, ...]:
    if not listed.images and listed.others:
        return (folder_advice.other_files(listed.others),)
    counts = tree.counts(listed.images)
    return (f"images in subfolders are used: {one_line(counts)}",) if counts else ()


def _warnings(listed: Tree) -> tuple[str, ...]:
    dotted = sorted(listed.dotted)
    if not dotted:
        return ()
    return (
        f"{label_rows.count(len(dotted), 'image')} whose names begin with a dot: left out, such as "
        f"{label_rows.examples(dotted)}; rename them to use them",
    )


def name_all(folder: Path, complaints: dict[str, str]) -> str:
    """Returns the message for files that cannot be used."""
    named = heapq.nsmallest(_MAX_NAMED, complaints.items())
    lines = [f"  {one_line(f)}: {complaint}" for f, complaint in named]
    if len(complaints) > _MAX_NAMED:
        lines.append(f"  ... and {len(complaints) - _MAX_NAMED} more")
    count = f"{len(complaints)} file{'s' if len(complaints) > 1 else ''}"
    if len(complaints) > MAX_BAD:
        count = f"at least {count}"
    return f"{count} in {one_line(str(folder))} cannot be used; fix or remove:\n" + "\n".join(lines)
