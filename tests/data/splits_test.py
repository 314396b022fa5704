"""Parts and folds of a data set, counted by hand."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from crnn_jax.data import folder, split_report, splits
from crnn_jax.errors import DataError
from tests.helpers.fixtures import CONFIG


def _texts(n: int) -> list[Any]:
    return [f"{i:04d}" for i in range(n)]


def _split(texts: Any, **changes: Any) -> Any:
    return splits.split(texts, dataclasses.replace(CONFIG, **changes))


@pytest.mark.parametrize(
    ("n", "fraction", "val"),
    [(1040, 0.1, 104), (936, 0.1, 94), (10, 0.1, 1), (2, 0.1, 1), (40, 0.25, 10), (10, 0.9, 9),
     (100, 0.07, 7)],
)  # fmt: skip
def test_ninety_ten(n: int, fraction: float, val: int) -> None:
    # As in the reference: int(n * 0.9) training images.
    split = _split(_texts(n), val_fraction=fraction)
    assert len(split.val) == val
    assert sorted([*split.train, *split.val]) == list(range(n))


def test_the_test_part_is_the_same_whatever_else_is_chosen() -> None:
    """Or images that one run tests on would be trained on in another."""
    rng = np.random.default_rng(0)
    labels = ["".join(rng.choice(list("5S8Bab"), 4)) for _ in range(100)]
    parts = ["val"] * 20 + ["train"] * 80
    wanted = _split(labels, test_size=10).test.tolist()
    with_val = splits.split(labels, dataclasses.replace(CONFIG, test_size=10), parts).test.tolist()
    assert len(wanted) == len(with_val) == 10
    assert min(with_val) >= 20  # not of the validation part
    merged = [label.replace("5", "S").replace("8", "B") for label in labels]
    for changes in (
        {"num_folds": 5, "fold": 2}, {"use_labels": False}, {"val_fraction": 0.3},
        {"merge": "5S,8B"},
    ):  # fmt: skip
        config = dataclasses.replace(CONFIG, test_size=10, **changes)
        texts = merged if "merge" in changes else labels
        assert splits.split(texts, config, (), labels).test.tolist() == wanted
        assert splits.split(texts, config, parts, labels).test.tolist() == with_val


def test_the_split_is_shuffled_and_depends_on_its_seed() -> None:
    # The reference discarded the result of the shuffle, so its split was alphabetical.
    splits = [_split(_texts(1000), split_seed=s).val for s in (0, 1, 0)]
    np.testing.assert_array_equal(splits[0], splits[2])
    assert set(splits[0]) != set(splits[1])
    # The mean of 100 of 0..999 drawn at random is 499.5 +- 27; alphabetically it would be 949.5.
    assert abs(np.mean(splits[0]) - 499.5) < 5 * 27


def test_folds_partition_the_set() -> None:
    folds = [_split(_texts(103), num_folds=5, fold=k) for k in range(5)]
    assert sorted(np.concatenate([f.val for f in folds])) == list(range(103))
    assert {len(f.val) for f in folds} <= {20, 21}
    for fold in folds:
        assert sorted([*fold.train, *fold.val]) == list(range(103))


def test_fold_0_of_ten_is_the_ninety_ten_split() -> None:
    np.testing.assert_array_equal(_split(_texts(936), num_folds=10).val, _split(_texts(936)).val)


def test_a_repeated_label_stays_on_one_side() -> None:
    texts = [f"{i // 3}" for i in range(60)]  # each of 20 labels three times
    for fold in range(4):
        split = _split(texts, num_folds=4, fold=fold)
        assert (len(split.train), len(split.val)) == (45, 15)
        assert not {texts[i] for i in split.train} & {texts[i] for i in split.val}


def test_train_size_nests_and_leaves_validation_alone() -> None:
    whole = _split(_texts(100))
    small, middle = (_split(_texts(100), train_size=n) for n in (10, 30))
    assert set(small.train) < set(middle.train) < set(whole.train)
    assert (len(small.train), len(middle.train)) == (10, 30)
    np.testing.assert_array_equal(small.val, whole.val)


def test_few_labels_are_split_by_image_so_that_training_sees_them_all() -> None:
    """200 images of ten symbols, one each: by label, validation would have two of the ten alone."""
    texts = list("0123456789" * 20)
    for changes in ({}, {"split_seed": 3}, {"num_folds": 5, "fold": 2}, {"test_size": 40}):
        split = _split(texts, **changes)
        assert {texts[i] for i in split.train} == set("0123456789")
        used = [*split.train.tolist(), *split.val.tolist(), *split.test.tolist()]
        assert sorted(used) == list(range(200))
        assert len(split.val) > 15
    folds = [_split(texts, num_folds=5, fold=k).val for k in range(5)]
    assert sorted(np.concatenate(folds)) == list(range(200))


@pytest.mark.parametrize(
    ("labels", "repeated", "are_few"),
    [
        (["ab", "ba"], 2, True),  # 2 labels, 4 images, 2 symbols
        (["ab", "ba"], 1, False),  # no label repeats
        (["ab", "ba", "aa", "bb"], 2, False),  # twice as many labels as symbols
    ],
)
def test_few_labels_repeat_and_are_fewer_than_twice_the_symbols(
    labels: list[str], repeated: int, are_few: bool
) -> None:
    assert splits.has_few_labels(labels * repeated) is are_few


def test_many_labels_that_repeat_are_still_split_by_label() -> None:
    texts = [f"{i % 30:02d}" for i in range(90)]  # 30 labels of 10 symbols, three times each
    split = _split(texts, val_fraction=0.2)
    assert (len(split.train), len(split.val)) == (72, 18)
    assert not {texts[i] for i in split.train} & {texts[i] for i in split.val}


def test_one_label_for_all_images_is_refused_with_the_label() -> None:
    with pytest.raises(DataError, match=r"all 10 images have the label 'captcha'.*label_pattern"):
        _split(["captcha"] * 10)


def _notes(texts: Any, **changes: Any) -> Any:
    config = dataclasses.replace(CONFIG, **changes)
    count = len(texts)
    data = folder.Dataset(
        "set", tuple(map(str, range(count))), tuple(texts), tuple(texts),
        np.arange(count, dtype=np.uint8).reshape(count, 1, 1, 1), "0",
    )  # fmt: skip
    return split_report.notes(data, _split(texts, **changes), config)


def test_notes_say_how_a_set_is_split_and_what_training_never_sees() -> None:
    assert _notes(_texts(100)) == []
    (note,) = _notes(list("0123456789" * 20))
    assert "200 images have only 10 different labels, so the split is by image" in note
    # Each label has a symbol of its own: the two of validation cannot be learned.
    texts = [f"a{chr(0x4E00 + i)}" for i in range(20)]
    (note,) = _notes(texts)
    val = [texts[i][1] for i in _split(texts).val.tolist()]
    assert len(val) == 2
    assert (
        f"2 of 2 validation images have symbols that no training image has: {''.join(val)!r}"
        in note
    )
    assert "6 of 6 test images" in _notes(texts, test_size=6)[1]


def test_notes_name_the_parts_of_a_data_set_that_are_used() -> None:
    """Folds divide the validation part too, so it is not used as it is."""
    texts = _texts(20)
    parts = ("val",) * 4 + ("test",) * 3 + ("train",) * 13
    data = folder.Dataset(
        "set", tuple(texts), tuple(texts), tuple(texts),
        np.arange(20, dtype=np.uint8).reshape(20, 1, 1, 1), "0", parts,
    )  # fmt: skip
    divides = "data.num_folds divides all images, including those of the validation part"
    used = "the data set has its own parts, which are used: "
    for num_folds, expected in (
        (0, [f"{used}4 for validation, 3 for test"]),
        (2, [divides, f"{used}3 for test"]),
    ):
        config = dataclasses.replace(CONFIG, num_folds=num_folds)
        notes = split_report.notes(data, splits.split(texts, config, parts), config)
        assert notes[: len(expected)] == expected


def test_notes_name_equal_images_with_different_labels() -> None:
    """By hand: 3 images of one color and 2 that are equal have several labels; the pair `7` one."""
    pixels = [5, 5, 5, 0, 0, 1, 1, *range(6, 19)]  # 5 has one color, the others two
    texts = ["a", "b", "c", "d", "e", "7", "7", *(f"x{n}" for n in range(13))]
    images = np.array([[p, 5] for p in pixels], np.uint8).reshape(20, 2, 1, 1)
    files = tuple(f"{n}.png" for n in range(20))
    data = folder.Dataset("set", files, tuple(texts), tuple(texts), images, "0")
    everything = splits.Split(np.arange(20, dtype=np.int32), np.empty(0, np.int32))
    (note,) = split_report.notes(data, everything, CONFIG)
    assert note == (
        "5 images have the same pixels as another one, but another label, such as 0.png ('a') and "
        "1.png ('b'); 3 of them have only one color: correct the labels, or remove these images"
    )
    right = dataclasses.replace(data, texts=("a", "a", "a", "d", "d", *texts[5:]))
    assert split_report.notes(right, everything, CONFIG) == []


@pytest.mark.parametrize(("n", "size", "test"), [(99, 500, 33), (100, 10, 10), (2, 500, 0)])
def test_the_test_part_is_of_the_size_named_or_a_third(n: int, size: int, test: int) -> None:
    assert len(splits.held_out(_texts(n), size)) == test


def test_no_key_moves_an_image_into_or_out_of_the_test_part() -> None:
    whole = set(range(100))
    test = set(splits.held_out(_texts(100), 20).tolist())
    assert test != set(range(20))  # not the first ones
    assert test != set(range(80, 100))
    choices: list[dict[str, Any]] = [
        {},
        {"split_seed": 7},
        {"num_folds": 5, "fold": 3},
        {"val_fraction": 0.5},
    ]
    for changes in choices:
        for train_size in (0, 10):
            split = _split(_texts(100), test_size=20, train_size=train_size, **changes)
            train, val = set(split.train.tolist()), set(split.val.tolist())
            assert set(split.test.tolist()) == test
            assert not test & train
            assert not test & val
            assert train | val == whole - test or train_size
            assert len(split.train) == (train_size or len(train))


def test_labels_that_differ_in_case_or_look_alikes_are_on_one_side() -> None:
    texts = [text for i in range(30) for text in (f"oil{i:02d}", f"OIL{i:02d}", f"01l{i:02d}")]
    test = splits.held_out(texts, 30).tolist()
    assert len(test) == 30
    assert all(test.count(3 * (i // 3) + k) == 1 for i in test for k in range(3))
    # A run that converts its labels to lower case has the same test part.
    assert splits.held_out([text.lower() for text in texts], 30).tolist() == test


def test_without_a_test_part_the_split_is_as_it_was() -> None:
    np.testing.assert_array_equal(_split(_texts(40), test_size=0).test, [])
    # The first four of numpy's permutation of 40 with seed 0.
    first = np.random.default_rng(0).permutation(40)[:4]
    np.testing.assert_array_equal(_split(_texts(40)).val, np.sort(first))


@pytest.mark.parametrize(
    ("texts", "changes", "reason"),
    [
        (["a"], {}, "the training part is empty"),
        (["a"] * 10, {}, "all 10 images have the label 'a'"),
        (["a", "b", "c"], {"num_folds": 10, "fold": 1}, "num_folds=10 folds; choose at most 3"),
        (
            _texts(100),
            {"train_size": 91},
            "but there are only 90 training images",
        ),
    ],
)
def test_a_split_that_cannot_be(texts: Any, changes: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        _split(texts, **changes)
