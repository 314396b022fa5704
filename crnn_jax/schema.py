"""The types of the files of a run, and the one place that checks what is read against them.

A file may come from a stranger. `document` bounds all of a JSON document, whatever its type:
its size, its depth and its strings. `check` then checks the declared keys. Keys that
are not declared here are left as they are, since other versions of the package wrote them.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypedDict, TypeVar

import msgspec
from msgspec import Meta

from crnn_jax import disk
from crnn_jax.errors import DamageError, RunError, brief, one_line, quote

T = TypeVar("T")

MAX_DOCUMENT = 2**23  # bytes of a JSON document
MAX_TABLE = 2**27  # bytes of a CSV file or of metrics.jsonl
MAX_LINE = 2**14  # bytes of a line of metrics.jsonl
_MAX_DEPTH = 12
_MAX_STRING = 2**21  # characters
_MAX_FLOAT32 = 3.5e38
# Surrogates stand for the bytes of file names that are not UTF-8; others cannot be written.
_NO_CODE_POINT = re.compile("[\ud800-\udc7f\udd00-\udfff]")

# ------------------------------------------------------------------------------ values

Text = Annotated[str, Meta(max_length=4096)]
Alphabet = Annotated[str, Meta(min_length=1, max_length=2**16)]
Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{0,64}\Z")]  # empty if unknown
Commit = Annotated[str, Meta(pattern=r"\A[0-9a-f]{1,64}\Z")]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Count = Annotated[int, Meta(ge=0, le=10**9)]
Epoch = Annotated[int, Meta(ge=0, le=10**9)]
Step = Annotated[int, Meta(ge=0, le=10**12)]
Share = Annotated[float, Meta(ge=0, le=1)]
Finite = Annotated[float, Meta(ge=-_MAX_FLOAT32, le=_MAX_FLOAT32)]
Loss = Annotated[float, Meta(ge=-1, le=_MAX_FLOAT32)]  # rounding can push it below 0
Seconds = Annotated[float, Meta(ge=0, le=1e10)]
# The fit yields 0.138 to 7.24 (calibration.py).
Temperature = Annotated[float, Meta(ge=0.1, le=10)]
Channels = Annotated[list[Finite], Meta(min_length=1, max_length=4)]

# ------------------------------------------------------------------------------- files


class Line(TypedDict, total=False):
    """A line of metrics.jsonl: of a step, or of an epoch, which has a `val_loss`."""

    epoch: Epoch
    step: Step
    step_loss: Finite
    loss: Finite
    val_loss: Finite
    exact_match: Share
    cer: Annotated[float, Meta(ge=0, le=1e9)]
    seconds: Seconds


EPOCH_KEYS = {"epoch", "exact_match", "seconds"}  # of every line that has a `val_loss`


class DataFacts(TypedDict, total=False):
    """The section `data` of environment.json."""

    name: Text
    num_examples: Count
    num_train: Count
    num_val: Count
    plateau_loss: Finite
    alphabet: Alphabet
    mean: Channels
    deviation: Channels
    each_picture: bool
    fingerprint: Digest


class Environment(TypedDict, total=False):
    """environment.json."""

    commit: Commit | None
    uncommitted_changes: bool
    command: list[Text]
    version: Text
    python: Text
    packages: dict[Text, Text]
    platform: Text
    processor: Text
    cores: Count | None
    devices: list[Text]
    xla_flags: Text
    imported: Text
    data: DataFacts
    earlier: list[dict[str, Any]]


class ReaderMeta(TypedDict):
    """The metadata of a checkpoint that a reader needs."""

    alphabet: Alphabet
    mean: Channels
    deviation: Channels
    each_picture: bool
    fingerprint: Digest


class _Progress(TypedDict, total=False):
    best_epoch: Epoch
    best_loss: float  # infinite at first; `check_plain` refuses NaN
    left_plateau: Epoch
    seconds: Seconds
    epoch: Epoch
    losses: list[Finite]


class CheckpointMeta(ReaderMeta, _Progress):
    """The metadata of a checkpoint: `Stopping`, and of an interrupted epoch its losses so far."""


class PartialMeta(_Progress, total=False):
    """As CheckpointMeta, before it is known what the metadata are needed for."""

    alphabet: Alphabet
    mean: Channels
    deviation: Channels
    each_picture: bool
    fingerprint: Digest


# checkpoints.json and interrupted.json: digests by epoch and tree. Older versions kept none.
Digests = dict[str, dict[str, Digest] | None]


# ------------------------------------------------------------------------------ checks


class InvalidError(ValueError):
    """A value does not have the declared type. The message names its key."""


def check(value: Any, kind: Any, strict: bool = True) -> Any:
    """`value` as the type `kind`. InvalidError names the key; with `strict` off text is parsed."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise InvalidError(_sentence(brief(error))) from error
    except (UnicodeError, OverflowError, RecursionError) as error:
        raise InvalidError(f"it cannot be converted: {type(error).__name__}") from error


def _sentence(message: str) -> str:
    """'Expected `int` - at `$.a.b`' to 'a.b: expected int'."""
    what, _, where = message.partition(" - at ")
    what = what.replace("`", "").replace("Object missing", "missing")
    place = where.replace("`", "").removeprefix("$").lstrip(".")
    return f"{place}: {what[:1].lower()}{what[1:]}" if place else what[:1].lower() + what[1:]


