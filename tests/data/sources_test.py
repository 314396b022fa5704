"""Sources of images: every key of the data section that selects them."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.analysis import html_report
from crnn_jax.data import folder, generated, generated_folder, resolve, sources, splits
from crnn_jax.data.synthetic import presets, render
from crnn_jax.errors import ConfigError, DataError, RunError
from crnn_jax.training import train
from crnn_jax.training.context import prepare
from tests.helpers import looks
from tests.helpers.fixtures import MakeConfig
from tests.helpers.looks import LOOK, STEPS, load
from tests.helpers.quiet import QUIET


@pytest.fixture
def style_file(tmp_path: Path) -> str:
    return looks.save(tmp_path)


@pytest.fixture
def made(tiny_config: MakeConfig, style_file: str) -> MakeConfig:
    return looks.maker(tiny_config, style_file)


def test_a_generated_set_is_what_the_generator_makes(made: MakeConfig, style_file: str) -> None:
    data, split, charset, endless, *_ = load(made())
    look = presets.load(style_file)
    images, labels = render.images(
        render.atlas_of(look), 0, np.arange(20, dtype=np.int32), style=look
    )
    np.testing.assert_array_equal(data.images, images)
    assert data.texts[7] == "".join("abc7"[i] for i in labels[7] if i >= 0)
    assert charset.alphabet == "7abc"
    assert not endless
    # Two in twenty, or more if a label occurs twice.
    assert len(split.val) >= 2
    assert len(split.val) + len(split.train) == 20
    assert data.name == "20 generated look images (seed 0)"


def test_the_fingerprint_follows_whatever_an_image_depends_on(
    made: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {load(made()).data.fingerprint}
    other = tmp_path / "other.json"
    other.write_text(json.dumps(LOOK | {"noise": [0, 5]}))
    for changes in (
        {"data__synthetic_seed": 1}, {"data__count": 21}, {"data__style": os.fspath(other)},
        {"data__width": 80},
    ):  # fmt: skip
        seen.add(load(made(**changes)).data.fingerprint)
    monkeypatch.setattr(render, "VERSION", render.VERSION + 1)
    seen.add(load(made()).data.fingerprint)
    assert len(seen) == 6
    first = load(made(data__synthetic_seed=1)).data
    assert (first.images != load(made()).data.images).any()


class Bars:
    """A style for this test: image n has n dark columns, and its label is symbol n % 3."""

    alphabet, length, width, height, chunk = "xyz", (1, 1), 64, 16, 4

    def __init__(self) -> None:
        self.drawn: list[Any] = []

    def drawer(self) -> Any:
        def draw(seed: Any, numbers: Any) -> Any:
            self.drawn.append(numbers.tolist())
            dark = np.arange(self.width) < seed + numbers[:, None]
            images = np.broadcast_to(dark[:, :, None, None], (len(numbers), 64, 16, 1))
            return np.where(images, 0, 255).astype(np.uint8), numbers[:, None] % 3

        return draw

    def describe(self) -> Any:
        return {"name": "bars"}


def test_any_look_is_drawn_chunk_by_chunk(made: MakeConfig) -> None:
    look = Bars()
    data = generated.generate(look, made(data__synthetic_seed=2).data, range(6))
    # One program for all chunks; the last chunk is padded.
    assert look.drawn == [[0, 1, 2, 3], [4, 5, 4, 5]]
    assert data.labels == tuple("xyzxyz")
    np.testing.assert_array_equal((data.images == 0).sum((1, 2, 3)), 16 * np.arange(2, 8))


def test_images_are_brought_to_the_size_and_color_that_the_model_takes(made: MakeConfig) -> None:
    small, plain = load(made(data__width=32, data__channels=3)).data, load(made()).data
    assert small.images.shape == (20, 32, 16, 3)
    np.testing.assert_array_equal(small.images[..., 0], small.images[..., 2])
    pair = plain.images[:, 16:32, :, 0].astype(float)  # far from the edges
    # Halved with antialiasing: weights 1, 3, 3, 1 over four pixels.
    halved = np.asarray(small.images[:, 9, :, 0], float)
    expected = (pair[:, 1] + 3 * pair[:, 2] + 3 * pair[:, 3] + pair[:, 4]) / 8
    np.testing.assert_allclose(halved, expected, atol=0.51)


def test_a_stream_never_shows_an_image_twice(made: MakeConfig) -> None:
    config = made(data__source="stream")
    context = prepare(config)
    epochs = [context.order(epoch).tolist() for epoch in (1, 2, 3)]
    numbers = sum(epochs, context.split.val.tolist())
    assert len(set(numbers)) == len(numbers) == 18 * 3 + 2
    order = np.array(epochs[2][:8], np.int32)  # two steps of four
    steps, ids, places = context.batch(order.reshape(2, 4))
    assert places is None
    images, labels = (x.reshape(8, *x.shape[2:]) for x in (steps, ids))
    look = presets.load(config.data.style)
    expected, ids = render.images(render.atlas_of(look), 0, order, style=look)
    np.testing.assert_array_equal(images, expected)
    for row, own, number in zip(labels, ids, order, strict=True):
        text = "".join("abc7"[i] for i in own if i >= 0)
        assert context.charset.decode(row.tolist()) == text
        assert context.source_of(int(number)) == (f"{number:06d}", text)
    # The images that are scored remain the same.
    np.testing.assert_array_equal(context.images[0], load(made()).data.images[0])


def test_a_run_on_a_stream_goes_on_bit_for_bit(
    made: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = made(QUIET, data__source="stream", train__epochs=2)
    whole = train.train_and_evaluate(config, tmp_path / "whole")
    save = train.save

    def stop(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        train.train_and_evaluate(config, tmp_path / "parts")
    monkeypatch.setattr(train, "save", save)
    parts = train.train_and_evaluate(config, tmp_path / "parts")
    assert parts.params_sha256 == whole.params_sha256
    assert whole.data_name == "an endless stream of generated look images (seed 0)"
    again = crnn_jax.load(tmp_path / "whole").evaluate()
    assert again.evaluation.scores.num_exact == whole.num_exact


def test_a_mixture_uses_the_labels_of_its_folder(made: MakeConfig) -> None:
    """data.length, and a complete alphabet: the labels have one digit only, and small letters."""
    changes = {"data__source": "mixture", "data__alphabet": ""}
    config = made(data__length="labels", **changes)
    # 2 to 4 characters, and one fewer or more, as for the folder alone.
    assert resolve.resolve(config).data.length == "1-5"
    assert "z" not in load(made(**changes)).charset.symbols
    assert "z" in load(made(data__complete_alphabet=True, **changes)).charset.symbols


def test_a_mixture_adds_to_the_training_part_alone(made: MakeConfig, captchas: Path) -> None:
    config = made(data__source="mixture", data__generated_share=0.25)
    real = folder.load(config.data, None, STEPS)
    data, split, charset, *_ = load(config)
    apart = splits.split(real.texts, config.data)
    np.testing.assert_array_equal(split.val, apart.val)
    assert split.train[: len(apart.train)].tolist() == apart.train.tolist()
    added = len(split.train) - len(apart.train)
    assert added == round(len(apart.train) / 3)  # a quarter of all
    np.testing.assert_array_equal(data.images[len(real) :], load(made()).data.images[:added])
    assert data.fingerprint not in (real.fingerprint, load(made()).data.fingerprint)
    assert charset.alphabet == "7abc"
    more = load(made(data__source="mixture", data__generated_share=0.5))
    assert len(more.split.train) == 2 * len(apart.train)


def test_generated_images_need_no_more_memory_than_is_allowed(made: MakeConfig) -> None:
    """An image of 64x16 pixels has 1,024 bytes; the folder has 40, of which 36 are trained on."""
    for changes, images in (
        ({"data__source": "synthetic", "data__count": 50}, 50),
        ({"data__source": "mixture", "data__generated_share": 0.5}, 40 + 36),
    ):
        assert len(load(made(data__memory_limit=images * 1024 / 2**30, **changes)).data) == images
        with pytest.raises(DataError, match=rf"^{images} .*\(data\.memory_limit\); lower data\."):
            load(made(data__memory_limit=(images * 1024 - 1) / 2**30, **changes))


def test_auto_is_the_folder_or_generates_where_the_default_one_is_absent(
    tiny_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny_config(data__dir=config_lib.DEFAULT_DIR)
    assert resolve.resolve(config).data.source == "synthetic"
    other = tiny_config(data__dir="elsewhere")
    assert resolve.resolve(other).data.source == "folder"
    with pytest.raises(DataError, match=r"no folder elsewhere.*crnn-jax fetch"):
        load(resolve.resolve(other))
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(DataError, match=r"elsewhere contains no images\. .*crnn-jax fetch"):
        load(resolve.resolve(other))
    (tmp_path / config_lib.DEFAULT_DIR).mkdir(parents=True)
    assert resolve.resolve(config).data.source == "folder"
    assert resolve.resolve(tiny_config(data__source="stream")).data.source == "stream"


@pytest.mark.parametrize(
    ("changes", "alphabet"),
    [
        ({}, "7abc"),
        # The labels have three lowercase letters, but only one digit and no capital.
        ({"data__complete_alphabet": True}, "7abcdefghijklmnopqrstuvwxyz"),
        ({"data__complete_alphabet": True, "data__alphabet": "abc7"}, "abc7"),
    ],
)
def test_an_alphabet_is_completed_unless_it_is_given(
    tiny_config: MakeConfig, changes: dict[str, Any], alphabet: str
) -> None:
    config = tiny_config(data__source="folder", **changes)
    assert load(config).charset.alphabet == alphabet


@pytest.mark.long
def test_a_run_without_the_set_says_that_its_images_are_generated(
    made: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    config = made(data__source="auto", data__dir=config_lib.DEFAULT_DIR, train__epochs=1)
    result = train.train_and_evaluate(config, "run")
    said = capsys.readouterr().out
    assert "20 generated look images (seed 0): " in said
    assert "note: all images are generated" in said
    assert result.data_name.startswith("20 generated")
    environment = json.loads((tmp_path / "run/environment.json").read_text())
    assert environment["data"]["name"] == result.data_name
    assert environment["data"]["fingerprint"] == result.fingerprint
    assert json.loads((tmp_path / "run/config.json").read_text())["data"]["source"] == "synthetic"
    # The report generates the images again.
    text = html_report.write("run").read_text()
    assert "20 generated look images (seed 0)" in text
    assert crnn_jax.load("run").evaluate().data_name == result.data_name
    # The run is finished. With the data set in its folder, the config differs.
    assert train.train_and_evaluate(config, "run") == result
    (tmp_path / config_lib.DEFAULT_DIR).mkdir(parents=True)
    with pytest.raises(RunError, match=r"data\.source: was 'synthetic', is now 'folder'"):
        train.train_and_evaluate(config, "run")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"data__style": "nothing"},
            ConfigError,
            "no style 'nothing'; the styles are captcha_v2, .*json",
        ),
        ({"data__style": "nothing.json"}, ConfigError, "nothing.json cannot be read"),
        ({"data__alphabet": "abc"}, ConfigError, "data.alphabet lacks '7' of the style"),
        ({"data__width": 16}, DataError, "can need 7 time steps and the model has 4"),
    ],
)
def test_what_cannot_be_generated_is_named(
    made: MakeConfig, changes: dict[str, str] | dict[str, int], error: Any, message: str
) -> None:
    config = made(**changes)
    with pytest.raises(error, match=message):
        sources.load(config.data, config_lib.num_steps(config))


def test_written_images_are_a_folder_that_reads_back(
    made: MakeConfig, style_file: str, tmp_path: Path
) -> None:
    generated_folder.write(style_file, 20, 0, tmp_path / "set")
    back = folder.load(
        dataclasses.replace(made().data, dir=os.fspath(tmp_path / "set")), None, STEPS
    )
    data = load(made()).data
    np.testing.assert_array_equal(back.images, data.images)
    assert back.texts == data.texts
    with pytest.raises(DataError, match="exists already"):
        generated_folder.write(style_file, 20, 0, tmp_path / "set")


def test_written_digits_are_not_mistaken_for_numbers(made: MakeConfig, tmp_path: Path) -> None:
    """No text of this draw begins with 0 by chance, as if a spreadsheet had removed the zeros."""
    generated_folder.write("plain", 34, 37, tmp_path / "set")
    config = dataclasses.replace(made().data, dir=os.fspath(tmp_path / "set"), alphabet="")
    assert len(folder.load(config, None, STEPS)) == 34
