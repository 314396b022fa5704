"""The types of the files of a run, and how each kind of file is read.

Keys that are not declared here are kept, because other versions of the package wrote them.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, NotRequired, TypedDict, TypeVar

import msgspec
from msgspec import Meta

from crnn_jax.errors import DamageError, RunError, brief, one_line, quote
from crnn_jax.runtime import files
from crnn_jax.schema import (
    MAX_DOCUMENT,
    Alphabet,
    Channels,
    Commit,
    Count,
    Digest,
    Epoch,
    Finite,
    InvalidError,
    MeanAndStd,
    OtherCases,
    Seconds,
    Share,
    Step,
    Temperature,
    Text,
    check,
    check_plain,
    document,
    sentence,
)

T = TypeVar("T")

MAX_TABLE = 2**27  # bytes of a CSV file or of metrics.jsonl
MAX_LINE = 2**14  # bytes of a line of metrics.jsonl


class Line(TypedDict, total=False):
    """A line of metrics.jsonl, for a step or for an epoch. Lines of epochs have a `val_loss`."""

    epoch: Epoch
    step: Step
    step_loss: Finite
    loss: Finite
    val_loss: Finite
    exact_match: Share
    cer: Annotated[float, Meta(ge=0, le=1e9)]
    seconds: Seconds


EPOCH_KEYS = {"epoch", "exact_match", "seconds"}  # keys of every line that has a `val_loss`


class DataFacts(TypedDict, total=False):
    """The section `data` of environment.json."""

    name: Text
    num_examples: Count
    num_train: Count
    num_val: Count
    plateau_loss: Finite
    alphabet: Alphabet
    other_cases: OtherCases
    mean: Channels
    deviation: Channels
    each_picture: bool
    fingerprint: Digest


class JaxSettings(TypedDict, total=False):
    """The section `jax_settings` of environment.json."""

    default_matmul_precision: Text | None
    default_prng_impl: Text
    random_seed_offset: Annotated[int, Meta(ge=-(2**62), le=2**62)]
    threefry_partitionable: bool


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
    native: bool  # whether convolutions are computed by functions in C++
    processes: Count
    xla_flags: Text
    jax_settings: JaxSettings
    imported: Text
    data: DataFacts
    earlier: list[dict[str, Any]]


class ReaderMeta(TypedDict):
    """The metadata of a checkpoint that inference needs."""

    alphabet: Alphabet
    other_cases: NotRequired[OtherCases]
    mean: Channels
    deviation: Channels
    each_picture: bool
    fingerprint: Digest
    start_sha256: NotRequired[Digest]  # digest of train.init_from, if it is needed
    # Of an import without a result, in which they would be: see interop/imported_run.py.
    temperature: NotRequired[Temperature]
    typicality: NotRequired[MeanAndStd | None]
    width_by_image: NotRequired[bool]  # of an import of a reader that is exported with it


class _Progress(TypedDict, total=False):
    best_epoch: Epoch
    best_loss: float  # infinite at first; `check_plain` refuses NaN
    left_plateau: Epoch
    seconds: Seconds
    epoch: Epoch
    losses: list[Finite]


class CheckpointMeta(ReaderMeta, _Progress):
    """The metadata of a checkpoint: `Stopping`, and in mid-epoch the losses so far."""


class PartialMeta(_Progress, total=False):
    """Like CheckpointMeta, with all keys optional."""

    alphabet: Alphabet
    other_cases: OtherCases
    mean: Channels
    deviation: Channels
    each_picture: bool
    fingerprint: Digest


# checkpoints.json and interrupted.json: digests by epoch and tree. Older versions kept none.
Digests = dict[str, dict[str, Digest] | None]


def check_meta(meta: Any) -> None:
    """Checks the types of a checkpoint's metadata. DamageError names the wrong key."""
    try:
        check_plain(meta)
        check(meta, PartialMeta)
    except InvalidError as error:
        raise DamageError(f"its metadata is wrong: {error}") from error


def read(path: str | os.PathLike[str], kind: Any) -> Any:
    """Returns the value of a JSON file, checked against the type `kind`.

    The value is plain: keys that `kind` does not declare are kept.

    Raises:
      FileNotFoundError: there is no such file.
      RunError: the file cannot be read, or has another type; the message names file and key.
    """
    try:
        value = document(files.read(path, MAX_DOCUMENT))
        check(value, kind)
    except FileNotFoundError:
        raise
    except (OSError, InvalidError) as error:
        raise _unreadable(path, error) from error
    return value


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[bytes, Line]]:
    """Yields the lines of a `metrics.jsonl` with their values, without a truncated last line.

    Raises:
      RunError: the file cannot be read, or a line is not a `Line`; the message names the line and
        the key.
    """
    decoder, number = msgspec.json.Decoder(Line), 0
    try:
        for number, line in enumerate(io.BytesIO(files.read(path, MAX_TABLE)), 1):  # noqa: B007
            if not line.endswith(b"\n"):
                return
            if len(line) > MAX_LINE:
                raise InvalidError(f"{len(line)} bytes are too many ({MAX_LINE} at most)")
            values = decoder.decode(line)
            if "val_loss" in values and (missing := EPOCH_KEYS - values.keys()):
                raise InvalidError(f"missing required field {', '.join(sorted(missing))}")
            yield line, values
    except (InvalidError, msgspec.DecodeError, UnicodeError, RecursionError) as error:
        what = InvalidError(f"line {number}: {sentence(brief(error))}")
        raise _unreadable(path, what) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def read_csv(path: str | os.PathLike[str], kind: type[T]) -> list[T]:
    """Returns the rows of a CSV file with a header as objects of a NamedTuple, by column name.

    Raises:
      RunError: the file cannot be read, lacks a column, or has a value of another type; the
        message names row and column.
    """
    names: Sequence[str] = kind._fields  # type: ignore[attr-defined]  # T is a NamedTuple
    result: list[T] = []
    try:
        text = files.read(path, MAX_TABLE).decode("utf-8", errors="surrogateescape")
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
        row: T = check(values, kind, strict=False)
    except InvalidError as error:
        place = re.match(r"\[(\d+)\]: ", str(error))
        if not place:
            raise
        index = int(place[1])
        column: str = kind._fields[index]  # type: ignore[attr-defined]  # T is a NamedTuple
        rest = str(error)[place.end() :]
        raise InvalidError(f"{column}: {rest}, not {quote(values[index])}") from error
    return row


def _unreadable(path: str | os.PathLike[str], error: Exception) -> RunError:
    why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return RunError(f"{one_line(os.fspath(path))} cannot be read: {why}")
