"""Style files: a style within bounds, or one line that names the key; generated sets read back."""

import collections
import csv
import dataclasses
import json
import os
import random
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax.cli.main import main
from crnn_jax.data import folder as dataset
from crnn_jax.data import generated, generated_folder
from crnn_jax.data.synthetic import glyphs, presets, render, style
from crnn_jax.errors import ConfigError, DataError
from tests.faults import inputs
from tests.helpers.fixtures import CONFIG

SMALL = {"base": "plain", "alphabet": "abc7", "length": [2, 3], "width": 64, "height": 16,
         "size": [12, 12], "left": [3, 8], "baseline": [12, 12], "faces": ["Go-Bold"]}  # fmt: skip


def load(tmp_path: Path, **values: Any) -> Any:
    path = tmp_path / "style.json"
    path.write_text(json.dumps(values))
    return presets.load(os.fspath(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("paper", [-1e308, 1e308]),
        ("curve_x", [[float("nan"), 0.3, 0.6, 1]]),
        ("curve_x", [[0.1, 0.2, 0.3]]),
        ("curve_x", [[0, 0, 0, 0]] * 5000),
        ("curve_width", [-5]),
        ("curve_width", [float("inf")]),
        ("curve_flatness", float("nan")),
        ("curves", [5000, 5000]),
        ("curves", [0, 10**9]),
        ("faces", ["Go-Bold"] * 5000),
        ("faces", ["x" * 10**6]),
        ("faces", []),
        ("length", [4, 100_000]),
        ("length", [1, 10**9]),
        ("length", [True, True]),
        ("width", 10**9),
        ("width", 10**30),
        ("width", True),
        ("height", 200.0),
        ("colour", 1),
        ("ink", [255, 0]),
        ("ink", "dark"),
        ("noise", {"a": 1}),
        ("blur", [[[[[]]]]]),
        ("alphabet", "aa"),
        ("alphabet", ""),
        ("alphabet", "a\x00"),
        ("alphabet", "a\n"),
        ("alphabet", "a "),
        ("alphabet", "a\u3000"),
        ("alphabet", "a\u200b"),
        ("alphabet", "a\ud800"),
        ("alphabet", "e\u0301"),  # composes to one character
        ("alphabet", "\u212b"),  # NFC changes it to another character
        ("alphabet", "\u1100\u1161"),  # Hangul parts that compose
        ("alphabet", "".join(map(chr, range(0x4E00, 0x4E00 + 5000)))),
        ("alphabet", 7),
    ],
)
def test_a_value_out_of_bounds_is_named_by_its_key_in_one_line(
    tmp_path: Path, key: str, value: Any
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **{key: value})
    message = str(error.value)
    assert f"{key} cannot be" in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"width": 4096, "height": 4096}, "width times height"),
        ({"faces": ["Go-Bold", "Go-Medium"] * 20, "alphabet": "abcdefghijklmnopqrstuvwxyz"},
         "alphabet times faces"),
        ({"width": 16, "height": 50}, "quarter of the width"),
        ({"spacing": [60, 60], "length": [64, 64]}, "quarter of the width"),
        ({"baseline": [36, 51]}, "baseline must be at most height"),
        ({"ink": [255, 255], "paper": [255, 255]}, "ink and paper must differ"),
        ({"base": []}, "base is one of"),
        ({"base": {}}, "base is one of"),
        ({"base": "nothing"}, "base is one of"),
        ({"x" * 10**6: 1}, "a style has no key 'xxx"),
    ],
)  # fmt: skip
def test_values_that_do_not_go_together_are_refused_by_rule(
    tmp_path: Path, values: Any, rule: str
) -> None:
    with pytest.raises(ConfigError, match=rule) as error:
        load(tmp_path, **values)
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"width": 100, "width": 200}', "key 'width' occurs twice"),
        (b'{"size": ' + b"[" * 5000 + b"]" * 5000 + b"}", "size.*( is nested too deep|cannot)"),
        (b'{"alphabet": "a", "size": {"b": ' + b"[" * 200_000, "size.* is nested too deeply"),
        (b'{"width": ' + b"9" * 5000 + b"}", "limit.*integer string"),
        (b"[]", "a style is an object"),
        (b"null", "a style is an object"),
        (b"\xff\xfe", "utf-8"),
        (b"", "Expecting value"),
        (b" " * (2**24 + 1), "bytes are too many"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_style_is_refused_in_one_line(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(ConfigError, match=f"s.json cannot be read: .*({reason})") as error:
        presets.load(os.fspath(tmp_path / "s.json"))
    assert "\n" not in str(error.value)


def _strange(folder: Path, name: str) -> dict[Any, Any]:
    """A pipe, a device, a folder and a file of 1 TB (sparse): {kind: path}."""
    paths = {kind: folder / f"{kind}{name}" for kind in ("pipe", "device", "folder", "huge")}
    os.mkfifo(paths["pipe"])
    paths["device"].symlink_to("/dev/zero")
    paths["folder"].mkdir()
    with paths["huge"].open("wb") as file:
        file.truncate(2**40)
    return {kind: os.fspath(path) for kind, path in paths.items()}


def test_styles_and_fonts_are_regular_files_of_bounded_size(tmp_path: Path) -> None:
    for path in _strange(tmp_path, ".json").values():
        with pytest.raises(ConfigError, match="cannot be read"):
            presets.load(path)
    for kind, path in _strange(tmp_path, ".ttf").items():
        reason = "bytes are too many" if kind == "huge" else "there is no face"
        for read in (glyphs.digest, lambda face: glyphs.atlas("a", (face,))):
            with pytest.raises(ConfigError, match=reason):
                read(path)
    with pytest.raises(ConfigError, match="there is no face"):
        glyphs.digest("a\0b")


def test_a_damaged_font_is_refused(tmp_path: Path) -> None:
    content = glyphs.path_of("Go-Bold").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for i in range(30):
        damaged = bytearray(content[: rng.integers(100, len(content))])
        for place in rng.integers(min(len(damaged), 2000), size=20):
            damaged[place] = rng.integers(256)
        (tmp_path / f"{i}.ttf").write_bytes(damaged)
        try:
            assert np.isfinite(glyphs.atlas("a", (os.fspath(tmp_path / f"{i}.ttf"),)).advance).all()
        except ConfigError as error:
            refused += 1
            message = str(error)
            assert f"{i}.ttf" in message
    assert refused > 10


def test_every_number_of_a_style_has_finite_bounds() -> None:
    for field in dataclasses.fields(style.Style):
        for value in (float("nan"), float("inf"), -float("inf"), 1e300, 10**30):
            default = getattr(presets.STYLES["captcha_v2"], field.name)
            if field.name == "faces" or isinstance(default, (str, bool)):
                continue
            wrong = np.full(np.shape(default), value, object).tolist()
            with pytest.raises(ConfigError, match=f"{field.name} cannot be"):
                presets.from_values({field.name: wrong})


def test_symbols_of_an_alphabet_never_compose() -> None:
    """In all of the about 1,000 pairs that Unicode composes, the second character is no symbol."""
    seconds: collections.Counter[str] = collections.Counter()
    for code in range(0x110000):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and parts[0][0] != "<":
            seconds[chr(int(parts[1], 16))] += 1
    assert sum(seconds.values()) > 900
    hangul = [*map(chr, range(0x1161, 0x1176)), *map(chr, range(0x11A8, 0x11C3))]
    assert not [c for c in (*seconds, *hangul) if style._is_symbol(c)]
    assert all(map(style._is_symbol, "aZ0+,\"'=@日本\u00e9ßжک한"))


def test_mutated_style_files_load_within_limits_or_name_the_key(tmp_path: Path) -> None:
    counts = inputs.styles(tmp_path, random.Random(0), 0.02)
    assert sum(counts.values()) == 400
    assert min(counts.values()) > 10


def test_styles_that_load_draw_visible_text(tmp_path: Path) -> None:
    """Single fields at their limits, in one program: nothing is NaN, black or blank unnoticed."""
    for key, value in (
        ("paper", [0, 255]), ("softness", [0.01, 64]), ("stretch", [0.1, 10]),
        ("turn", [-360, 360]), ("shear", [-4, 4]), ("wave_x_length", [0.5, 10_000]),
        ("wave_x_phase", [-1000, 1000]),
        ("jitter", [0, 0]), ("size", [4, 512]),
    ):  # fmt: skip
        look = load(tmp_path, **SMALL | {"ink": [0, 0], key: value})
        pictures, _ = render.images(
            render.atlas_of(look), 0, np.arange(16, dtype=np.int32), style=look
        )
        flat = np.asarray(pictures).reshape(16, -1)
        assert (flat.max(1) > flat.min(1)).all(), key


def test_blank_pictures_are_not_written(tmp_path: Path) -> None:
    """Strokes thinned by 16 pixels disappear; a wave of 60 pixels moves text out of 16."""
    for change in ({"weight": [-16, -16]}, {"wave_y": [60, 60], "wave_y_phase": [0.25, 0.25],
                                            "wave_y_length": [10_000, 10_000]}):  # fmt: skip
        (tmp_path / "s.json").write_text(json.dumps(SMALL | change))
        with pytest.raises(ConfigError, match="image 0 of the style is blank"):
            generated_folder.write(os.fspath(tmp_path / "s.json"), 2, 0, tmp_path / "set")
        assert os.listdir(tmp_path) == ["s.json"]


# ------------------------------------------------------------------------- generated sets


@pytest.mark.parametrize("alphabet", ['"a', ",\"'=@+-;\\|#"])
def test_labels_read_back_as_drawn(tmp_path: Path, alphabet: str) -> None:
    (tmp_path / "s.json").write_text(
        json.dumps(SMALL | {"alphabet": alphabet, "faces": ["DejaVuSans-Bold"]})
    )
    generated_folder.write(os.fspath(tmp_path / "s.json"), 40, 1, tmp_path / "set")
    look = presets.load(os.fspath(tmp_path / "s.json"))
    _, ids = render.images(render.atlas_of(look), 1, np.arange(40, dtype=np.int32), style=look)
    drawn = ["".join(alphabet[i] for i in row if i >= 0) for row in np.asarray(ids)]
    from tests.faults.labels_test import load as load_set

    assert list(load_set(tmp_path / "set").texts) == drawn
    with (tmp_path / "set" / "labels.csv").open(newline="", encoding="utf-8") as file:
        assert [row["label"] for row in csv.DictReader(file, strict=True)] == drawn


def test_generating_does_not_hold_the_set_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count of two billion starts at once; the disk is full after 40 images, and is cleared."""
    (tmp_path / "s.json").write_text(json.dumps(SMALL))
    save, saved = Image.Image.save, []

    def fill(image: Image.Image, path: Path, *arguments: Any, **options: Any) -> None:
        saved.append(path)
        if len(saved) > 40:
            raise OSError(28, "No space left on device", os.fspath(path))
        save(image, path, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", fill)
    with pytest.raises(DataError, match="set cannot be written: No space left"):
        generated_folder.write(
            os.fspath(tmp_path / "s.json"), 2**31 - 1, 2**32 - 1, tmp_path / "set"
        )
    assert os.listdir(tmp_path) == ["s.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plain", str(2**31), "set"], "count must be from 1"),
        (["plain", "1", "set", "--seed", "-1"], "seed must be from 0"),
        (["plain", "1", "set", "--seed", str(10**30)], "seed must be from 0"),
        (["plain", "1", "/"], "exists already"),
        (["plain", "1", "."], "is not a valid folder name|exists already"),
        (["plain", "1", "a" * 5000], "cannot be written|is not a valid folder name"),
        (["a\0.json", "1", "set"], "cannot be read"),
    ],
)
def test_generate_names_the_argument_that_is_wrong(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: Any,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["generate", *arguments]) != 0
    said = capsys.readouterr().err
    assert any(part in said for part in message.split("|"))
    assert said.count("\n") == 1


def test_a_generated_set_larger_than_memory_is_refused_by_its_count() -> None:
    config = dataclasses.replace(CONFIG, source="synthetic", count=10**9)
    with pytest.raises(DataError, match=r"1000000000 generated images.*data\.count"):
        generated.generate(presets.load("plain"), config, range(10**9))
    assert dataset.uses_folder(CONFIG)
