import contextlib
import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import crnn_jax
from crnn_jax import config as config_lib
from crnn_jax.data import resolve, sources, split_report, text_lengths
from crnn_jax.errors import ConfigError, DataError
from crnn_jax.inference import set_evaluation
from crnn_jax.models import crnn, decoding
from crnn_jax.training.context import prepare
from tests.helpers.command_line import call
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw


@pytest.mark.parametrize(
    ("texts", "allow_empty", "expected"),
    [
        ([], False, ""),
        (["", ""], True, ""),
        (["abcde"], False, "5"),
        (["ab", "cd"], False, "2"),
        (["abc", "abcde"], False, "2-6"),  # one fewer and one more
        (["a", "abc"], False, "1-4"),  # no text is empty
        (["a", "abc"], True, "0-4"),
        (["abc", "abc"], True, "0-3"),
        (["", "abc"], True, "0-4"),
    ],
)
def test_the_lengths_of_labels(texts: list[str], allow_empty: bool, expected: str) -> None:
    assert text_lengths.of_labels(texts, allow_empty) == expected


def _write(folder: Path, texts: list[str]) -> str:
    folder.mkdir()
    for text in texts:
        draw(text).save(folder / f"{text}.png")
    return str(folder)


def test_the_length_is_that_of_the_labels_that_are_used(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    folder = _write(tmp_path / "set", [*("aab", "abb", "bba", "bab", "baa", "aba"), "abba"])

    def length(**changes: Any) -> str:
        config = tiny_config(data__dir=folder, data__length="labels", **changes)
        return resolve.resolve(config).data.length

    assert length(data__val_fraction=0.0) == "2-5"
    # Whatever part abba is in: it only counts in the training part.
    found = set()
    for seed in range(8):
        changes = {"data__train_size": 3, "data__split_seed": seed}
        config = tiny_config(data__dir=folder, **changes)
        data, split, *_ = sources.load(config.data, 16)
        used = {data.texts[i] for i in split.train.tolist()}
        assert length(**changes) == ("2-5" if "abba" in used else "3")
        found.add("abba" in used)
    assert found == {True, False}


def test_images_without_text_are_in_the_range_of_lengths(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    """The labels have 0 to 3 characters, and the range goes on by one."""
    folder = _write(tmp_path / "set", ["ab", "abc", "x"])
    (Path(folder) / "labels.csv").write_text("file,label\nab.png,ab\nabc.png,abc\nx.png,\n")
    config = tiny_config(
        data__dir=folder, data__length="labels", data__allow_empty=True, data__val_fraction=0.0
    )
    assert resolve.resolve(config).data.length == "0-4"


def test_the_length_of_labels_that_fill_the_steps_is_a_valid_config(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    """16 characters in 16 time steps: the range goes on to 17, and config.json is read again."""
    folder = _write(tmp_path / "set", ["ab" * 8, "ba" * 7, "ab" * 7])
    config = tiny_config(data__dir=folder, data__length="labels", data__val_fraction=0.0)
    resolved = resolve.resolve(config)
    assert resolved.data.length == "13-17"
    assert config_lib.from_dict(config_lib.to_dict(resolved)) == resolved


def test_a_length_is_checked_again_with_the_width_that_fits(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in "abc":
        Image.new("L", (40, 40), 200).save(folder / f"{name}.png")
    # 3 times the height of 16, halved twice, are 12 steps; 6 times would be 24.
    config = tiny_config(
        data__dir=str(folder), data__width=0, data__length="20", data__use_labels=False,
        train__init_from="x", data__alphabet="abc7",
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"data\.length must .* fit into 12 time steps"):
        resolve.resolve(config)


def test_without_labels_texts_have_any_length(tiny_config: MakeConfig) -> None:
    config = tiny_config(data__source="synthetic", data__count=8, data__length="labels")
    assert resolve.resolve(config).data.length == ""
    config = tiny_config(
        data__length="labels", data__use_labels=False, train__init_from="x", data__alphabet="abc7"
    )
    assert resolve.resolve(config).data.length == ""


@pytest.mark.parametrize("length", ["5-4", "0", "17", "17-20"])
def test_impossible_lengths_are_refused(tiny_config: MakeConfig, length: str) -> None:
    # 64 pixels, halved twice, are 16 time steps.
    with pytest.raises(ConfigError, match=r"data\.length must be at least 1 and fit into 16 time"):
        tiny_config(data__length=length)


def test_other_values_are_refused(tiny_config: MakeConfig) -> None:
    for length in ("five", "4-", "4,5", "-3", "any"):
        with pytest.raises(ConfigError, match=r"data\.length must be a number such as 5, a range"):
            tiny_config(data__length=length)


def test_labels_and_styles_of_another_length_are_named(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    folder = _write(tmp_path / "set", ["aab", "abb", "bba", "abba"])
    config = tiny_config(data__dir=folder, data__length="3", data__val_fraction=0.0)
    with pytest.raises(
        DataError, match=r"abba\.png: the label 'abba' has 4 characters, but data\.length is 3 \(1"
    ):
        sources.load(config.data, 16)
    generated = tiny_config(data__source="synthetic", data__count=8, data__length="4")
    with pytest.raises(ConfigError, match=r"data\.length is 4, .* captcha_v2 have 5 to 5 char"):
        sources.load(generated.data, 50)


@pytest.mark.parametrize(
    ("lengths", "fits"), [((2, 4), True), ((3, 3), True), ((2, 5), False), ((1, 3), False)]
)
def test_all_texts_of_a_style_have_a_length_of_the_range(
    tiny_config: MakeConfig, lengths: tuple[int, int], fits: bool
) -> None:
    config = tiny_config(data__length="2-4").data
    expected: Any = contextlib.nullcontext()
    if not fits:
        expected = pytest.raises(ConfigError, match=f"have {lengths[0]} to {lengths[1]} charact")
    with expected:
        text_lengths.check_style(lengths, config)


def test_validation_labels_of_another_length_are_noted(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    folder = _write(tmp_path / "set", ["aab", "abb", "bba"])
    others = _write(tmp_path / "val", ["abba", "bab", "ab"])
    config = tiny_config(data__dir=folder, data__val_dir=others, data__length="3")
    data, split, *_ = sources.load(config.data, 16)
    (note,) = [n for n in split_report.notes(data, split, config.data) if "data.length" in n]
    assert note.startswith("2 of 3 validation labels, such as 'ab")


def test_training_scores_texts_of_the_length(tiny_config: MakeConfig) -> None:
    context = prepare(tiny_config(data__length="2-4"))
    params = crnn.init(context.model, crnn.jax.random.key(0), context.config.data)
    readings = [answer.reading for answer in context.evaluate(params).answers]
    assert {len(text) for text in readings} <= {2, 3, 4}
    assert len(readings) == len(context.split.val)


@pytest.fixture(scope="module")
def of_three(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fixture `trained` as a reader of three characters."""
    run = tmp_path_factory.mktemp("three") / "run"
    shutil.copytree(trained, run)
    values = json.loads((run / "config.json").read_text())
    values["data"]["length"] = "3"
    (run / "config.json").write_text(json.dumps(values))
    return run


def test_a_reader_reads_texts_of_its_length(
    of_three: Path, trained: Path, captchas: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = sorted(captchas.iterdir())
    reader, free = crnn_jax.load(of_three), crnn_jax.load(trained)
    expected = free.predict(paths, free.decoder(length=3))
    assert reader.predict(paths) == expected
    assert {len(reading.text) for reading in expected} == {3}
    assert reader.explain(paths[:1])[0].text == expected[0].text
    # Another length, a beam or a list of positions takes precedence.
    greedy = free.predict(paths)
    assert reader.predict(paths, reader.decoder(length=(0, 16))) == greedy
    assert len({len(reading.text) for reading in greedy}) > 1
    assert reader.decoder(beam=4) == free.decoder(beam=4)
    assert reader.decoder(allowed=["a", "b"]) == free.decoder(allowed=["a", "b"])
    assert reader.decoder(allowed="ab") == free.decoder(length=3, allowed="ab")

    exact = sum(text == path.stem for (text, _), path in zip(expected, paths, strict=True))
    assert reader.evaluate(captchas).evaluation.scores.num_exact == exact
    _, out, _ = call(capsys, "predict", of_three, captchas, "--format", "csv")
    assert {len(row["text"]) for row in csv.DictReader(io.StringIO(out))} == {3}
    remarks = set_evaluation.remarks(reader, captchas)
    others = sum(len(path.stem) != 3 for path in paths)
    assert any(remark.startswith(f"{others} of 40 labels, such as ") for remark in remarks)
    assert "--length 0-4 reads them too" in " ".join(remarks)
    assert set_evaluation.remarks(free, captchas) == []


def test_texts_are_not_longer_than_the_time_steps() -> None:
    """data.length is checked for the widest input; the width that fits can be narrower."""
    assert decoding.of_lengths((20, 24), 16) == decoding.Decoder(shortest=16, longest=16)
    assert decoding.of_lengths((4, 24), 16) == decoding.Decoder(shortest=4, longest=16)
    assert decoding.of_lengths(None, 16) == decoding.GREEDY
