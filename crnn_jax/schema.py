"""Types of values in JSON files and configs, and checks of untrusted values against them.

`document` bounds the size, the depth and the strings of a JSON document. `check` compares a value
with a declared type and names the key that differs. `rule` states such a type in words.
"""

from __future__ import annotations

import json
import math
import re
import typing
import warnings
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from crnn_jax.errors import brief, one_line, quote

MAX_DOCUMENT = 2**23  # bytes of a JSON document
MAX_PIXELS = 2**20  # maximum pixels of an image
_MAX_DEPTH = 12
_MAX_STRING = 2**21  # characters
_MAX_FLOAT32 = 3.5e38
# Surrogates stand for the bytes of file names that are not UTF-8; others cannot be written.
_NO_CODE_POINT = re.compile("[\ud800-\udc7f\udd00-\udfff]")

# ------------------------------------------------------------------------------ values

Text = Annotated[str, Meta(max_length=4096)]
Alphabet = Annotated[str, Meta(min_length=1, max_length=2**16)]
OtherCases = Annotated[str, Meta(max_length=2**16)]
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
MeanAndStd = Annotated[list[Finite], Meta(min_length=2, max_length=2)]  # the std is above 0
Channels = Annotated[list[Finite], Meta(min_length=1, max_length=4)]

# ------------------------------------------------------------------------------ config values

Rate = Annotated[float, Meta(ge=0, lt=1)]
Dropout = Annotated[float, Meta(ge=0, le=0.99)]  # float32 rounds 1 - 1e-9 to 1
Size = Annotated[  # pixels
    int, Meta(ge=1, le=2**20, extra={"note": f"width times height at most {MAX_PIXELS}"})
]
Width = Annotated[
    int, Meta(ge=0, le=2**20, extra={"note": f"width times height at most {MAX_PIXELS}"})
]
Units = Annotated[int, Meta(ge=1, le=2**13)]
Layers = Annotated[tuple[Units, ...], Meta(min_length=1, max_length=16)]
Pools = Annotated[
    str,
    Meta(
        max_length=128,
        pattern="^((1x1|1x2|2x2)( (?!$)|$))*$",
        extra={"what": "1x1, 1x2 or 2x2 for each convolution, separated by spaces: text"},
    ),
]
Lengths = Annotated[
    str,
    Meta(
        pattern=r"\A(labels|[0-9]{1,4}(-[0-9]{1,4})?)?\Z",
        extra={"what": "a number such as 5, a range such as 4-6, labels, or empty: text"},
    ),
]
Trackers = Annotated[
    tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...],
    Meta(max_length=4, extra={"what": "at most 4 of tensorboard, wandb, mlflow and trackio"}),
]
Batch = Annotated[int, Meta(ge=1, le=2**16)]
Steps = Annotated[int, Meta(ge=1, le=10**8)]
Epochs = Annotated[int, Meta(ge=0, le=10**6)]
# No NUL, and no surrogates except those that stand for the bytes of a file name.
Path = Annotated[str, Meta(max_length=4096, pattern="\\A[^\\0\\ud800-\\udc7f\\udd00-\\udfff]*\\Z")]

# ------------------------------------------------------------------------------ checks


class InvalidError(ValueError):
    """A value does not have the declared type. The message names its key."""


