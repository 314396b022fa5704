"""Files are written whole or not at all, and read within bounds."""

import contextlib
import errno
import io
import os
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.errors import RunError
from crnn_jax.runtime import files as disk
from crnn_jax.runtime import lock
from tests.helpers.failing import failing, no_space


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.write(tmp_path / "a", b"old")
    monkeypatch.setattr(os, "fsync", failing(no_space()))
    with pytest.raises(RunError, match=rf"^{tmp_path}/a cannot be written: No space.*make room"):
        disk.write(tmp_path / "a", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_the_start_of_a_file_is_read_whatever_its_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdef")
    assert [disk.start(tmp_path / "a", count) for count in (2, 6, 9)] == [
        b"ab",
        b"abcdef",
        b"abcdef",
    ]
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**40)  # a sparse file
    assert disk.start(tmp_path / "large", 3) == b"\0\0\0"
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "none"):
        with pytest.raises(OSError, match=f"{tmp_path}"):
            disk.start(tmp_path / name, 3)


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """A run directory from a stranger may contain such a link, to make us write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    for name in ("a", "a.partial"):
        (tmp_path / name).symlink_to(victim)
    disk.write(tmp_path / "a", b"new")
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "a").read_bytes() == b"new"
    (tmp_path / "b").symlink_to(victim)
    with pytest.raises(RunError, match=r"b cannot be written.*symbolic link"):
        disk.append(tmp_path / "b", b"more")
    (tmp_path / lock.FILE).symlink_to(victim)
    with pytest.raises(RunError, match="symbolic link"), lock.hold(tmp_path):
        pass
    assert victim.read_bytes() == b"mine"


def test_a_line_is_added_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.append(tmp_path / "a", b"one\n")

    class Small(io.FileIO):
        """A file that accepts two bytes and then no more."""

        def write(self, content: Any) -> Any:
            return super().write(bytes(content[:2])) if self.tell() < 6 else failing(no_space())()

    @contextlib.contextmanager
    def opened(path: Path) -> Iterator[Any]:
        with Small(path, "ab") as file:
            yield file

    monkeypatch.setattr(disk, "opened", opened)
    with pytest.raises(RunError, match="a cannot be written: No space"):
        disk.append(tmp_path / "a", b"two\n")
    assert (tmp_path / "a").read_bytes() == b"one\n"
    monkeypatch.undo()
    disk.append(tmp_path / "a", b"two\n")
    assert (tmp_path / "a").read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("kind", "says"), [("pipe", "a pipe"), ("folder", "directory"), ("large", "too many")]
)
def test_what_is_read_is_a_file_of_bounded_size(tmp_path: Path, kind: str, says: str) -> None:
    path = tmp_path / "a"
    makers: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "large": lambda: path.write_bytes(b"12345"),
    }
    makers[kind]()
    with pytest.raises(OSError, match=says):
        disk.read(path, most=4)
    with pytest.raises(OSError, match="a pipe, device or socket"):
        disk.read("/dev/zero", most=4)


def test_room_is_known_before_it_is_needed(tmp_path: Path) -> None:
    """No disk has an exabyte; nothing remains of the attempt."""
    disk.check_room(tmp_path / "a", 1000)
    with pytest.raises(RunError, match=r"a cannot be written: (No space|File too large)"):
        disk.check_room(tmp_path / "a", 2**60)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../a", "b/../../a", "/etc/a", "a\0b"])
def test_a_name_that_leads_out_of_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="out of the folder"):
        disk.inside(tmp_path, name)
    assert disk.inside(tmp_path, "b/a..png") == tmp_path / "b" / "a..png"


def test_a_disk_without_inodes_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint has dozens of small files."""
    for files, free, fits in [(1000, 3, False), (1000, 900, True), (0, 0, True)]:  # 0: not limited
        room = types.SimpleNamespace(f_files=files, f_favail=free)
        monkeypatch.setattr(os, "statvfs", lambda _, room=room: room)
        context: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        if not fits:
            context = pytest.raises(RunError, match=r"a cannot be written: No inodes.*\(3 free")
        with context:
            disk.check_room(tmp_path / "a", 1, files=64)
    assert not list(tmp_path.iterdir())


def test_a_file_that_fails_when_it_is_closed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems report failed writes at close. A file opened for reading is fine."""
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    real = os.close

    def close(descriptor: Any) -> None:
        real(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(disk.os, "close", close)
        assert disk.read(path) == b"abc"

    class File(io.FileIO):
        def close(self) -> None:
            super().close()
            raise OSError(errno.EIO, "Input/output error")

    opened = lambda descriptor, *_, **__: File(descriptor, "ab+")  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(disk, "open", opened, raising=False)
        with pytest.raises(RunError, match=r"/file cannot be written: Input/output error"):
            disk.append(path, b"d")
