"""Scores on the test part of a data set: `test.json` of a run, and readings without training.

Labels follow different conventions: some schemes label capitals in lower case, and in some fonts 0
and o look the same. So exact match is counted in three ways. Does not import jax.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, NotRequired, TypedDict

from msgspec import Meta

from crnn_jax.inference import metrics
from crnn_jax.schema import Count, Digest, Share, Text

TEST_FILE = "test.json"  # file in a run directory
TEST_SIZE = 500  # images of the test part of a scheme; a small scheme gives a third


class Match(TypedDict):
    """Exact match over a test part."""

    num_exact: Count
    exact_match: Share
    exact_match_95: Annotated[list[Share], Meta(min_length=2, max_length=2)]  # Wilson interval


class Matches(TypedDict):
    """Exact match in each of the three `metrics.WAYS`."""

    labeled: Match
    case_folded: Match
    merged: Match
    # Case-folded, only without training: with the form of the texts found in the images, and with
    # the scheme's alphabet and lengths given.
    form_found: NotRequired[Match]
    form_given: NotRequired[Match]


class HeldOut(TypedDict):
    """The content of `test.json`, and the record of a scheme that is read without training."""

    data_name: Text
    fingerprint: Digest  # fingerprint of the whole data set
    files_sha256: Digest  # digest of the file names of the test part
    num_examples: Annotated[int, Meta(ge=1, le=10**9)]
    scores: Matches


def match(truths: Sequence[str], readings: Sequence[str], way: str) -> Match:
    """Counts equal texts in one of the `metrics.WAYS`."""
    fold = metrics.WAYS[way]
    pairs = zip(truths, readings, strict=True)
    return to_match(sum(fold(truth) == fold(reading) for truth, reading in pairs), len(truths))


def to_match(num_exact: int, num_examples: int) -> Match:
    """Returns the rate of a count, with its 95 % Wilson interval."""
    interval = metrics.wilson_interval(num_exact, num_examples)
    return Match(
        num_exact=num_exact, exact_match=num_exact / num_examples, exact_match_95=list(interval)
    )


def score(
    data_name: str,
    fingerprint: str,
    files: Sequence[str],
    truths: Sequence[str],
    readings: Sequence[str],
) -> HeldOut:
    """Scores the readings of a test part.

    Args:
      data_name: the name of the data set.
      fingerprint: the fingerprint of the whole data set.
      files: names of the images that were read, in the order of `truths` and `readings`.
      truths: the labels, as the folder has them.
      readings: the texts that were read.
    """
    return HeldOut(
        data_name=data_name,
        fingerprint=fingerprint,
        files_sha256=files_sha256(files),
        num_examples=len(files),
        scores=Matches(
            labeled=match(truths, readings, "labeled"),
            case_folded=match(truths, readings, "case_folded"),
            merged=match(truths, readings, "merged"),
        ),
    )


def files_sha256(files: Iterable[str]) -> str:
    """Returns the digest of a set of file names, in any order."""
    digest = hashlib.sha256()
    for file in sorted(files):
        name = file.encode("utf-8", errors="surrogateescape")
        digest.update(len(name).to_bytes(8, "little") + name)
    return digest.hexdigest()
