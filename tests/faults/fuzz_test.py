"""Ten seconds of fuzzing with a fixed seed: every input gets an answer or a CrnnError.

`python -m tests.faults.long` does the same for an hour.
"""

import contextlib
import copy
import csv
import dataclasses
import io
import itertools
import json
import math
import struct
import unicodedata
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from crnn_jax import config as config_lib
from crnn_jax.analysis import label_audit, sweep_report
from crnn_jax.charset import Charset
from crnn_jax.cli import main
from crnn_jax.data import folder as dataset
from crnn_jax.data import image_io
from crnn_jax.data.synthetic import presets
from crnn_jax.errors import ConfigError, CrnnError, DataError
from crnn_jax.models import decoding
from crnn_jax.runs import run_dir
from experiments import tiny
from tests.faults import strangers
from tests.helpers.images import draw


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


# ------------------------------------------------------------------------------- mutations

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


# ---------------------------------------------------------------------------------- images


def image_files() -> Iterator[Any]:
    """A small image in every mode and format that Pillow can write, and in strangers.kinds."""
    image = draw("ab7")
    yield from strangers.kinds(image).values()
    yield from (content for content, _ in strangers.refused().values() if len(content) < 2000)
    modes = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB")
    between = {"La": "LA", "RGBa": "RGBA", "YCbCr": "RGB", "LAB": "RGB", "HSV": "RGB"}
    for mode, kind in itertools.product((*modes, "HSV", "I", "F", "I;16"), image_io._FORMATS):
        buffer = io.BytesIO()
        with contextlib.suppress(OSError, ValueError, KeyError):
            image.convert(between.get(mode, "L")).convert(mode).save(buffer, kind)
            yield buffer.getvalue()
            # The TIFF tag ExtraSamples: the colors are premultiplied by alpha.
            old, new = (struct.pack("<HHIH", 338, 3, 1, how) for how in (2, 1))
            if old in buffer.getvalue():
                yield buffer.getvalue().replace(old, new)


IMAGES = list(image_files())
SECTION = config_lib.from_dict(tiny.get_config().to_dict()).data
SECTIONS = [SECTION, dataclasses.replace(SECTION, channels=3)]


def read_image(content: bytes, section: Any) -> None:
    try:
        pixels = image_io.to_array(image_io.open_image(content), section)
    except DataError as error:
        check_message(error, lines=1)
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape == (section.width, section.height, section.channels)


@pytest.mark.parametrize("section", SECTIONS, ids=["gray", "color"])
def test_images_in_every_mode_and_format(section: Any) -> None:
    for content in IMAGES:
        read_image(content, section)


@fuzz(600)
@given(edited(IMAGES), st.sampled_from(SECTIONS))
def test_images(content: Any, section: Any) -> None:
    read_image(content, section)


# -------------------------------------------------------------------------- plain values


@fuzz(400)
@given(mutated(tiny.get_config().to_dict()))
def test_configs(values: Any) -> None:
    try:
        config = config_lib.from_dict(values)
    except ConfigError as error:
        check_message(error)
        return
    assert config_lib.from_dict(config_lib.to_dict(config)) == config


STYLES = [
    {k: v for k, v in dataclasses.asdict(style).items() if k != "fonts"}
    for style in presets.STYLES.values()
]


@fuzz(400)
@given(st.sampled_from(STYLES).flatmap(lambda style: mutated({"base": "plain", **style})))
def test_styles(values: Any) -> None:
    try:
        style = presets.from_values(values)
    except ConfigError as error:
        check_message(error)
        return
    flat = json.dumps(dataclasses.asdict(style))
    assert "NaN" not in flat
    assert "Infinity" not in flat
    assert style.width * style.height <= 2**24  # one GB of f32 for
    assert style.length[1] <= 1000
    assert style.curves[1] <= 1000


# -------------------------------------------------------------------------------- datasets

SYMBOL = st.sampled_from(list("ab7,\"'; \t\n\r\v\x1f\x85\u2028\u0301é日\ufeff\\="))
LABELS = st.text(SYMBOL, min_size=1, max_size=4)


