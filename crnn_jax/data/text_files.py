"""Finds the text file of each image, such as a.txt or a.gt.txt for a.png."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from crnn_jax.data import part_names
from crnn_jax.data.tree import Tree

_ENDING = re.compile(r"(\.gt)?\.txt$", re.IGNORECASE)


def find(tree: Tree) -> dict[str, str]:
    """Returns {image: text file} for text files that have the name of an image.

    The text file is beside the image, or in another folder, as in `images` and `labels`. If several
    images have the name, it belongs to the one whose path has the most folders in common with its
    own. A text file of one part of a data set never belongs to an image of another part.
    """
    texts = {name: _ENDING.sub("", name) for name in names(tree)}
    wanted = {stem.rpartition("/")[2] for stem in texts.values()}
    stems: dict[str, list[str]] = {}
    below: dict[tuple[str, str], list[str]] = {}  # images by name, for each folder above them
    for image in tree.images:
        for stem in (image, image.rpartition(".")[0]):
            base = stem.rpartition("/")[2]
            if base in wanted:
                stems.setdefault(stem, []).append(image)
                for folder in _folders(image):
                    below.setdefault((base, folder), []).append(image)
    found: dict[str, str] = {}
    for name, stem in texts.items():
        images = stems.get(stem) or _nearest(name, stem.rpartition("/")[2], below)
        if len(images) == 1:
            found.setdefault(images[0], name)
    return found


def second(tree: Tree, found: Mapping[str, str]) -> dict[str, str]:
    """Returns {text file: image} for other text files of images, such as a.txt beside a.gt.txt.

    Args:
      tree: the folder.
      found: the text file of each image, as `find` returns them.
    """
    images = {_ENDING.sub("", name): image for image, name in found.items()}
    used = set(found.values())
    stems = {name: _ENDING.sub("", name) for name in names(tree) if name not in used}
    return {name: images[stem] for name, stem in stems.items() if stem in images}


def names(tree: Tree) -> list[str]:
    """Returns the text files of a folder."""
    return [name for name in tree.others if name.lower().endswith(".txt")]


def _nearest(name: str, base: str, below: Mapping[tuple[str, str], list[str]]) -> list[str]:
    """Returns at most two images called `base` in the nearest folder above a text file."""
    part = part_names.of_path(name)
    for folder in _folders(name):
        near = (
            image
            for image in below.get((base, folder), ())
            if not part or part_names.of_path(image) in ("", part)
        )
        if some := list(itertools.islice(near, 2)):
            return some
    return []


def _folders(path: str) -> Iterator[str]:
    """Yields the folders above a path from the nearest one to the top, which is ''."""
    while path:
        path = path.rpartition("/")[0]
        yield path
