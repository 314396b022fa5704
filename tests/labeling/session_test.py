"""Labeling as a person does it, with a reader whose readings are given."""

import json
from pathlib import Path

import numpy as np
import pytest

from crnn_jax.data.tree import Tree
from crnn_jax.errors import DataError, RunError
from crnn_jax.inference.evaluate import Reading
from crnn_jax.labeling.label_rules import EntryError
from crnn_jax.labeling.plan import FIRST
from crnn_jax.labeling.reading import CHUNK, ReadingThread
from crnn_jax.labeling.session import Session
from tests.helpers.images import draw
from tests.helpers.labeled import COUNT, enter, readings, saved, shown
from tests.helpers.labeling import GivenReader, NoAdapter, finish, opened


def test_the_least_confident_come_first_and_every_fourth_is_drawn(folder: Path) -> None:
    # Equal texts cover the same symbols, so only the confidences, which fall, decide.
    given = {f"{n:02}.png": ("abc", 1 - n / 100) for n in range(COUNT)}
    session, reading = opened(folder, given)
    assert session.current() is None  # nothing is read yet
    finish(reading)
    order, drawn = [], []
    while (found := session.current()) is not None:
        order.append(enter(session))
        drawn.append(found.drawn)
        finish(reading)
    assert sorted(order) == sorted(given)  # each once
    assert drawn == [place % 4 == 3 for place in range(COUNT)]
    ordered = [file for file, is_drawn in zip(order, drawn, strict=True) if not is_drawn]
    assert ordered == sorted(ordered, reverse=True)
    random = [file for file, is_drawn in zip(order, drawn, strict=True) if is_drawn]
    assert random != sorted(random, reverse=True)
    assert saved(folder) == dict.fromkeys(order, "abc")
    assert session.progress()["rest"] == 0


def test_ordered_images_are_in_the_pool_of_the_least_confident(tmp_path: Path) -> None:
    names = [f"{n:03}.png" for n in range(400)]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    # Confidences fall, so the pool of the first 25 images is that of the last 200. A text with new
    # symbols is chosen soon if it is in the pool. Of such texts, only that of image 201 is there.
    given = {name: (f"{n % 7}{n % 5}", 1 - n / 1000) for n, name in enumerate(names)}
    for n in (*range(150), 201):
        given[names[n]] = (chr(0x4E00 + n) + chr(0x5E00 + n), 1 - n / 1000)
    session, _ = opened(tmp_path, given)
    for number, name in enumerate(names):  # all are read before an order is made
        session.put(number, Reading(*given[name]), session.pool.reader)
    ordered = []
    for place in range(40):
        found = session.current()
        assert found is not None
        if not found.drawn:
            # Before the batch was made, at most `place` images had left the rest.
            assert found.number >= 400 - 8 * 25 - place
            ordered.append(found.number)
        enter(session)
    assert 201 in ordered[:25]


