"""Finds the text file of each image, such as a.txt or a.gt.txt for a.png."""

from __future__ import annotations

import itertools
import re

from crnn_jax.data.tree import Tree, part_of_path


def find(tree: Tree) -> dict[str, str]:
    """Returns {image: text file} for text files that have the name of an image.

    The text file is beside the image, or in another folder, as in `images` and `labels`. If several
    images have the name, it belongs to the one whose path has most folders in common with its own.
    A text file of one part of a data set never belongs to an image of another part.
    """
    found: dict[str, str] = {}
    stems: dict[str, list[str]] = {}
    for image in tree.images:
        for stem in (image, image.rpartition(".")[0]):
            stems.setdefault(stem, []).append(image)
            stems.setdefault(f"*/{stem.rpartition('/')[2]}", []).append(image)
    for name in names(tree):
        stem = re.sub(r"(\.gt)?\.txt$", "", name, flags=re.IGNORECASE)
        images = stems.get(stem) or _nearest(name, stems.get(f"*/{stem.rpartition('/')[2]}", []))
        if len(images) == 1:
            found.setdefault(images[0], name)
    return found


def names(tree: Tree) -> list[str]:
    """Returns the text files of a folder."""
    return [name for name in tree.others if name.lower().endswith(".txt")]


def _nearest(name: str, images: list[str]) -> list[str]:
    part = part_of_path(name)
    near: dict[int, list[str]] = {}
    for image in images:
        if not part or part_of_path(image) in ("", part):
            near.setdefault(_num_common(name, image), []).append(image)
    return near[max(near)] if near else []


def _num_common(first: str, second: str) -> int:
    """Returns how many folders two paths have in common, from the top."""
    pairs = zip(first.split("/")[:-1], second.split("/")[:-1], strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
