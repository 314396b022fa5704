"""What is saved if it cannot be written, or if another program changes the folder."""

from pathlib import Path

import pytest

from crnn_jax.errors import RunError
from crnn_jax.labeling.label_rules import EntryError
from crnn_jax.labeling.session import Session
from crnn_jax.runtime import files
from tests.helpers.labeled import enter, readings, saved, shown
from tests.helpers.labeling import finish, opened


def test_a_label_that_another_program_removes_is_asked_for_again(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    first = enter(session)
    lines = (folder / "labels.csv").read_text().splitlines(keepends=True)
    (folder / "labels.csv").write_text("".join(line for line in lines if first not in line))
    seen = [enter(session)]  # now the session reads the file again
    while session.current() is not None:
        seen.append(enter(session))
    assert sorted(seen) == sorted(readings())
    assert sorted(saved(folder)) == sorted(readings())


def number(session: Session) -> int:
    found = session.current()
    assert found is not None
    return found.number


def full(*_: object) -> None:
    raise RunError("no space left on device")


@pytest.mark.parametrize("function", ["append", "write"])  # of the history, of labels.csv
def test_an_entry_that_cannot_be_saved_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    first = enter(session, "one")
    second = shown(session)
    with monkeypatch.context() as patch:
        patch.setattr(files, function, full)
        for text in ("two", "two!"):
            with pytest.raises(RunError, match="no space"):
                session.label(number(session), text)
        assert shown(session) == second
    for found in (session, opened(folder, readings())[0]):
        assert saved(folder) == found.labels() == {first: "one"}
        assert [entry.file for entry in found.entries()] == [first]
    enter(session, "three")
    assert saved(folder) == {first: "one", second: "three"}
    assert [session.undo().file for _ in range(2)] == [second, first]


def test_an_undo_whose_history_cannot_be_written_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    first, second = enter(session), enter(session)
    with monkeypatch.context() as patch:
        patch.setattr(files, "append", full)
        assert session.undo().file == second
    assert shown(session) == second
    for found in (session, opened(folder, readings())[0]):
        assert list(saved(folder)) == [entry.file for entry in found.entries()] == [first]


@pytest.mark.parametrize("is_skipped", [False, True])
def test_a_label_that_another_program_gave_to_the_shown_image_is_kept(
    folder: Path, is_skipped: bool
) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    first, second = enter(session), shown(session)
    with (folder / "labels.csv").open("a") as file:
        file.write(f"{second},hand\n")
    with pytest.raises(EntryError, match=f"has 'hand' for {second} now, so this entry was not"):
        session.skip(number(session)) if is_skipped else enter(session)
    third = shown(session)
    assert third != second
    assert saved(folder)[second] == "hand"
    enter(session)
    assert [session.undo().file for _ in range(2)] == [third, first]
    assert saved(folder) == {second: "hand"}


def test_undo_returns_the_label_that_another_program_changed(folder: Path) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    file = enter(session, "mine")
    (folder / "labels.csv").write_text(f"file,label\n{file},hand\n")
    assert session.undo()[:2] == (file, "hand")


@pytest.mark.parametrize("is_skipped", [False, True])
def test_an_image_that_was_removed_is_neither_labeled_nor_shown(
    folder: Path, is_skipped: bool
) -> None:
    session, reading = opened(folder, readings())
    finish(reading)
    first = shown(session)
    (folder / first).unlink()
    with pytest.raises(EntryError, match=f"{first} was removed, so this entry was not saved"):
        session.skip(number(session)) if is_skipped else enter(session)
    assert not (folder / "labels.csv").exists()
    order = []
    while session.current() is not None:
        order.append(enter(session))
    assert sorted([*order, first]) == sorted(readings())
    assert session.progress()["bad"] == 1
