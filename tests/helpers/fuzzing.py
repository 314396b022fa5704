"""Mutated values and bytes for tests that fuzz, with the same examples in every run.

`python -m tests.faults.long` does the same with more examples, for an hour.
"""

import copy
import json
import math
import unicodedata
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st


def fuzz(examples: int) -> settings:
    """Settings of a test that draws the same examples every time."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def check_message(error: BaseException, lines: int = 100) -> None:
    """Checks that an error is readable: not empty, only printable characters."""
    text = str(error)
    assert text.strip()
    assert text.count("\n") < lines
    assert all(c == "\n" or unicodedata.category(c) != "Cc" for c in text), repr(text)


NUMBERS = st.sampled_from(
    [-1, 0, 1, 3, 2**31, 2**63, 10**30, -(10**30), -1.5, 0.5, 1e-300, 1e308, -0.0]
) | st.sampled_from([math.nan, math.inf, -math.inf])
TEXTS = st.sampled_from(["", "x", "a" * 3000, "../../x", "\x1b[2J", "a\nb", "\ud800", "é", "日本"])
SCALARS = NUMBERS | TEXTS | st.sampled_from([None, True, False])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("ab."), inner, max_size=3)
    ),
    max_leaves=6,
) | st.sampled_from([[1] * 3000, [[1, 2]] * 300])


def places(values: Any, path: tuple[str | int, ...] = ()) -> Iterator[Any]:
    """The paths of all values within nested plain values."""
    yield path
    if isinstance(values, (dict, list)):
        for key in values if isinstance(values, dict) else range(len(values)):
            yield from places(values[key], (*path, key))


@st.composite
def mutated(draw_value: Any, values: Any) -> Any:
    """Nested plain values with one to three values replaced, removed or renamed."""
    values = json.loads(json.dumps(values))
    for _ in range(draw_value(st.sampled_from([1, 1, 1, 2, 3]))):
        path = draw_value(st.sampled_from(list(places(values))))
        if not path:
            if draw_value(st.integers(0, 20)) == 0:
                return draw_value(VALUES)
            continue
        inner = values
        for key in path[:-1]:
            inner = inner[key]
        how = draw_value(st.sampled_from(["replace"] * 4 + ["remove", "rename", "nudge"]))
        value = inner[path[-1]]
        if how == "replace":
            inner[path[-1]] = copy.deepcopy(draw_value(VALUES))  # the next iteration may change it
        elif how == "nudge" and isinstance(value, (int, float)):
            inner[path[-1]] = draw_value(st.sampled_from([-value, value * 1000, value + 0.5]))
        else:
            del inner[path[-1]]
            if how == "rename" and isinstance(inner, dict):
                inner[path[-1] + "x"] = value
    return values


@st.composite
def edited(draw_value: Any, contents: Any) -> Any:
    """The bytes of one of `contents`, unchanged, truncated, overwritten, repeated or spliced."""
    data = bytearray(draw_value(st.sampled_from(contents)))
    for _ in range(draw_value(st.integers(0, 3))):
        # Bytes in headers matter most.
        end = len(data) if draw_value(st.booleans()) else min(len(data), 80)
        place = draw_value(st.integers(0, max(end - 1, 0)))
        length = draw_value(st.sampled_from([1, 2, 4, 40]))
        match draw_value(st.integers(0, 4)):
            case 0:
                data[place : place + length] = draw_value(st.binary(max_size=length))
            case 1:
                del data[place:]
            case 2:
                data[place:place] = data[place : place + length] * 3
            case 3:
                number = draw_value(st.sampled_from([0, 1, 255, 2**16 - 1, 2**31, 2**32 - 1]))
                order = draw_value(st.sampled_from(["little", "big"]))
                data[place : place + 4] = number.to_bytes(4, order)
            case 4:
                other = draw_value(st.sampled_from(contents))
                data[place:] = other[place:]
    return bytes(data)
