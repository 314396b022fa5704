"""Reads untrusted zip archives in bounded memory.

The zipfile library raises many kinds of errors on damaged archives. Archives are read from memory,
so that such an error cannot be confused with a disk error.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import zipfile
from collections.abc import Iterator

from crnn_jax.errors import DataError, brief

_ENTRY = b"PK\x01\x02"  # starts each entry of the central directory
_HEADER = 30  # bytes of a local file header without its name
_ENCRYPTED = 1


def entries(content: bytes, most: int) -> tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]:
    """Opens an archive and lists its entries.

    Args:
      content: the archive.
      most: the maximum number of entries.

    Raises:
      DataError: it is not a zip archive, has too many entries, or has entries that overlap.
    """
    # Count before opening, because zipfile creates an object for each entry.
    if content.count(_ENTRY) > most:
        raise DataError(f"not a valid zip archive: it has more than {most} entries")
    with _damage():
        archive = zipfile.ZipFile(io.BytesIO(content))
    found = archive.infolist()
    places = sorted(
        (e.header_offset, e.header_offset + _HEADER + len(e.orig_filename) + e.compress_size)
        for e in found
    )
    if any(end > start for (_, end), (start, _) in itertools.pairwise(places)):
        raise DataError("not a valid zip archive: its entries overlap")
    return archive, found


def read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """Returns the uncompressed content of an entry.

    Raises:
      DataError: the entry is damaged or encrypted, or claims more than `most` bytes.
    """
    name = brief(entry.filename, 100)
    if entry.file_size > most:
        raise DataError(f"{name} unpacks to {entry.file_size} bytes; at most {most} are allowed")
    if entry.flag_bits & _ENCRYPTED:
        raise DataError(f"{name} is encrypted")
    with _damage(f"{name}: "), archive.open(entry) as source:
        content = source.read(entry.file_size + 1)  # reads to the end, where zipfile checks the CRC
    if len(content) != entry.file_size:
        raise DataError(
            f"not a valid zip archive: {name} has {len(content)} bytes, not {entry.file_size}"
        )
    return content


@contextlib.contextmanager
def _damage(where: str = "") -> Iterator[None]:
    """Converts any error of zipfile and its decompressors to a DataError."""
    try:
        yield
    except Exception as error:
        why = brief(error) or type(error).__name__
        raise DataError(f"not a valid zip archive: {where}{why}") from error