def document(content: bytes) -> Any:
    """The value of a JSON document of bounded size, depth and strings, without NaN.

    File names that are not UTF-8 become surrogate escapes.

    Raises:
      InvalidError: it is not such a document; the message names the key.
    """
    if len(content) > MAX_DOCUMENT:
        raise InvalidError(f"{len(content)} bytes are too many ({MAX_DOCUMENT} at most)")
    try:
        value = json.loads(content.decode("utf-8", errors="surrogateescape"))
    except RecursionError as error:
        raise InvalidError("it is nested too deeply") from error
    except ValueError as error:
        raise InvalidError(one_line(str(error))[:200]) from error
    check_plain(value)
    return value


def check_plain(value: Any, key: str = "", depth: int = 0) -> None:
    """InvalidError unless nested plain values are bounded, as `document` has them."""
    if isinstance(value, str):
        if len(value) > _MAX_STRING:
            raise InvalidError(f"{_named(key)}: a string of {len(value)} characters is too long")
        if not value.isascii() and _NO_CODE_POINT.search(value):
            raise InvalidError(f"{_named(key)}: {quote(value)} contains half a character")
    elif isinstance(value, float):
        if math.isnan(value):
            raise InvalidError(f"{_named(key)}: it is not a number")
    elif isinstance(value, (dict, list)):
        if depth == _MAX_DEPTH:
            raise InvalidError(f"{_named(key)}: it is nested more than {_MAX_DEPTH} levels deep")
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(name, str):
                check_plain(name, key, depth)
            check_plain(item, f"{key}.{name}" if len(key) < 300 else key, depth + 1)


def check_meta(meta: Any) -> None:
    """DamageError unless the metadata of a checkpoint have the declared types; names the key."""
    try:
        check_plain(meta)
        check(meta, PartialMeta)
    except InvalidError as error:
        raise DamageError(f"its metadata are wrong: {error}") from error


def _named(key: str) -> str:
    return one_line(key[1:301]) or "the document"


def read(path: str | os.PathLike[str], kind: Any) -> Any:
    """The value of a JSON file, after it is checked against the type `kind`.

    The value is plain: keys that `kind` does not declare are kept.

    Raises:
      FileNotFoundError: there is no such file.
      RunError: it cannot be read, or has another type; names file and key.
    """
    try:
        value = document(disk.read(path, MAX_DOCUMENT))
        check(value, kind)
    except FileNotFoundError:
        raise
    except (OSError, InvalidError) as error:
        raise _unreadable(path, error) from error
    return value


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[bytes, Line]]:
    """The lines of a `metrics.jsonl` with their values, without a last line that was cut off.

    Raises:
      RunError: it cannot be read, or a line is not a `Line`; names the line and the key.
    """
    decoder, number = msgspec.json.Decoder(Line), 0
    try:
        for number, line in enumerate(io.BytesIO(disk.read(path, MAX_TABLE)), 1):  # noqa: B007
            if not line.endswith(b"\n"):
                return
            if len(line) > MAX_LINE:
                raise InvalidError(f"{len(line)} bytes are too many ({MAX_LINE} at most)")
            values = decoder.decode(line)
            if "val_loss" in values and (missing := EPOCH_KEYS - values.keys()):
                raise InvalidError(f"missing required field {', '.join(sorted(missing))}")
            yield line, values
    except (InvalidError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        what = InvalidError(f"line {number}: {_sentence(brief(error))}")
        raise _unreadable(path, what) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def read_csv(path: str | os.PathLike[str], kind: type[T]) -> list[T]:
    """The rows of a CSV file with a header as objects of a NamedTuple `kind`, by column name.

    Raises:
      RunError: it cannot be read, lacks a column, or a value has another type; names row and
        column.
    """
    names: Sequence[str] = kind._fields  # type: ignore[attr-defined]
    result: list[T] = []
    try:
        text = disk.read(path, MAX_TABLE).decode("utf-8", errors="surrogateescape")
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = next(rows, [])
        if missing := [name for name in names if name not in header]:
            raise InvalidError(f"it has no column {', '.join(missing)}")
        places = [header.index(name) for name in names]
        for row in filter(None, rows):
            if len(row) != len(header):
                raise InvalidError(f"{len(row)} fields instead of {len(header)}")
            result.append(_row([row[place] for place in places], kind))
    except (csv.Error, InvalidError) as error:
        raise _unreadable(path, InvalidError(f"row {len(result) + 1}: {error}")) from error
    except OSError as error:
        raise _unreadable(path, error) from error
    return result


def _row(values: list[str], kind: type[T]) -> T:
    try:
        return check(values, kind, strict=False)
    except InvalidError as error:
        place = re.match(r"\[(\d+)\]: ", str(error))
        if not place:
            raise
        column, value = kind._fields[int(place[1])], values[int(place[1])]  # type: ignore[attr-defined]
        rest = str(error)[place.end() :]
        raise InvalidError(f"{column}: {rest}, not {quote(value)}") from error


def _unreadable(path: str | os.PathLike[str], error: Exception) -> RunError:
    why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return RunError(f"{one_line(os.fspath(path))} cannot be read: {why}")
