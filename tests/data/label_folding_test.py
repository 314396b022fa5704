"""Labels folded by data.case and data.merge, in every source."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

import crnn_jax
from crnn_jax.data import sources
from crnn_jax.errors import ConfigError, DataError
from crnn_jax.training import train
from crnn_jax.training.context import prepare
from tests.helpers import looks
from tests.helpers.fixtures import MakeConfig
from tests.helpers.images import draw
from tests.helpers.looks import LOOK, STEPS, load
from tests.helpers.quiet import QUIET


@pytest.fixture
def made(tiny_config: MakeConfig, tmp_path: Path) -> MakeConfig:
    return looks.maker(tiny_config, looks.save(tmp_path))


@pytest.fixture
def labeled(tmp_path: Path) -> str:
    """Images whose labels have both cases, look-alikes, and two pairs that folding makes equal."""
    folder = tmp_path / "labeled"
    folder.mkdir()
    for i, text in enumerate(("aB0", "Ab0", "abO", "Il1", "BB", "b7")):
        draw(text).save(folder / f"{text}_{i}.png")
    return os.fspath(folder)


@pytest.mark.parametrize(
    ("case", "merge", "texts", "alphabet"),
    [
        ("keep", "", ("Ab0", "BB", "Il1", "aB0", "abO", "b7"), "017ABIOabl"),
        ("lower", "", ("ab0", "bb", "il1", "ab0", "abo", "b7"), "017abilo"),
        ("upper", "", ("AB0", "BB", "IL1", "AB0", "ABO", "B7"), "017ABILO"),
        ("keep", "0O, 1Il", ("Ab0", "BB", "111", "aB0", "ab0", "b7"), "017ABab"),
        ("lower", "0O,1Il", ("ab0", "bb", "111", "ab0", "ab0", "b7"), "017ab"),
    ],
)
def test_labels_of_a_folder_are_folded_before_anything_is_derived(
    made: MakeConfig,
    labeled: str,
    case: str,
    merge: str,
    texts: tuple[str, str, str, str, str, str],
    alphabet: str,
) -> None:
    config = made(data__source="folder", data__dir=labeled, data__case=case, data__merge=merge,
                  data__val_fraction=0.3)  # fmt: skip
    data, split, charset, *_ = load(config)
    assert data.texts == texts
    assert charset.alphabet == alphabet
    # Images that have the same text after folding are in one part.
    assert not {texts[i] for i in split.train} & {texts[i] for i in split.val}
    plain = load(made(data__source="folder", data__dir=labeled)).data
    assert data.labels == plain.labels == plain.texts
    assert data.fingerprint == plain.fingerprint  # of the unchanged files
    np.testing.assert_array_equal(data.images, plain.images)


def test_a_fingerprint_is_that_of_the_data_before_folding(made: MakeConfig) -> None:
    keys = {"data__case": "upper", "data__merge": "0O,1Il"}
    for source in ("folder", "synthetic", "stream", "mixture"):
        source_key = {"data__source": source}
        before, after = load(made(**source_key)), load(made(**source_key, **keys))
        assert after.data.fingerprint == before.data.fingerprint
        assert after.data.labels == before.data.labels
        assert after.data.texts == tuple(text.upper() for text in before.data.texts)


def test_generated_labels_are_folded_too(made: MakeConfig, labeled: str, tmp_path: Path) -> None:
    look = tmp_path / "both.json"
    look.write_text(json.dumps(LOOK | {"alphabet": "aAO0Q"}))
    style = {"data__style": os.fspath(look)}
    keys = {**style, "data__case": "lower", "data__merge": "0O"}
    table = str.maketrans("AOoQ", "a00q")
    plain, folded = load(made(**style)), load(made(**keys))
    assert any(set(text) & set("AOQ") for text in plain.data.texts)
    assert folded.data.texts == tuple(text.translate(table) for text in plain.data.texts)
    np.testing.assert_array_equal(folded.data.images, plain.data.images)
    assert folded.charset.alphabet == "0aq"
    assert folded.data.labels == plain.data.texts

    mixed = load(made(**keys, data__source="mixture", data__dir=labeled))
    # Real labels of case lower with 0 for O, and generated ones.
    assert mixed.charset.alphabet == "017abilq"
    assert mixed.data.texts[:6] == ("ab0", "bb", "il1", "ab0", "ab0", "b7")
    assert not set("".join(mixed.data.texts)) & set("AOoQ")

    context = prepare(made(**keys, data__source="stream"))
    unfolded = prepare(made(**style, data__source="stream"))
    order = np.arange(100, 108, dtype=np.int32)[None]
    for batch, other in zip(context.batch(order)[1][0], unfolded.batch(order)[1][0], strict=True):
        text = unfolded.charset.decode(np.asarray(other).tolist())
        assert context.charset.decode(np.asarray(batch).tolist()) == text.translate(table)
    assert context.data.fingerprint == sources.expected_fingerprint(context.config.data, STEPS)


def test_an_alphabet_of_the_config_must_have_the_folded_labels(
    made: MakeConfig, labeled: str
) -> None:
    keys = {"data__source": "folder", "data__dir": labeled, "data__case": "lower"}
    assert load(made(**keys, data__alphabet="xab0o1il7")).charset.alphabet == "xab0o1il7"
    # 'Il1' before the fold.
    with pytest.raises(DataError, match=r"Il1_3\.png: .*'il1' has 'l'.*'Il1' before data\.case"):
        load(made(**keys, data__alphabet="xAab0o1i7"))
    with pytest.raises(ConfigError, match=r"lacks 'ABC' of the style .* after data\.case"):
        load(made(data__case="upper", data__alphabet="abc7"))


@pytest.mark.long
def test_a_run_with_folded_labels_is_scored_by_them(
    made: MakeConfig, captchas: Path, tmp_path: Path
) -> None:
    config = made(
        QUIET, data__source="folder", data__case="upper", data__merge="7A", train__epochs=1
    )
    result = train.train_and_evaluate(config, tmp_path / "run")
    reader = crnn_jax.load(tmp_path / "run")
    assert reader.charset.alphabet == "7BC"
    for evaluated, count in ((reader.evaluate(), result.num_val), (reader.evaluate(captchas), 40)):
        assert evaluated.fingerprint == result.fingerprint
        assert len(evaluated.evaluation.answers) == count
        for answer in evaluated.evaluation.answers:
            label = os.path.splitext(answer.file)[0]
            assert answer.truth == label.upper().replace("A", "7")
