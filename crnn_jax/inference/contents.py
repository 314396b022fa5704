"""Finds the image file in a path, bytes, a file object, base64 or a data URI."""

from __future__ import annotations

import array
import base64
import binascii
import inspect
import mmap
import os
import re
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from crnn_jax.data.image_io import IMAGE_SUFFIXES, MOST_BYTES
from crnn_jax.errors import DataError, one_line

# Beginnings of files that are recognized in base64. XML is reported as SVG.
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"<svg",
          b"<?xml")  # fmt: skip
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")
_LEAST = 40  # characters; a shorter text is not tried as base64
_LONGEST_NAME = 255  # characters of a file name
_LONGEST_PATH = 4096  # bytes
_SUFFIXES = frozenset(suffix.encode() for suffix in IMAGE_SUFFIXES)
_READING = threading.Lock()  # a file object may occur twice in a batch, which threads decode


def of(source: Any) -> bytes | str | os.PathLike[str] | None:
    """Returns the content or the path of an image file; None if `source` is something else.

    Text is a path, unless it is a data URI, a file URI, or base64 of an image and no such file
    exists. File objects are read from their start, and their position is restored.

    Raises:
      DataError: `source` cannot be read; the message says why.
    """
    if isinstance(source, str):
        return _of_text(source)
    if isinstance(source, os.PathLike):
        return source
    if is_buffer(source):
        if memoryview(source).nbytes > MOST_BYTES:
            raise DataError(f"{len(source)} bytes are too many (at most {MOST_BYTES})")
        content = bytes(source)
        # Not looked for among the files: these bytes may come from somebody else.
        if len(content) < _LONGEST_PATH and os.path.splitext(content)[1].lower() in _SUFFIXES:
            raise DataError("these bytes are a path; pass it as a string")
        return _decoded(content)
    if isinstance(source, Mapping):  # a row of a Hugging Face data set
        found = source.get("bytes") or source.get("path")
        return None if isinstance(found, Mapping) else of(found)
    try:
        if file := _file(source):
            return _decoded(_read(file))
        if callable(getattr(source, "read_bytes", None)):  # a path inside an archive
            return _decoded(source.read_bytes())
    except DataError:
        raise
    except Exception as error:  # raised by a method of the object
        reason = one_line(str(error)[:200])
        raise DataError(f"it cannot be read ({type(error).__name__}: {reason})") from error
    return None


def of_base64(text: str) -> bytes:
    """Returns the content of a file that is given as base64 or as a data URI.

    Unlike in `of`, a text is never a path: a server must not read files that a client names.

    Raises:
      DataError: the text is neither.
    """
    if text[:64].lstrip().lower().startswith("data:"):
        return _of_data_uri(text.strip())
    try:
        return _from_base64("".join(text.split()))
    except (binascii.Error, ValueError) as error:
        raise DataError(f"not base64 ({error})") from error


def is_one(source: Any) -> bool:
    """Whether `source` is a single image file, although it may be iterable."""
    if isinstance(source, Mapping):
        return bool(source.get("bytes") or source.get("path"))
    return (
        isinstance(source, (str, os.PathLike))
        or is_buffer(source)
        or _file(source) is not None
        or callable(getattr(source, "read_bytes", None))
    )


def is_buffer(source: Any) -> bool:
    """Whether `source` is a sequence of bytes. A memoryview of an image [H, W] is not."""
    if isinstance(source, memoryview):
        return source.ndim == 1 and source.itemsize == 1
    if isinstance(source, array.array):
        return source.typecode == "B"
    return isinstance(source, (bytes, bytearray, mmap.mmap))


def _file(source: Any) -> Any:
    """Returns the file object of an open file or an upload; None if there is none."""
    for file in (source, getattr(source, "file", None)):
        read = getattr(file, "read", None)
        if callable(read) and not inspect.iscoroutinefunction(read):
            return file
    if inspect.iscoroutinefunction(getattr(source, "read", None)):
        return source  # `_read` says what to do
    return None


def _read(file: Any) -> bytes:
    if inspect.iscoroutinefunction(file.read):
        raise DataError("its method read is asynchronous; pass the bytes, `await file.read()`")
    with _READING:
        seekable = getattr(file, "seekable", None)
        can_seek = seekable() if callable(seekable) else hasattr(file, "seek")
        place = file.tell() if can_seek else 0
        if can_seek:
            file.seek(0)
        content = file.read(MOST_BYTES + 1)
        if can_seek:
            file.seek(place)
    if isinstance(content, str):
        raise DataError("the file is open as text; open it with mode 'rb'")
    if not is_buffer(content):
        raise DataError(f"its method read returns a value of type {type(content).__name__}")
    return bytes(content)


def _of_text(text: str) -> bytes | str:
    if not text:
        raise DataError("the path is empty")
    start = text[:64].lstrip().lower()
    if start.startswith("data:"):
        return _of_data_uri(text.strip())
    if start.startswith("file:"):
        return urllib.request.url2pathname(urllib.parse.urlsplit(text.strip()).path)
    if re.match(r"(https?|ftp)://", start):
        raise DataError("it is an address; download the file and pass its bytes or its path")
    if os.path.lexists(text):
        return text
    if (content := _of_image_base64(text)) is not None:
        return content
    path = os.path.expanduser(text)
    if len(text) > _LONGEST_NAME and not os.path.lexists(path):
        raise DataError(
            f"a string of {len(text)} characters is neither the path of an existing file nor a "
            "base64 image"
        )
    return path


def _decoded(content: bytes) -> bytes:
    """Decodes the content of a file if it is a data URI or base64."""
    if content[:5].lower() == b"data:":
        return _of_data_uri(content.decode("latin-1").strip())
    if len(content) >= _LEAST and content[:_LEAST].isascii() and content.isascii():
        found = _of_image_base64(content.decode("ascii"))
        return content if found is None else found
    return content


def _of_data_uri(uri: str) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise DataError("a data URI without a comma")
    if not head.lower().endswith(";base64"):
        return urllib.parse.unquote_to_bytes(body)
    try:
        return _from_base64("".join(urllib.parse.unquote(body).split()))
    except (binascii.Error, ValueError) as error:
        raise DataError(f"the base64 of a data URI is damaged ({error})") from error


def _of_image_base64(text: str) -> bytes | None:
    """Returns the image file in a base64 text, standard or URL-safe, padded or not; else None."""
    if len(text) < _LEAST or not _BASE64.match(text.lstrip()):
        return None
    compact = "".join(text.split())
    if not _BASE64.fullmatch(compact):
        return None
    try:
        if not _from_base64(compact[:16]).startswith(_MAGIC):
            return None
        return _from_base64(compact)
    except (binascii.Error, ValueError):
        return None


def _from_base64(text: str) -> bytes:
    if len(text) > 2 * MOST_BYTES:
        raise ValueError(f"{len(text)} characters are too many")
    text = text.rstrip("=").translate({ord("-"): "+", ord("_"): "/"})
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
