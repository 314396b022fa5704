"""Read untrusted zip archives in bounded memory.

The zip library raises errors of many kinds on damaged archives. Archives are read from memory, so
that none of these can be confused with an error of our own disk.
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
    # Counted before the library makes an object of each.
    if content.count(_ENTRY) > most:
        raise DataError(f"not a sound zip archive: it has more than {most} entries")
    with _damage():
        archive = zipfile.ZipFile(io.BytesIO(content))
    found = archive.infolist()
    places = sorted(
        (e.header_offset, e.header_offset + _HEADER + len(e.orig_filename) + e.compress_size)
        for e in found
    )
    if any(end > start for (_, end), (start, _) in itertools.pairwise(places)):
        raise DataError("not a sound zip archive: its entries overlap")
    return archive, found


def read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """The uncompressed content of an entry.

    Raises:
      DataError: it is damaged or encrypted, or claims more than `most` bytes.
    """
    name = brief(entry.filename, 100)
    if entry.file_size > most:
        raise DataError(f"{name} unpacks to {entry.file_size} bytes; at most {most} are allowed")
    if entry.flag_bits & _ENCRYPTED:
        raise DataError(f"{name} is encrypted")
    with _damage(f"{name}: "), archive.open(entry) as source:
        content = source.read(entry.file_size + 1)  # to the end, where the checksum is compared
    if len(content) != entry.file_size:
        raise DataError(
            f"not a sound zip archive: {name}: {len(content)} bytes of {entry.file_size}"
        )
    return content


@contextlib.contextmanager
def _damage(where: str = "") -> Iterator[None]:
    """DataError for whatever the zip library and its decompressors raise."""
    try:
        yield
    except Exception as error:
        why = brief(error) or type(error).__name__
        raise DataError(f"not a sound zip archive: {where}{why}") from error
