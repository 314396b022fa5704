"""The folder of the library of functions in C++: damage, other users, and files of others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.runtime import native
from tests.helpers.native_library import COMPILER, DAY, forget, lowered, needs_compiler


@pytest.mark.parametrize("content", ["", "not a library"])
def test_a_damaged_library_is_not_used_and_compiled_again_a_day_later(
    compiler: Callable[[str], Path], capfd: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    calls = compiler(f'for last; do :; done; printf "{content}" > "$last"')
    assert native.library() is None
    assert native.PREFIX not in lowered()
    (report,) = (tmp_path / "cache" / "native").iterdir()
    assert os.fspath(report) in capfd.readouterr().err
    os.utime(report, (time.time() - DAY,) * 2)
    forget()
    assert native.library() is None
    assert calls.read_text() == "call\n" * 2


@needs_compiler
@pytest.mark.parametrize("change", ["cut", "zeros"])
def test_a_library_that_was_damaged_later_is_compiled_again(
    compiler: Callable[[str], Path], tmp_path: Path, change: str
) -> None:
    """Loading it would end the process."""
    calls = compiler(f'exec {COMPILER} "$@"')
    library = native.library()
    (file,) = (tmp_path / "cache" / "native").iterdir()
    content = file.read_bytes()
    file.unlink()  # this process has loaded it
    half = len(content) // 2
    file.write_bytes(content[:half] + (b"" if change == "cut" else bytes(len(content) - half)))
    file.chmod(0o700)
    forget()
    assert native.library() == library
    assert calls.read_text() == "call\n" * 2
    assert file.read_bytes() == content


@needs_compiler
def test_a_library_that_one_process_cannot_load_is_kept_for_others(
    compiler: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    calls = compiler(f'exec {COMPILER} "$@"')
    library = native.library()
    assert library is not None
    forget()
    with monkeypatch.context() as patch:
        patch.setattr(native.ctypes, "CDLL", raising(OSError("failed to map segment")))
        assert native.library() is None
        assert native.is_expected()
    assert "(failed to map segment), so XLA" in capfd.readouterr().err
    forget()
    assert native.library() == library
    assert calls.read_text() == "call\n"


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


@needs_compiler
def test_a_library_without_the_functions_is_not_used(compiler: Callable[[str], Path]) -> None:
    other = "echo 'int other() { return 1; }'"
    compiler(f'for last; do :; done; {other} | {COMPILER} -x c++ -shared -fPIC - -o "$last"')
    assert native.library() is None
    assert native.PREFIX not in lowered()


@needs_compiler
def test_a_library_of_another_user_is_not_used(
    compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler(f'exec {COMPILER} "$@"')
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert native.library() is None


@needs_compiler
@pytest.mark.parametrize("change", ["writable", "link", "folder"])
def test_a_library_that_others_can_write_is_not_used(
    compiler: Callable[[str], Path], tmp_path: Path, change: str
) -> None:
    compiler(f'exec {COMPILER} "$@"')
    assert native.library() is not None
    (file,) = (tmp_path / "cache" / "native").iterdir()
    if change == "writable":
        file.chmod(0o722)
    elif change == "folder":
        file.parent.chmod(0o770)
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    forget()
    assert native.library() is None


def test_files_that_were_left_are_removed(compiler: Callable[[str], Path], tmp_path: Path) -> None:
    compiler("exit 1")
    folder = tmp_path / "cache" / "native"
    left = [folder / "build-abc123", folder / f"{'0f' * 8}.so", folder / f"{'0f' * 8}.failed"]
    foreign = [folder / "thesis.tex", folder / "kernel.so", folder / "src"]
    for path in (left[0], foreign[2]):
        path.mkdir(parents=True)
    for path in (*left[1:], *foreign[:2]):
        path.write_text("")
    for path in (*left, *foreign):
        os.utime(path, (time.time() - 100 * DAY,) * 2)
    assert native.library() is None
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in foreign)


def test_a_folder_that_cannot_be_written_costs_a_note(
    compiler: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    calls = compiler("exit 1")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.fspath(tmp_path / "file"))
    assert native.library() is None
    assert calls.read_text() == ""
    note = capfd.readouterr().err
    assert note.startswith("note: the functions in C++ cannot be compiled or loaded ([Errno ")
