"""Untrusted images: a reading of the right file, or one line that says why there is none."""

import csv
import dataclasses
import io
import json
import os
import random
import socket
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image, ImageOps

import crnn_jax
from crnn_jax.charset import Charset
from crnn_jax.cli import main
from crnn_jax.data import folder as dataset
from crnn_jax.data import image_io
from crnn_jax.errors import DataError
from crnn_jax.inference.recognizer import Recognizer
from tests.faults import inputs, strangers
from tests.helpers.fixtures import CONFIG
from tests.helpers.images import draw


@pytest.fixture(scope="module")
def reader(trained: Path) -> Recognizer:
    return crnn_jax.load(trained)


def test_every_kind_of_picture_shows_the_same(captchas: Path) -> None:
    """All kinds give the pixels of the gray PNG, up to lossy formats and an opacity of 254/255."""
    original = Image.open(sorted(captchas.iterdir())[0])
    expected = image_io.to_array(original, CONFIG).astype(int)
    for name, content in strangers.kinds(original).items():
        found = image_io.to_array(image_io.open_image(content), CONFIG)
        lossy = name.endswith("jpg") or name in ("lossy.webp", "palette.png")
        limit = 10 if lossy and name != "wrong extension.jpg" else 2
        assert np.abs(found - expected).max() <= limit, name


def test_what_costs_too_much_or_is_not_clear_is_refused_by_its_reason() -> None:
    for name, (content, reason) in strangers.refused().items():
        with pytest.raises(DataError) as error:
            image_io.open_image(content)
        assert reason in str(error.value), name
        assert "\n" not in str(error.value), name
    with pytest.raises(DataError, match="3000x3000 pixels are too many"):
        image_io.decode(Image.new("L", (3000, 3000)))


@pytest.mark.parametrize("size", [(1, 1), (10000, 1), (1, 10000), (2048, 2048)])
def test_odd_sizes_are_read(reader: Recognizer, size: tuple[int, int]) -> None:
    """As an empty image: the letter is outside, or tiny."""
    (found,), (empty,) = reader.predict(draw("a", *size)), reader.predict(draw(""))
    assert found.text == empty.text


def odd_files(folder: Path) -> dict[str, Any]:
    """Files that can lie in a folder under the name of an image, and a part of each error."""
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "folder.png").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # paths of sockets must be short
        server.bind("socket.png")
        os.chdir(here)
    return {
        "pipe.png": "a pipe",
        "loop.png": "symbolic links",
        "gone.png": "No such file",
        "device.png": "a pipe, device or socket",
        "folder.png": "folder",
        "socket.png": "No such device",
    }


