"""The form of the texts of a scheme: counts by hand, and what a reader does with it."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import crnn_jax
from crnn_jax.errors import ConfigError, DataError
from crnn_jax.inference import scheme_form
from crnn_jax.inference.evaluate import Reading
from crnn_jax.models.decoding import Decoder
from tests.helpers.command_line import call


def _readings(texts: Sequence[str], confidence: float = 0.5) -> list[Reading]:
    return [Reading(text, confidence) for text in texts]


def test_common_lengths() -> None:
    # With the fourth powers 0.4096 and 0.0016, the lengths 4, 5 and 2 weigh 1.64, 0.82 and 0.032.
    sure = _readings(["abcd"] * 4 + ["abcde"] * 2, 0.8)
    unsure = _readings(["ab"] * 20, 0.2) + _readings([""] * 9, 1.0)
    assert scheme_form.common_lengths(unsure + sure) == (4, 5)
    # Three of ten are enough, and three of eleven are not.
    for count, lengths in ((10, (4, 5)), (11, (4, 4))):
        readings = _readings(["abcd"] * count + ["abcde"] * 3)
        assert scheme_form.common_lengths(readings) == lengths
    with pytest.raises(ConfigError, match=r"in 10 or more images with readable text; there are 9"):
        scheme_form.common_lengths(_readings(["a"] * 9 + [""] * 9))


def test_common_symbols_count_with_the_confidence_of_their_readings() -> None:
    # Weights: a 10, b 10, c 1, d 0.5; the mean is 5.375, and d has less than a tenth of it.
    readings = _readings(["ab"] * 10, 1.0) + _readings(["c"], 1.0) + _readings(["d"] * 5, 0.1)
    assert scheme_form.common_symbols(readings) == "abc"
    assert scheme_form.common_symbols([]) == ""


def test_a_rare_symbol_is_kept_if_its_readings_are_sure() -> None:
    # a and b have the weight 36 each.
    often = [Reading("ab", 0.9)] * 40
    # Eight of x weigh 2.4 to 7.2. A third of the mean of the three symbols is at least 8.2, and a
    # tenth at most 2.7. The mean confidence is 0.85 to 0.9, so x is sure at 0.75, not at 0.67.
    for confidence, found in ((0.9, "abx"), (0.75, "abx"), (0.6, "ab"), (0.4, "ab")):
        readings = [*often, *[Reading("x", confidence)] * 8]
        assert scheme_form.common_symbols(readings) == found
    # 24 of them weigh 14.4, more than a third of the mean.
    assert scheme_form.common_symbols([*often, *[Reading("x", 0.6)] * 24]) == "abx"
    # In half as many readings, a symbol occurs (20 + 20 + 4) / 3 = 14.7 times, which is too few.
    assert scheme_form.common_symbols([*often[:20], *[Reading("x", 0.6)] * 4]) == "abx"


def test_a_sample_is_spread_over_the_images() -> None:
    assert scheme_form.sample(3) == [0, 1, 2]
    found = scheme_form.sample(1000)
    assert (len(found), found[:4], found[-1]) == (400, [0, 2, 5, 7], 997)


def test_symbols_are_those_of_texts_of_the_common_lengths() -> None:
    """Read greedily, some images have a text of another length, with a symbol z."""
    first = _readings(["ab"] * 10) + _readings(["abz"] * 4, 0.3)
    readings = {None: first, (2, 2): _readings(["ab"] * 14)}
    asked: list[dict[str, Any]] = []

    def make(**wish: Any) -> Decoder:
        asked.append(wish)
        return Decoder(beam=len(asked))  # its number

    def read(decoder: Decoder) -> list[Reading]:
        return readings[asked[decoder.beam - 1].get("length")]

    assert scheme_form.find(read, make).beam == 3
    assert asked == [{}, {"length": (2, 2)}, {"length": (2, 2), "allowed": "ab"}]


def test_a_reader_reads_texts_of_the_form_that_it_finds(trained: Path, captchas: Path) -> None:
    reader = crnn_jax.load(trained)
    paths = sorted(captchas.iterdir())
    broken: list[Any] = [*paths, b"no image"]
    # The labels have 2 to 4 characters. Those of three are read as often as the others together.
    fours = [path for path in paths if len(path.stem) == 4]
    assert len(fours) >= 10
    found = reader.form_of(fours)
    assert (found.shortest, found.longest) == (4, 4)
    assert reader.form_of(broken, length=3) == reader.decoder(length=3, allowed="abc7")
    with pytest.raises(ConfigError, match=r"more images with readable text; there are 5$"):
        reader.form_of(paths[:5])


def test_why_no_form_was_found_is_said(trained: Path, captchas: Path) -> None:
    reader = crnn_jax.load(trained)
    paths = sorted(captchas.iterdir())
    said = "there are 1; 2 cannot be read, such as number 1: empty file"
    with pytest.raises(ConfigError, match=said):
        reader.form_of([paths[0], b"", b"no image"])
    with pytest.raises(ConfigError, match=r"1 cannot be read, such as .*: it is a folder"):
        reader.form_of([captchas])

    def broken() -> Iterator[Path]:
        yield from paths[:12]
        raise OSError("no connection")

    with pytest.raises(DataError, match="the iterable of images raised OSError: no connection"):
        reader.form_of(broken())


def test_commands_read_texts_of_the_form(
    trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wish = ["--same-scheme", "--length", "3", "--format", "csv"]
    status, out, err = call(capsys, "predict", trained, captchas, *wish)
    assert (status, err) == (0, "note: the texts have 3 characters of 7abc\n")
    assert {len(row["text"]) for row in csv.DictReader(io.StringIO(out))} == {3}
    status, out, _ = call(capsys, "evaluate", trained, "--data", captchas, *wish[:3])
    readings = [line.split(" read as ")[1].split(",")[0] for line in out.splitlines()
                if " read as " in line]  # fmt: skip
    assert {len(reading) for reading in readings} == {3}
    for command in (["predict", trained, captchas, "--beam", "4"], ["evaluate", trained]):
        status, _, err = call(capsys, *command, "--same-scheme")
        assert (status, err.count("\n")) == (2, 1)
        assert "--same-scheme" in err