def test_undo_and_skip(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    with pytest.raises(EntryError, match="nothing to undo"):
        session.undo()
    first = enter(session, "typo")
    second = shown(session)
    found = session.current()
    assert found is not None
    session.skip(found.number)
    assert saved(folder) == {first: "typo"}
    assert session.progress()["skipped"] == 1
    third = shown(session)
    assert len({first, second, third}) == 3
    assert session.undo().file == second
    assert shown(session) == second
    assert session.progress()["skipped"] == 0
    assert session.undo().file == first
    assert shown(session) == first
    assert saved(folder) == {}
    enter(session, "right")
    assert shown(session) == second  # the order stays
    assert saved(folder) == {first: "right"}


def test_the_next_session_continues(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    files = [enter(session) for _ in range(5)]
    found = session.current()
    assert found is not None
    session.skip(found.number)
    before = session.estimates()

    again, reading = opened(folder, readings())
    finish(reading)
    assert again.labels() == session.labels()
    assert again.estimates() == before
    assert before["given"].drawn == 1
    assert again.progress() == session.progress()
    assert shown(again) not in {*files, session.files[found.number]}
    assert again.undo().label is None
    assert again.undo().file == files[-1]
    # A row that the user removed is labeled again; labels.csv is right, not the history.
    lines = (folder / "labels.csv").read_text().splitlines(keepends=True)
    (folder / "labels.csv").write_text("".join(line for line in lines if files[0] not in line))
    third, reading = opened(folder, readings())
    finish(reading)
    order = []
    while third.current() is not None:
        order.append(enter(third))
        finish(reading)
    assert files[0] in order
    assert files[1] not in order
    # Also after another start, an image has one entry, and counts once.
    fourth, _ = opened(folder, readings())
    assert fourth.estimates() == third.estimates()
    assert len(fourth.entries()) == len(fourth.labels())


def test_a_skip_that_was_undone_stays_undone(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    skipped = session.current()
    assert skipped is not None
    session.skip(skipped.number)
    labeled = enter(session)
    lines = (folder / "labels.csv").read_text().splitlines(keepends=True)
    (folder / "labels.csv").write_text("".join(line for line in lines if labeled not in line))
    again, _ = opened(folder, readings())
    assert (
        again.undo().file == session.files[skipped.number]
    )  # the label is gone, so the skip is last
    third, _ = opened(folder, readings())
    assert third.entries() == []


def test_a_new_reader_orders_the_images_as_soon_as_it_has_read_enough(tmp_path: Path) -> None:
    names = [f"{n:03}.png" for n in range(300)]
    for name in names:
        (tmp_path / name).touch()
    session, reading = opened(tmp_path, dict.fromkeys(names, ("a", 0.5)))
    finish(reading)
    session.renew("new")
    for _ in range(2):
        enter(session)
    read = session.unread(200)
    for number in read:  # the new reader is unsure of one image only
        found = Reading("a", 0.1 if number == read[150] else 1.0)
        session.put(number, found, session.pool.reader)
    entered = [enter(session) for _ in range(8)]  # six were planned before
    assert names[read[150]] in entered


def test_the_history_survives_a_torn_line_and_damage_is_reported(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    first = enter(session)
    journal = folder / ".crnn-jax" / "entries.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"file": "03.pn')
    again, reading = opened(folder, readings())
    finish(reading)
    assert journal.read_bytes() == whole
    assert again.undo().file == first
    journal.write_bytes(b"[]\n" + whole)
    with pytest.raises(RunError, match=r"entries\.jsonl: line 1: .* remove the file"):
        opened(folder, readings())


def test_the_estimate_counts_the_draws_only(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    wrong = 0
    for place in range(16):  # ordered images are all wrong, and one of the four draws
        is_wrong = place % 4 != 3 or place == 7
        wrong += is_wrong
        enter(session, "xxx" if is_wrong else None)
        finish(reading)
    found = session.estimates()["given"]
    assert wrong == 13
    assert (found.right, found.drawn) == (3, 4)
    session.undo()
    assert session.estimates()["given"][:2] == (2, 3)


def test_a_new_reader_reads_again_and_has_an_estimate_of_its_own(folder: Path) -> None:
    adapter = NoAdapter()
    session, reading = opened(folder, readings(), adapter)
    finish(reading)
    for _ in range(4):
        enter(session)
    pinned = shown(session)
    better = {file: (f"b{text}", 1 - confidence) for file, (text, confidence) in readings().items()}
    adapter.new.append(("better", GivenReader(better)))
    finish(reading)
    assert shown(session) == pinned
    found = session.current()
    assert found is not None
    assert session.guess(found.number).text == f"a{pinned[:2]}"  # what the user sees
    enter(session)
    assert all(session.pool.texts[n].startswith("b") for n in session.pool.rest.tolist())
    found = session.current()
    assert found is not None
    assert session.guess(found.number).text.startswith("ba")
    while session.current() is not None and len(session.labels()) < 8:
        enter(session)
    found_estimates = session.estimates()
    assert list(found_estimates) == ["given", "better"]
    assert found_estimates["given"][:2] == (1, 1)
    assert found_estimates["better"][:2] == (1, 1)


def test_labels_that_cannot_be_or_look_wrong(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    found = session.current()
    assert found is not None
    for text, message in (
        ("  ", "Type the text"),
        ("a\nb", "The label 'a.nb' has line breaks"),
        ("x" * 99, "needs 197 time steps"),
        (" ### ", "marks an image that cannot be read; skip it"),  # no label in labels.csv
    ):
        with pytest.raises(EntryError, match=message) as caught:
            session.label(found.number, text)
        assert not caught.value.needs_consent
    with pytest.raises(EntryError, match="Another image"):
        session.label(found.number + 1, "a")
    for _ in range(5):
        enter(session)
    found = session.current()
    assert found is not None
    question = "All 5 labels so far have 3 characters, and this one has 2"
    with pytest.raises(EntryError, match=question) as caught:
        session.label(found.number, "ab")
    assert caught.value.needs_consent
    assert len(saved(folder)) == 5
    session.label(found.number, " жe\u0301 ", is_confirmed=True)
    assert saved(folder)[session.files[found.number]] == "ж\u00e9"


def test_images_that_cannot_be_opened_are_counted_and_never_shown(folder: Path) -> None:
    given = readings()
    for name in ("00.png", "05.png", "11.png"):
        del given[name]
    session, reading = opened(folder, given)
    finish(reading)
    order = []
    while session.current() is not None:
        order.append(enter(session))
        finish(reading)
    assert sorted(order) == sorted(given)
    assert session.progress()["bad"] == 3
    assert {session.files[n] for n in session.pool.bad} == {"00.png", "05.png", "11.png"}


def test_characters_of_the_guess_are_known(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    found = session.current()
    assert found is not None
    text, confidence = readings()[session.files[found.number]]
    characters = session.characters(found.number)
    assert characters == [(symbol, confidence) for symbol in text]


def test_names_that_a_table_cannot_hold_are_left_out(tmp_path: Path) -> None:
    draw("a").save(tmp_path / "a\nb.png")
    draw("a").save(tmp_path / "\u00e9.png")
    draw("a").save(tmp_path / "e\u0301.png")
    session = Session(Tree(tmp_path), tmp_path / ".crnn-jax", "given", 64)
    assert len(session.files) == 1
    assert session.progress()["unlisted"] == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="contains no images"):
        Session(Tree(tmp_path / "empty"), tmp_path, "given", 64)


def test_with_100_000_images_the_first_is_shown_after_a_few_were_read(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.images = [f"{n:06}.png" for n in range(100_000)]  # only their names are used
    rng = np.random.default_rng(0)
    given = {
        file: (f"{n % 9973}", float(share))
        for n, (file, share) in enumerate(zip(tree.images, rng.random(100_000), strict=True))
    }
    session = Session(tree, tmp_path / ".crnn-jax", "given", 64)
    reader = GivenReader(given)
    reading = ReadingThread(session, reader, NoAdapter())
    while session.current() is None:
        assert reading.advance()
    assert FIRST <= len(reader.read) <= FIRST + CHUNK
    # The images that were read are a sample of all, not the first by name.
    assert 30_000 < np.mean([int(name[:6]) for name in reader.read]) < 70_000
    for _ in range(30):
        (tmp_path / shown(session)).touch()  # an image without a file cannot be labeled
        enter(session)
        reading.advance()
    assert len(set(reader.read)) == len(reader.read)
    lines = (tmp_path / ".crnn-jax" / "entries.jsonl").read_text().splitlines()
    assert [json.loads(line)["drawn"] for line in lines] == [i % 4 == 3 for i in range(30)]