@pytest.fixture(scope="module")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four images without a label file."""
    folder = tmp_path_factory.mktemp("labeled")
    for name in ("a.png", "b.png", "c d.png", "é,.png"):
        draw("ab").save(folder / name)
    return folder


def load(folder: Path) -> Any:
    section = dataclasses.replace(SECTION, dir=str(folder), source="folder")
    try:
        return dataset.load(section, None, 16)
    except DataError as error:
        check_message(error)
        return None


@fuzz(150)
@given(st.lists(LABELS, min_size=4, max_size=4))
def test_labels_are_read_as_they_were_written(labeled: Path, labels: Any) -> None:
    files = sorted(p.name for p in labeled.glob("*.png"))
    with (labeled / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *zip(files, labels, strict=True)])
    if data := load(labeled):
        assert data.files == tuple(files)
        assert data.texts == tuple(unicodedata.normalize("NFC", label) for label in labels)


@fuzz(150)
@given(edited(['file,label\na.png,ab\nb.png,"a,b"\n"é,.png",7\n'.encode(), b"label;file\n1;a\n"]))
def test_label_files(labeled: Path, content: Any) -> None:
    (labeled / "labels.csv").write_bytes(content)
    if data := load(labeled):
        assert all(data.texts)
        assert all((labeled / file).is_file() for file in data.files)


# --------------------------------------------------------------------------------- records

RESULT = {
    "num_examples": 4, "num_exact": 3, "exact_match": 0.75, "exact_match_95": [0.3, 0.95],
    "cer": 0.1, "char_accuracy": 0.9, "num_chars": 13, "val_loss": 1.5, "best_epoch": 2,
    "epochs_run": 3, "seconds": 1.5, "seed": 0,
    "params_sha256": "0" * 64, "data_name": "set", "fingerprint": "1" * 64, "num_train": 36,
    "num_val": 4, "temperature": 1.2,
}  # fmt: skip
METRICS = [
    {"epoch": epoch, "step": 5 * epoch, "loss": 3.0, "val_loss": 2.0, "exact_match": 0.5,
     "cer": 0.2, "seconds": 0.5}
    for epoch in (1, 2, 3)
]  # fmt: skip
PLACE = {
    "commit": "2" * 40, "uncommitted_changes": False, "command": ["run.py"], "version": "1",
    "python": "3.11", "packages": {"jax": "0.7.2"}, "platform": "Linux", "processor": "x",
    "cores": 2, "devices": ["cpu cpu"], "xla_flags": "",
    "data": {"name": "set", "num_examples": 40, "num_train": 36, "num_val": 4,
             "plateau_loss": 5.9, "alphabet": "7abc", "mean": [0.5], "deviation": [0.2],
             "each_picture": False, "fingerprint": "1" * 64},
}  # fmt: skip
READINGS = ",".join(run_dir.Answer._fields) + '\na.png,ab,ab,0.9,0.1\n"b,.png",ab,a,0.4,2.5\n'


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a finished run, as in a cell of a grid."""
    folder = tmp_path_factory.mktemp("grid") / "base" / "seed0-fold0"
    folder.mkdir(parents=True)
    files = {"config.json": tiny.get_config().to_dict(), "result.json": RESULT,
             "environment.json": PLACE}  # fmt: skip
    for name, values in files.items():
        (folder / name).write_text(json.dumps(values))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in METRICS))
    header, *answers = READINGS.splitlines(keepends=True)
    (folder / "readings.csv").write_text(READINGS)
    (folder / "errors.csv").write_text(header + answers[1])
    return folder


def read_record(folder: Path) -> Any:
    """Calls everything that reads a record without its checkpoints."""
    run = run_dir.RunDir(folder)
    runs = folder.parents[1]

    def table() -> None:
        found = sweep_report.read_grid(runs)
        sweep_report.to_markdown(found, sweep_report.table(found))
        sweep_report.to_csv(sweep_report.table(found))

    return [
        run.config, run.result, run.environment, run.metrics_lines, table,
        lambda: run.config_value("data.dir"),
        lambda: run.read_csv("readings.csv", run_dir.Answer),
        lambda: run.rewind_metrics(10),
        lambda: label_audit.rank(runs),
    ]  # fmt: skip


def test_the_record_that_is_fuzzed_is_read(cell: Path) -> None:
    for call in read_record(cell):
        call()