def check(value: Any, kind: Any, strict: bool = True) -> Any:
    """Converts `value` to `kind`, and parses text if not `strict`. InvalidError names the key."""
    try:
        return msgspec.convert(value, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise InvalidError(sentence(brief(error))) from error
    except (UnicodeError, OverflowError, RecursionError) as error:
        raise InvalidError(f"it cannot be converted: {type(error).__name__}") from error


def sentence(message: str) -> str:
    """Converts 'Expected `int` - at `$.a.b`' to 'a.b: expected int'."""
    what, _, where = message.partition(" - at ")
    what = what.replace("`", "").replace("Object missing", "missing")
    place = where.replace("`", "").removeprefix("$").lstrip(".")
    return f"{place}: {what[:1].lower()}{what[1:]}" if place else what[:1].lower() + what[1:]


def document(content: bytes) -> Any:
    """Returns the value of a JSON document of bounded size, depth and strings, without NaN.

    File names that are not UTF-8 become surrogate escapes.

    Raises:
      InvalidError: `content` is not such a document; the message names the key.
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
    """Checks that nested plain values have the bounds of `document`. InvalidError names the key."""
    if isinstance(value, str):
        if len(value) > _MAX_STRING:
            raise InvalidError(f"{_named(key)}: a string of {len(value)} characters is too long")
        if not value.isascii() and _NO_CODE_POINT.search(value):
            raise InvalidError(f"{_named(key)}: {quote(value)} contains an unpaired surrogate")
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


def _named(key: str) -> str:
    return one_line(key[1:301]) or "the document"


def rule(kind: Any, value: Any = None) -> str:
    """Describes the declared type and range. If `value` has the right type, only the range."""
    base, *extras = typing.get_args(kind) if typing.get_origin(kind) is Annotated else (kind,)
    if typing.get_origin(base) is Literal:
        return " or ".join(map(repr, typing.get_args(base)))
    meta = extras[-1] if extras else Meta()
    if base is str:
        what = "text"
        if meta.pattern is not None:
            what = meta.extra["what"] if meta.extra else "a valid path"
        return f"{what} of at most {meta.max_length} characters" if meta.max_length else what
    if typing.get_origin(base) is tuple and meta.extra:
        return f"a tuple of {meta.extra['what']}"
    if typing.get_origin(base) is tuple:
        return f"{meta.min_length} to {meta.max_length} numbers {rule(typing.get_args(base)[0], 0)}"
    bounds = {"at least": meta.ge, "above": meta.gt, "at most": meta.le, "below": meta.lt}
    given = {word: _number(bound) for word, bound in bounds.items() if bound is not None}
    if {"at least", "at most"} <= given.keys():
        text = f"from {given['at least']} to {given['at most']}"
    else:
        text = " and ".join(f"{word} {bound}" for word, bound in given.items())
    if meta.extra:
        text += f", and {meta.extra['note']}"
    if type(value) is base or (base is float and type(value) is int):
        return text
    return f"of type {base.__name__}" + (f", {text}" if text else "")


def _number(bound: float) -> str:
    return "2**32 - 1" if bound == 2**32 - 1 else f"{bound:g}" if bound > 2**30 else str(bound)


def label_pattern_fault(pattern: str) -> str:
    """Says why a pattern for labels is refused; "" if it is accepted.

    It must be empty, or a regular expression with one group and bounded match time. A config may be
    untrusted, and `(a+)+b` takes 2**n steps on n characters. With few quantifiers and alternatives,
    and no group that can be repeated in several ways, the number of steps is a power of n.
    """
    if not pattern:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # for patterns whose meaning changes in a later Python
            groups = re.compile(pattern).groups
    except (re.error, Warning, RecursionError, OverflowError) as error:
        return f"it is not a valid regular expression: {one_line(str(error))[:100]}"
    if groups == 0:
        return "it has no group; put parentheses around the part that matches the label"
    if groups > 1:
        return f"it has {groups} groups; use (?:...) for groups other than the label"
    plain = re.sub(r"\[\^?\]?[^\]]*\]", "x", re.sub(r"\\.", "x", pattern))  # no escapes, no sets
    if re.search(r"\(\?(#|[aiLmsu]*x)", plain):  # they can hide a repeated group
        return "it has a comment or the flag x"
    plain = re.sub(r"([*+?}])[?+]", r"\1", plain)  # lazy and possessive quantifiers
    # A label that is repeated would be its last repetition, and a quantifier inside would multiply.
    unrepeated = re.sub(r"\(\?:([^()*+?|{}]|\{\d+\})*\)\{[1-9]\}", "x", plain)
    if re.search(r"\)[*+{]", unrepeated):
        return (
            "it repeats a group; a group can be optional, as in (...)?, and (?:...){2} can repeat "
            "a part of fixed length up to 9 times"
        )
    count = len(re.findall(r"[*+?{|]", plain.replace("(?", "(")))
    return f"it has {count} of * + ? {{ |, and 4 are allowed" if count > 4 else ""
