"""Says what a file is that cannot be opened as an image, and what to do about it."""

from __future__ import annotations

import re

# Beginnings of supported formats, and of these in base64, in lower case.
_STARTS = (
    (b"\xff\xd8\xff", "JPEG"), (b"gif8", "GIF"), (b"ii*\0", "TIFF"), (b"mm\0*", "TIFF"),
)  # fmt: skip
_BASE64 = (b"ivborw0kggo", b"/9j/", b"r0lgod", b"uklgr")


def advice(start: bytes) -> str:
    """Says what to do about a file that cannot be opened; an empty string if it is not known.

    Args:
      start: its first kilobyte.
    """
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n\"'").lower()
    if start.startswith((b"<?xml", b"<svg", b"<!--", b"<!doctype svg")) and b"<svg" in start:
        return (
            "an SVG drawing, which has no pixels; render it to PNG first, for example with "
            "`rsvg-convert -o x.png x.svg` or the Python package cairosvg"
        )
    if start.startswith(b"\x1f\x8b"):
        return (
            "a compressed file (gzip), perhaps a drawing (SVGZ); unpack or render it to PNG first"
        )
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page and not an image; perhaps a download was refused"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS and not the image; download the images with `git lfs pull`"
    if start[4:8] == b"ftyp":
        return "a HEIC, AVIF or video file, which is not supported; save it as PNG"
    if start.startswith(b"%pdf"):
        return "a PDF document, which is not supported; save its image as PNG"
    if start.startswith((b"data:image", *_BASE64)):
        kind = "a data URI" if start.startswith(b"data:") else "base64 text"
        return f"{kind} and not the image in it; decode it first"
    if re.match(rb"[{[]\s*[\"{]", start):
        return "JSON text and not an image; perhaps a download was refused"
    if start.startswith(b"http/"):
        return "an HTTP response with its headers; save only its body"
    return _damage(start)


def _damage(start: bytes) -> str:
    """Says that a file of a supported format is damaged, by its lower-case beginning."""
    if start.startswith(b"\x89png\r\n\x1a\n"):
        return "a damaged PNG file; copy or download it again"
    # Line ends were converted, or bytes that are not UTF-8 were replaced.
    if b"png\r" in start[:6] or b"png\n" in start[:6]:
        return "a PNG file that was changed as text; copy it again, in binary mode"
    kind = "WebP" if start[:4] == b"riff" and start[8:12] == b"webp" else ""
    kind = kind or next((name for magic, name in _STARTS if start.startswith(magic)), "")
    if not kind:
        return ""
    return f"a {kind} file that is damaged or of an uncommon form; copy it again or save it as PNG"
