import dataclasses
import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import draw
from PIL import Image

from crnn_jax.charset import Charset
from crnn_jax.config import DataConfig
from crnn_jax.data import batching, splits
from crnn_jax.data import folder as dataset
from crnn_jax.errors import DataError

CONFIG = DataConfig(
    source="folder",
    dir="",
    style="plain",
    count=10,
    synthetic_seed=0,
    generated_share=0.5,
    width=64,
    height=16,
    channels=1,
    alphabet="",
    normalize="set",
    val_fraction=0.1,
    split_seed=0,
    num_folds=0,
    fold=0,
    train_size=0,
)


def _load(folder: Path, charset: Any = None, num_steps: int = 16, **changes: Any) -> Any:
    config = dataclasses.replace(CONFIG, dir=str(folder), **changes)
    return dataset.load(config, charset, num_steps)


# ---------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("226md.png", "226md"),
        ("226md_2.png", "226md"),
        ("226md_2_b.jpeg", "226md"),
        ("a.b.png", "a.b"),
        ("e\u0301.png", "\u00e9"),  # decomposed, as some file systems store names
    ],
)
def test_label_of_a_file_name(file: str, text: str) -> None:
    assert dataset.label_of(file) == text


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b.png", "a_2.png", "a.jpg"):
        draw("a").save(tmp_path / name)
    (tmp_path / ".hidden").write_text("not an image, and not asked for")
    data = _load(tmp_path)
    assert data.files == ("a.jpg", "a_2.png", "b.png")
    assert data.texts == ("a", "a", "b")
    assert data.images.shape == (3, 64, 16, 1)
    assert data.images.dtype == np.uint8
    assert data.name == tmp_path.name


def test_a_labels_file_names_the_files_and_their_texts(tmp_path: Path) -> None:
    draw("x").save(tmp_path / "1.png")
    draw("y").save(tmp_path / "2.png")
    draw("z").save(tmp_path / "not listed.png")
    (tmp_path / "labels.csv").write_text('file,label\n2.png,"y,_"\n1.png,x\n')
    data = _load(tmp_path)
    assert dict(zip(data.files, data.texts, strict=True)) == {"1.png": "x", "2.png": "y,_"}


def test_fingerprint_changes_with_names_labels_and_pixels_and_with_nothing_else(
    tmp_path: Path,
) -> None:
    def fingerprint(images: Any, labels: Any = None, **changes: Any) -> Any:
        folder = tmp_path / "set"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, image in images.items():
            image.save(folder / name)
        if labels:
            (folder / "labels.csv").write_text("file,label\n" + labels)
        return _load(folder, **changes).fingerprint

    a, b = draw("a"), draw("b")
    first = fingerprint({"a.png": a, "b.png": b})
    assert fingerprint({"b.png": b, "a.png": a}) == first
    assert fingerprint({"a.png": a, "b.png": b}, width=32) == first
    assert fingerprint({"a.png": a, "b.png": b}, labels="a.png,a\nb.png,b\n") == first
    others = [
        fingerprint({"a.png": a, "c.png": b}),
        fingerprint({"a.png": b, "b.png": a}),
        fingerprint({"a.png": a, "b.png": b}, labels="a.png,a\nb.png,c\n"),
        fingerprint({"a.png": a}),
    ]
    assert len({first, *others}) == 5


def test_fingerprint_sees_a_palette_and_the_orientation(tmp_path: Path) -> None:
    """The same stored bytes, seen differently."""
    fingerprints = set()
    indices = np.random.default_rng(0).integers(0, 2, (16, 64), np.uint8)
    for palette in ([0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0]):
        image = Image.fromarray(indices, "L").convert("P")
        image.putpalette(palette)
        image.putdata(indices.ravel())
        image.save(tmp_path / "a.png")
        fingerprints.add(_load(tmp_path).fingerprint)
    (tmp_path / "a.png").unlink()
    for orientation in (1, 3):
        exif = Image.Exif()
        exif[0x0112] = orientation
        draw("a").save(tmp_path / "a.jpg", exif=exif)
        fingerprints.add(_load(tmp_path).fingerprint)
    assert len(fingerprints) == 4


# ------------------------------------------------------------------------- bad input


