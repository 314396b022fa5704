"""Finds images that no command reads from a folder, because of their extensions."""

from __future__ import annotations

from collections.abc import Set
from pathlib import PurePosixPath

from crnn_jax.data.image_io import IMAGE_SUFFIXES, UNSUPPORTED_SUFFIXES
from crnn_jax.data.tree import Tree
from crnn_jax.errors import one_line
from crnn_jax.runtime import files

_UNSUPPORTED = "an image of a format that is not supported; save it as PNG"
_NO_SUFFIX = "an image whose name does not end in the extension of an image; rename it"
_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*")


def find(tree: Tree) -> dict[str, str]:
    """Returns why images among the other files of a folder are not read, by name."""
    images = set(tree.images)
    reasons = {name: _reason(tree, name) for name in tree.others}
    for name, reason in reasons.items():
        if reason == _NO_SUFFIX:
            reasons[name] = _backup(name, images) or reason
    return {name: reason for name, reason in reasons.items() if reason}


def _backup(name: str, images: Set[str]) -> str:
    """Says of which image a file is a copy, such as a.png_original or a.png~."""
    suffix = PurePosixPath(name).suffix.lower()
    for known in IMAGE_SUFFIXES:
        of = name[: len(name) - len(suffix) + len(known)]
        if suffix.startswith(known) and of != name and of in images:
            return (
                f"its name suggests a copy of {one_line(of)}; rename it if it is a different image"
            )
    return ""


def _reason(tree: Tree, name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in UNSUPPORTED_SUFFIXES:
        return _UNSUPPORTED
    # Such as captcha, and photo.jpg_large; other extensions say that it is something else.
    if suffix and not any(suffix.startswith(known) for known in IMAGE_SUFFIXES):
        return ""
    try:
        content = files.start(tree.folder / name, 12)
    except OSError:
        return ""
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    return _NO_SUFFIX if content.startswith(_STARTS) or is_webp else ""
