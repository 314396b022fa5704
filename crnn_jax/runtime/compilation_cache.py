"""Keeps compiled programs on disk, so that later processes start in a fraction of the time."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
import zlib
from pathlib import Path

import platformdirs

# The variable with the folder of program_store.py; if it is empty, nothing is stored.
PROGRAMS = "CRNN_JAX_PROGRAM_STORE"
_SWEPT = "swept"  # a file whose age is that of the last sweep
_SUFFIX = "-cache"  # suffix of jax's cache files
OFF = ("0", "n", "no", "f", "false", "off")  # values of variables, as jax reads them


def folder() -> Path:
    """Returns the folder for compiled programs, which only this user should be able to write."""
    named = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    return Path(named or platformdirs.user_cache_dir("crnn_jax", False))


def keep_programs() -> None:
    """Makes jax keep compiled programs in the user's cache folder. Call before jax is imported.

    On Linux the folder is `$XDG_CACHE_HOME/crnn_jax`, by default `~/.cache/crnn_jax`.

    As everywhere in jax, JAX_COMPILATION_CACHE_DIR names another folder and
    JAX_ENABLE_COMPILATION_CACHE=0 turns the cache off. program_store.py keeps its programs in the
    subfolder `programs`, unless CRNN_JAX_PROGRAM_STORE is empty or names another folder, or the
    folder is a bucket such as gs://NAME. If the folder cannot be written, a note is printed and the
    run goes on.
    """
    place = folder()
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.fspath(place))
    # Small programs are kept too: a run has dozens of them, and their compile times add up.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    # jax would print a warning for each program.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    if "://" in os.environ["JAX_COMPILATION_CACHE_DIR"]:
        return  # a bucket, to which only jax can write
    try:
        place.mkdir(parents=True, exist_ok=True)
        sweep(place)
        if os.environ.get("JAX_ENABLE_COMPILATION_CACHE", "1").lower() not in OFF:
            os.environ.setdefault(PROGRAMS, os.fspath(place / "programs"))
    except OSError as error:
        print(
            f"note: compiled programs cannot be cached in {place} ({error.strerror}); every start "
            "compiles them again",
            file=sys.stderr,
        )


def sweep(folder: Path) -> None:
    """Removes cache entries that were truncated by a kill or a full disk.

    JAX never replaces a truncated cache entry, so each start would compile again. Only files newer
    than the last sweep are checked, except those that another process may still be writing.
    """
    mark = folder / _SWEPT
    since = mark.stat().st_mtime - 10 if mark.exists() else 0.0
    now = time.time()
    for entry in os.scandir(folder):
        with contextlib.suppress(OSError):  # another process removed it, or owns it
            if entry.name.endswith(_SUFFIX) and since <= entry.stat().st_mtime < now - 5:
                path = Path(entry.path)
                if not _is_whole(path.read_bytes()):
                    path.unlink()
    with contextlib.suppress(OSError):  # another user's
        mark.touch()


def _is_whole(content: bytes) -> bool:
    """Whether a cache file is complete. Only zlib can be checked; other files count as complete."""
    if content and content[0] != 0x78:
        return True
    unpacked = zlib.decompressobj()
    try:
        unpacked.decompress(content)
    except zlib.error:
        return False
    return unpacked.eof