def test_every_bad_file_is_named_at_once(tmp_path: Path) -> None:
    draw("good").save(tmp_path / "good.png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    whole = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 200), np.uint8)).save(
        whole, "PNG"
    )
    (tmp_path / "cut.png").write_bytes(whole.getvalue()[:2000])
    draw("x").save(tmp_path / "_2.png")  # no label before the underscore
    draw("x").save(tmp_path / "gooz.png")
    draw("x").save(tmp_path / "oooo.png")  # 4 symbols and 3 blanks
    with pytest.raises(DataError) as error:
        _load(tmp_path, Charset("dgoemptyxcu"), num_steps=6)
    message = str(error.value)
    for part in (
        "6 files",
        "empty.png: empty file",
        "text.png: not an image",
        "cut.png: ",
        "_2.png: its label is empty",
        "gooz.png: its label 'gooz' has 'z'",
        "oooo.png: its label 'oooo' needs 7 time steps",
    ):
        assert part in message
    assert "good.png" not in message


def test_a_stranger_among_the_images_is_named(tmp_path: Path) -> None:
    draw("a").save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("a")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(DataError) as error:
        _load(tmp_path)
    for part in ("3 files", "notes.txt: not an image", "gone.png: there is no", "empty.png: empty"):
        assert part in str(error.value)


def test_an_image_with_damaged_exif_is_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    draw("a").save(buffer, "PNG", exif=b"Exif\0\0garbage")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    with pytest.raises(DataError, match=r"a\.png: not a readable image"):
        _load(tmp_path)


def test_a_name_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    draw("a").save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "\udcff.png")  # the byte 0xff, as Python has it
    with pytest.raises(DataError, match="not valid UTF-8"):
        _load(tmp_path)


def test_a_label_that_just_fits_is_taken(tmp_path: Path) -> None:
    draw("x").save(tmp_path / "oooo.png")
    assert len(_load(tmp_path, num_steps=7)) == 1