FILES = {
    "config.json": mutated(tiny.get_config().to_dict()).map(json.dumps),
    "result.json": mutated(RESULT).map(json.dumps),
    "environment.json": mutated(PLACE).map(json.dumps),
    "metrics.jsonl": st.lists(mutated(METRICS[0]), min_size=1, max_size=3).map(
        lambda lines: "".join(json.dumps(line) + "\n" for line in lines)
    ),
    "readings.csv": edited([READINGS.encode()]),
}
RAW = edited([json.dumps(RESULT).encode(), READINGS.encode(), b"[" * 100_000, b'{"a": 1}\n'])


@fuzz(200)
@given(st.sampled_from(sorted(FILES)).flatmap(lambda n: st.tuples(st.just(n), FILES[n] | RAW)))
def test_records(cell: Path, changed: Any) -> None:
    name, content = changed
    kept = {path: path.read_bytes() for path in cell.iterdir()}
    try:
        # A surrogate represents a byte of a file name that is not UTF-8.
        content = content if isinstance(content, bytes) else content.encode()
        (cell / name).write_bytes(content)
        for call in read_record(cell):
            try:
                call()
            except CrnnError as error:
                check_message(error)
    finally:
        for path, before in kept.items():
            path.write_bytes(before)


# -------------------------------------------------------------------- options of commands

CHARSET = Charset("7abc")
COUNTS = st.sampled_from([-1, 0, 1, 2, 5, 16, 17, 10**9, 10**30])
SYMBOLS = st.text(st.sampled_from("abc7xé "), max_size=5)


@fuzz(300)
@given(
    COUNTS,
    st.none() | COUNTS | st.tuples(COUNTS, COUNTS),
    st.none() | SYMBOLS | st.lists(SYMBOLS, max_size=4),
    st.sampled_from(["keep", "lower", "upper", "Upper", ""]),
    st.text(st.sampled_from("abAB7, é\ud800"), max_size=6),
)
def test_decoders(beam: Any, length: Any, allowed: Any, case: Any, merge: Any) -> None:
    assume(beam <= 16)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of symbols that the alphabet lacks
            decoder = decoding.decoder(CHARSET, 16, beam, length, allowed, case, merge)
    except ConfigError as error:
        check_message(error)
        return
    assert 0 <= decoder.shortest <= decoder.longest <= 16
    assert all(any(row) for row in decoder.allowed)
    if decoder.longest:
        assert not beam
        if isinstance(length, int):
            assert (decoder.shortest, decoder.longest) == (length, length)


VERBS = {
    "evaluate": ["--data", "--format", "--epoch", "--beam", "--length", "--allowed", "--case",
                 "--merge"],
    "predict": ["--format", "--epoch", "--beam", "--length", "--allowed", "--case", "--merge",
                "--explain", "--min-confidence"],
    "report": ["--reach", "--data"],
    "audit": ["--data", "--top"],
    "generate": ["--seed"],
    "robustness": ["--style", "--count", "--adapt", "--distortion", "--workdir"],
    "train": ["--allow-environment-change"],
    "reproduce": ["--data", "--workdir"],
    "export": ["--format", "--out", "--runtime"],
    "import-keras": ["--alphabet", "--blank", "--width", "--height"],
    "import-safetensors": [],
    "nonsense": [],
}  # fmt: skip
# None of the paths leads to a run, so that nothing takes long.
ODD = st.sampled_from([
    "nowhere", "empty", "text.json", "empty/x", "a" * 300, "-", "", " ", "0", "-1", "1", "3.5",
    "nan", "inf", "1e999", "5-", "-5", "4-6", "6-4", "99999999999999999999", "²", "٣", "1_0",
    "0x10", "json", "csv", "\udcff", "\x1b[2J", "é", "--", "--help", "--format=xml", "@text.json",
])  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an empty folder and a file that is no record."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.json").write_text('{"base": []}')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@fuzz(250)
@given(st.data())
def test_command_lines(folder: Path, data: Any) -> None:
    verb = data.draw(st.sampled_from(sorted(VERBS)))
    arguments = [verb, *data.draw(st.lists(ODD, max_size=3))]
    for flag in data.draw(st.lists(st.sampled_from(VERBS[verb] or ["--x"]), max_size=2)):
        arguments += [flag, data.draw(ODD)]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status: Any = main.main(arguments)
        except SystemExit as end:  # raised by argparse
            status = end.code
    if status == 0:
        assert "usage: " in out.getvalue(), arguments  # --help; there is nothing more to check
    else:
        assert status in (1, 2), arguments
        last = err.getvalue().splitlines()[-1]
        assert "error: " in last, (arguments, last)