def test_what_is_no_file_keeps_nobody_waiting(
    reader: Recognizer, captchas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = odd_files(tmp_path)
    good = sorted(captchas.iterdir())[0]
    paths = [*(os.fspath(tmp_path / name) for name in expected), os.fspath(good), "a\0b"]
    *bad, answer, last = reader.stream(paths)
    assert answer.text == reader.predict(good)[0].text
    assert "not a file name" in str(last)
    for said, reason in zip(bad, expected.values(), strict=True):
        assert isinstance(said, DataError)
        assert reason in str(said)
    (tmp_path / "ab.png").write_bytes(good.read_bytes())
    config = dataclasses.replace(CONFIG, dir=os.fspath(tmp_path))
    with pytest.raises(DataError, match="5 files") as error:
        dataset.load(config, None, 16)
    assert "pipe.png: a pipe" in str(error.value)


NAMES = ["a,b.png", 'a"b.png', "a\nb.png", "a\tb.png", "日本.png", " a .png", "-a.png",
         "a;rm.png", os.fsdecode(b"\xff\xfe.png"), "=1+1.png", "\x1b[31m.png"]  # fmt: skip


def test_names_of_any_kind_come_out_as_they_are(
    trained: Path, captchas: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    texts = {}
    pictures = sorted(captchas.iterdir())
    for name, path in zip(NAMES, pictures, strict=False):
        (tmp_path / name).write_bytes(path.read_bytes())
        texts[os.fspath(tmp_path / name)] = path
    reader = crnn_jax.load(trained)
    expected = {name: reader.predict(path)[0].text for name, path in texts.items()}
    out = {}
    for kind in ("json", "csv", "text"):
        assert (
            main.main(["predict", os.fspath(trained), os.fspath(tmp_path), "--format", kind]) == 0
        )
        out[kind] = capfdbinary.readouterr().out
    assert {row["path"]: row["text"] for row in json.loads(out["json"])} == expected
    rows = csv.DictReader(io.StringIO(os.fsdecode(out["csv"]), newline=""))
    assert {row["path"]: row["text"] for row in rows} == expected
    assert out["text"].count(b"\n") == len(NAMES)
    assert b"\x1b" not in out["text"]
    assert rb"a\nb.png" in out["text"]


def check_mutated(reader: Recognizer, clean: Any, count: int, seed: int) -> tuple[Any, Any, Any]:
    """Streams mutated files among clean ones. Returns counts of read, refused and clean files."""
    rng = np.random.default_rng(seed)
    kinds = [content for path in clean for content in strangers.kinds(Image.open(path)).values()]
    answers = [reader.predict(path)[0] for path in clean]
    given: list[Any] = []
    expected: list[Any] = []
    for i in range(count):
        if i % 10 == 0:
            which = int(rng.integers(len(clean)))
            given.append(clean[which])
            expected.append(answers[which])
        one, other = rng.integers(len(kinds), size=2)
        given.append(strangers.mutate(rng, kinds[one], kinds[other]))
        expected.append(None)
    read, refused, right = 0, 0, 0
    for content, answer, wanted in zip(given, reader.stream(iter(given)), expected, strict=True):
        if isinstance(answer, DataError):
            assert wanted is None
            assert "\n" not in str(answer), answer
            refused += 1
        elif wanted is None:
            read += 1
        else:
            assert answer.text == wanted.text
            assert abs(answer.confidence - wanted.confidence) < 1e-3
            right += 1
        del content
    return read, refused, right


def test_mutated_files_are_read_or_refused_and_move_no_answer(
    reader: Recognizer, captchas: Path
) -> None:
    read, refused, right = check_mutated(reader, sorted(captchas.iterdir())[:4], 500, seed=0)
    assert read + refused == 500
    assert min(read, refused) > 50
    assert right == 50


def test_a_data_set_names_exactly_its_bad_files(captchas: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    kinds = list(strangers.kinds(Image.open(sorted(captchas.iterdir())[0])).values())
    bad = set()
    for i in range(60):
        one, other = rng.integers(len(kinds), size=2)
        content = strangers.mutate(rng, kinds[one], kinds[other]) if i % 3 else kinds[one]
        (tmp_path / f"ab_{i}.png").write_bytes(content)
        try:
            image_io.open_image(content)
        except DataError:
            bad.add(f"ab_{i}.png")
    assert 10 < len(bad) < 40
    config = dataclasses.replace(CONFIG, dir=os.fspath(tmp_path))
    with pytest.raises(DataError) as error:
        dataset.load(config, Charset("ab"), 16)
    named = {line.split(":")[0].strip() for line in str(error.value).splitlines()[1:]}
    assert named == bad


def test_a_labels_file_leads_nowhere_else(captchas: Path, tmp_path: Path) -> None:
    good = sorted(captchas.iterdir())[0]
    (tmp_path / "set").mkdir()
    (tmp_path / "out.png").write_bytes(good.read_bytes())
    (tmp_path / "set" / "labels.csv").write_text(f"file,label\n../out.png,ab\n{good},ab\n")
    config = dataclasses.replace(CONFIG, dir=os.fspath(tmp_path / "set"))
    with pytest.raises(DataError, match=r"\.\./out\.png: its name leads out of the folder"):
        dataset.load(config, None, 16)
    (tmp_path / "set" / "labels.csv").write_text(f"file,label\n{good},ab\n")
    with pytest.raises(DataError, match="there is no such file; its name leads out of the folder"):
        dataset.load(config, None, 16)


# Costs of a file besides its pixels.
COSTLY = inputs.costly()
OLD_PILLOW = int(PIL.__version__.split(".")[0]) < 13


@pytest.mark.parametrize("name", COSTLY)
def test_files_that_cost_out_of_proportion_are_refused(name: Any) -> None:
    content, reason = COSTLY[name]
    with pytest.raises(DataError, match=reason) as error:
        image_io.open_image(content)
    assert "\n" not in str(error.value)


def test_scans_are_counted_in_an_image_that_the_caller_opened() -> None:
    with (
        Image.open(io.BytesIO(COSTLY["mpo.jpg"][0])) as image,
        pytest.raises(DataError, match="scans"),
    ):
        image_io.decode(image)


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param(
            "La", marks=pytest.mark.skipif(OLD_PILLOW, reason="Pillow before 13 refuses the file")
        ),
        "RGBa",
    ],
)
def test_associated_alpha_is_read_beside_other_images(
    reader: Recognizer, captchas: Path, mode: str
) -> None:
    """100 at an opacity of 128 of 255 is 100 + 127 on white, up to the rounding of 100 / 128."""
    content = inputs.premultiplied_tiff(mode)
    config = dataclasses.replace(CONFIG, width=2, height=1)
    found = image_io.to_array(image_io.open_image(content), config)[:, 0, 0].tolist()
    assert abs(found[0] - 227) <= 1
    assert found[1] == 200
    good = sorted(captchas.iterdir())[0]
    assert len(reader.predict([content, good])) == 2


@pytest.mark.parametrize("error", [ValueError("a\nb"), MemoryError(), KeyError(7), OSError(5, "x")])
@pytest.mark.parametrize("method", ["load", "copy", "convert", "resize", "getexif"])
def test_an_error_from_pillow_refuses_that_image_alone(
    reader: Recognizer, captchas: Path, monkeypatch: pytest.MonkeyPatch, error: Any, method: str
) -> None:
    good = sorted(captchas.iterdir())[0]
    bad = Image.new("LA", (30, 20))
    original = getattr(Image.Image, method)

    def fail(image: Image.Image, *arguments: Any, **options: Any) -> Any:
        if image.size == (30, 20):
            raise error
        return original(image, *arguments, **options)

    monkeypatch.setattr(Image.Image, method, fail)
    first, second, third = reader.stream([good, bad, good])
    assert isinstance(second, DataError)
    assert "\n" not in str(second)
    assert first.text == third.text == reader.predict(good)[0].text


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_upright_as_exif_transpose_makes_them(orientation: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(buffer))
    found = image_io.open_image(buffer.getvalue())
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_mutated_images_give_an_array_or_one_line(tmp_path: Path) -> None:
    counts = inputs.images(tmp_path, random.Random(0), 0.01)
    assert counts["images read"] + counts["images refused"] == 1000
    assert counts["MB grown over them"] < 200