@pytest.mark.parametrize("kind", ["missing", "empty", "file"])
def test_a_folder_that_is_none(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "set"
    if kind == "empty":
        folder.mkdir()
    if kind == "file":
        folder.write_text("")
    advice = "must be a folder" if kind == "file" else r"CAPTCHA Version 2.*--config\.data\.dir"
    with pytest.raises(DataError, match=advice):
        _load(folder)


@pytest.mark.parametrize(
    ("labels", "complaint"),
    [
        ("name,text\na.png,a\n", "header file,label"),
        ("", "header file,label"),
        ("file,label\na.png,a\na.png,b\n", r"a\.png: listed twice"),
        ("file,label\nb.png,b\n", r"b\.png: there is no such file"),
        ("file,label\na.png,a,b\n", r"a\.png: more fields"),
        ("file,label\na.png, a\n", r"a\.png: its label ' a' begins or ends"),
        ('file,label\na.png,"a\nb.png,b"\n', r"a\.png: its label .* has line breaks"),
        ('file,label\na.png,"a\nb.png,b\n', "not a CSV file"),
        ("file,label\na.png\n", r"a\.png: its label is empty"),
    ],
)
def test_a_bad_labels_file(tmp_path: Path, labels: str, complaint: str) -> None:
    draw("a").save(tmp_path / "a.png")
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(DataError, match=complaint):
        _load(tmp_path)


@pytest.mark.parametrize(
    ("pattern", "label"),
    [
        ("", "0012"),
        (r"\d+_(.+)", "caf\u00e91_2"),
        ("_([^_]+)_", "caf\u00e91"),
        ("(.)$", "2"),
    ],
)
def test_the_label_is_what_the_pattern_finds(tmp_path: Path, pattern: str, label: str) -> None:
    name = "0012_cafe\u03011_2.png"  # decomposed, as some file systems store it
    draw("a").save(tmp_path / name)
    assert _load(tmp_path, label_pattern=pattern).texts == (label,)
    assert dataset.labels(tmp_path, pattern) == {name: label}


def test_a_name_without_a_label_is_reported(tmp_path: Path) -> None:
    draw("a").save(tmp_path / "1_a.png")
    draw("a").save(tmp_path / "a.png")
    for call in (_load, lambda folder, label_pattern: dataset.labels(folder, label_pattern)):
        with pytest.raises(
            DataError, match=r"1 file in .*\n  a\.png: data\.label_pattern finds no"
        ):
            call(tmp_path, label_pattern=r"\d_(.+)")


# ---------------------------------------------------------------------- split and folds


def _texts(n: int) -> list[Any]:
    return [f"{i:04d}" for i in range(n)]


def _split(texts: Any, **changes: Any) -> Any:
    return splits.split(texts, dataclasses.replace(CONFIG, **changes))


@pytest.mark.parametrize(
    ("n", "fraction", "val"),
    [(1040, 0.1, 104), (936, 0.1, 94), (10, 0.1, 1), (2, 0.1, 1), (40, 0.25, 10)],
)
def test_ninety_ten(n: int, fraction: float, val: int) -> None:
    # As the reference counts: int(n * 0.9) to train on.
    split = _split(_texts(n), val_fraction=fraction)
    assert len(split.val) == val
    assert sorted([*split.train, *split.val]) == list(range(n))


def test_the_split_is_shuffled_and_depends_on_its_seed() -> None:
    # The reference threw the shuffle's result away: the split was alphabetical.
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
        assert not {texts[i] for i in split.train} & {texts[i] for i in split.val}


def test_train_size_nests_and_leaves_validation_alone() -> None:
    whole = _split(_texts(100))
    small, middle = (_split(_texts(100), train_size=n) for n in (10, 30))
    assert set(small.train) < set(middle.train) < set(whole.train)
    assert (len(small.train), len(middle.train)) == (10, 30)
    np.testing.assert_array_equal(small.val, whole.val)


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
    assert {i // 3 for i in test} == {i // 3 for i in range(90) if i in test}
    assert len(test) == 30
    assert all(test.count(3 * (i // 3) + k) == 1 for i in test for k in range(3))
    # A run that writes its labels in lower case has the same test part.
    assert splits.held_out([text.lower() for text in texts], 30).tolist() == test


def test_without_a_test_part_the_split_is_as_it_was() -> None:
    np.testing.assert_array_equal(_split(_texts(40), test_size=0).test, [])
    # The first four of numpy's permutation of 40 with seed 0.
    first = np.random.default_rng(0).permutation(40)[:4]
    np.testing.assert_array_equal(_split(_texts(40)).val, np.sort(first))


@pytest.mark.parametrize(
    ("texts", "changes"),
    [
        (["a"], {}),
        (["a"] * 10, {}),
        (["a", "b", "c"], {"num_folds": 10, "fold": 1}),
        (_texts(100), {"train_size": 91}),
    ],
)
def test_a_split_that_cannot_be(texts: Any, changes: Any) -> None:
    with pytest.raises(DataError):
        _split(texts, **changes)


# ---------------------------------------------------------------- batches


def test_batches_hold_each_example_once_and_mask_the_rest() -> None:
    batches = list(batching.batches(np.arange(5, 15), 4))
    assert [indices.shape for indices, _ in batches] == [(4,)] * 3
    assert np.concatenate([i[m] for i, m in batches]).tolist() == list(range(5, 15))
    assert batches[-1][1].tolist() == [True, True, False, False]


def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    train = np.arange(100)
    orders = {
        (seed, epoch): tuple(batching.epoch_order(train, seed, epoch))
        for seed in (0, 1)
        for epoch in (1, 2)
    }
    assert len(set(orders.values())) == 4
    assert orders[1, 2] == tuple(batching.epoch_order(train, 1, 2))
    assert all(sorted(order) == list(range(100)) for order in orders.values())


# -------------------------------------------------------------------------- the real set


def test_the_real_set(real_set: Path) -> None:
    data = dataset.load(
        dataclasses.replace(CONFIG, dir=str(real_set), width=200, height=50), None, num_steps=50
    )
    assert data.images.shape == (936, 200, 50, 1)
    assert Charset.derive(data.texts).alphabet == "2345678bcdefgmnpwxy"
    with Image.open(real_set / data.files[7]) as image:  # 200x50 gray: nothing to convert
        np.testing.assert_array_equal(data.images[7, :, :, 0], np.asarray(image).T)
