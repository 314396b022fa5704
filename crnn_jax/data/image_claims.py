"""Limits on the cost of opening an image file, apart from its pixels.

Pillow parses file formats in Python and creates an object for each block, chunk, marker or tag
value. A small file can contain millions of them, or compressed data that is decoded many times.
"""

from __future__ import annotations

import io
import struct

from PIL import Image

from crnn_jax.errors import DataError

MAX_READS = 2**18  # calls of `read` to open and decode a file, a few microseconds each
MAX_SCANS = 100  # scans of a progressive JPEG; ten are usual, and each decodes the whole image
MAX_COUNTED = 2**24  # bytes of a file that are searched for scans
MAX_PROFILES = 8  # color profiles of a PNG; each is decompressed, up to 1 MB
MAX_EXIF_SEGMENTS = 8  # EXIF segments of a JPEG, 64 kB each
MAX_FRAMES = 256  # frames of an animation, or pages of a TIFF
MAX_TAGS = 1024  # tags of a TIFF directory, also in EXIF
MAX_TAG_VALUES = 2**16  # numbers in a TIFF directory, mainly offsets and sizes of strips

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"MM\0+", b"II+\0")
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
               16: 8}  # fmt: skip
_BYTES = (1, 2, 7)  # types that Pillow keeps as bytes, without an object for each value
_COMPRESSION, _TILE_WIDTH, _TILE_HEIGHT = 259, 322, 323
_STRIP_OFFSETS, _TILE_OFFSETS = 273, 324
_JPEG_COMPRESSIONS = (6, 7)


class Metered(io.BytesIO):
    """Bytes that can be read `MAX_READS` times; then `read` raises DataError."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Like `io.BytesIO.read`. DataError: there were more than `MAX_READS` calls."""
        self._reads += 1
        if self._reads > MAX_READS:
            raise DataError(
                "it consists of too many small blocks, which take too long to read; save it again"
            )
        return super().read(size)


def check(content: bytes) -> None:
    """Raises DataError if the file would be expensive to open."""
    if content.startswith(b"\x89PNG") and content.count(b"iCCP") > MAX_PROFILES:
        raise DataError(f"a PNG with more than {MAX_PROFILES} color profiles")
    # Pillow joins the segments and parses them while it opens the file.
    if content.startswith(b"\xff\xd8") and content.count(b"Exif\0\0") > MAX_EXIF_SEGMENTS:
        raise DataError(f"a JPEG with more than {MAX_EXIF_SEGMENTS} EXIF segments")
    if content.startswith(_TIFF_MAGIC):
        _check_directory(content)


def check_opened(image: Image.Image, max_pixels: int) -> None:
    """Raises DataError if an image that Pillow has opened would be expensive to decode."""
    if isinstance(exif := image.info.get("exif"), bytes):
        _check_directory(exif.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0"))
    num_parts = 0
    if image.format == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]  # of TIFFs only
        if int(tags.get(_TILE_WIDTH, 1)) * int(tags.get(_TILE_HEIGHT, 1)) > max_pixels:
            raise DataError(f"a TIFF with tiles of more than {max_pixels} pixels")
        if tags.get(_COMPRESSION) not in _JPEG_COMPRESSIONS:
            return
        num_parts = len(tags.get(_STRIP_OFFSETS) or tags.get(_TILE_OFFSETS) or ())
    elif image.format not in ("JPEG", "MPO"):
        return
    # Entropy-coded data never contain this marker, so this counts the scans.
    if _content(image).count(b"\xff\xda") > MAX_SCANS + num_parts:
        raise DataError(f"a JPEG with more than {MAX_SCANS} scans")


def _content(image: Image.Image) -> bytes:
    """Returns the file's bytes if the image is not decoded yet, else empty bytes."""
    file = getattr(image, "fp", None)
    if file is None or file.closed or not getattr(image, "tile", None):
        return b""
    place = file.tell()
    file.seek(0)
    content: bytes = file.read(MAX_COUNTED)
    file.seek(place)
    return content


def _check_directory(content: bytes) -> None:
    """Raises DataError if a directory of a TIFF file, or of EXIF, has too many values.

    Each page of a file has a directory, which ends with the place of the next one.
    """
    order, is_big = "<" if content[:2] == b"II" else ">", content[2:3] == b"+"
    place_form, count_form = ("Q", "Q") if is_big else ("I", "H")
    visited: set[int] = set()
    try:
        (place,) = struct.unpack_from(order + ("8x" if is_big else "4x") + place_form, content)
        while place and place not in visited and len(visited) < MAX_FRAMES:
            visited.add(place)
            (num_tags,) = struct.unpack_from(order + count_form, content, place)
            place += struct.calcsize(order + count_form)
            place = _check_tags(content, place, num_tags, order, is_big)
            (place,) = struct.unpack_from(order + place_form, content, place)
    except struct.error:  # a directory is truncated, which Pillow reports
        return


def _check_tags(content: bytes, place: int, num_tags: int, order: str, is_big: bool) -> int:
    """Checks the tags of a directory that begin at `place`. Returns where they end."""
    if num_tags > MAX_TAGS:
        raise DataError(f"a directory with {num_tags} tags (at most {MAX_TAGS})")
    entry_form = order + ("HHQ8x" if is_big else "HHI4x")
    num_values, size = 0, 0
    for _ in range(num_tags):
        try:
            _, kind, count = struct.unpack_from(entry_form, content, place)
        except struct.error:
            break
        place += struct.calcsize(entry_form)
        size += count * _TYPE_SIZES.get(kind, 0)
        num_values += 0 if kind in _BYTES or kind not in _TYPE_SIZES else count
    if num_values > MAX_TAG_VALUES or size > len(content):
        raise DataError(f"a directory with too many values (at most {MAX_TAG_VALUES})")
    return place
