"""The library of functions in C++: compiled once, and done without where that is not possible."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.models import conv_pool
from crnn_jax.runtime import native
from tests.helpers import stored_programs

COMPILER = shutil.which(shlex.split(os.environ.get("CXX", "g++"))[0])
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no compiler for C++")
DAY = 25 * 3600  # seconds, and some more


def forget() -> None:
    """Makes this process find out again what there is."""
    for function in (native._digest, native._library, native._compiler):
        function.cache_clear()
    native._building.clear()


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a script the compiler, with an empty cache. Returns the file that lists its calls."""

    def use(script: str) -> Path:
        calls, file = tmp_path / "calls", tmp_path / "compiler"
        calls.write_text("")
        file.write_text(f"#!/bin/sh\necho call >> {calls}\n{script}\n")
        file.chmod(0o755)
        monkeypatch.setenv("CXX", os.fspath(file))
        return calls

    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.fspath(tmp_path / "cache"))
    monkeypatch.delenv(native.ENABLED, raising=False)
    forget()
    yield use
    forget()


def lowered() -> str:
    """Returns the program of a convolution."""
    x, kernel = jnp.zeros((1, 4, 4, 32)), jnp.zeros((3, 3, 32, 64))
    return jax.jit(lambda x, kernel: conv_pool.conv(x, kernel)).lower(x, kernel).as_text()


@needs_compiler
def test_it_is_compiled_once(compiler: Callable[[str], Path], tmp_path: Path) -> None:
    calls = compiler(f'exec {COMPILER} "$@"')
    library = native.library()
    assert library is not None
    assert native.library() is library
    forget()
    native.start()  # as another process
    assert native._digest() == library.digest
    assert calls.read_text() == "call\n"
    (file,) = (tmp_path / "cache" / "native").iterdir()
    content = hashlib.sha256(file.read_bytes()).hexdigest()
    assert file.name == f"{library.digest}-{content[:16]}.so"


def test_a_compiler_that_fails_is_named_once_a_day(
    compiler: Callable[[str], Path], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls = compiler("echo unknown option >&2; exit 1")
    assert native.library() is None
    note = capfd.readouterr().err
    assert note.startswith("note: the functions in C++ cannot be compiled or loaded (see ")
    (report,) = (tmp_path / "cache" / "native").iterdir()
    assert os.fspath(report) in note
    assert report.read_text().endswith("unknown option\n")
    assert native.PREFIX not in lowered()
    forget()
    assert native.library() is None
    assert calls.read_text() == "call\n"
    assert capfd.readouterr().err == ""
    os.utime(report, (time.time() - DAY,) * 2)
    forget()
    assert native.library() is None
    assert calls.read_text() == "call\n" * 2


def test_an_interrupted_compiler_is_called_again(compiler: Callable[[str], Path]) -> None:
    calls = compiler("kill -INT $$")
    for count in (1, 2):
        assert native.library() is None
        assert calls.read_text() == "call\n" * count
        forget()


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


def test_a_compiler_that_takes_too_long_is_stopped_once(
    compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = compiler("exec sleep 60")
    monkeypatch.setattr(native, "_SECONDS", 1)
    assert native.library() is None
    assert calls.read_text() == "call\n"
    (report,) = (tmp_path / "cache" / "native").iterdir()
    assert report.read_text().endswith("the compiler was stopped after 1 seconds")


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any) -> Any:
        raise error

    return call


@needs_compiler
def test_a_compiler_without_static_libraries_is_called_without_them(
    compiler: Callable[[str], Path],
) -> None:
    missing = "echo cannot find -lstdc++ >&2; exit 1"
    calls = compiler(f'case "$*" in *-static-*) {missing};; esac; exec {COMPILER} "$@"')
    assert native.library() is not None
    assert calls.read_text() == "call\n" * 2


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


def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    forget()
    assert native._digest() is None
    assert native.library() is None
    monkeypatch.undo()
    forget()


def test_a_variable_without_sense_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "g++ '")
    forget()
    assert native.library() is None
    monkeypatch.undo()
    forget()


def test_a_system_without_threads_is_no_error(
    compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: Any) -> None:
        raise RuntimeError("can't start new thread")

    calls = compiler("exit 1")
    monkeypatch.setattr(native.threading.Thread, "start", refuse)
    native.start()
    assert native.library() is None
    assert calls.read_text() == ""


def test_a_bucket_holds_no_library(
    compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = compiler("exit 1")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/cache")
    assert native.library() is None
    assert calls.read_text() == ""


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


@pytest.mark.parametrize("value", ["0", "off"])
def test_a_variable_turns_it_off(
    compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    calls = compiler("exit 1")
    monkeypatch.setenv(native.ENABLED, value)
    assert native.library() is None
    assert calls.read_text() == ""


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


@needs_compiler
@pytest.mark.parametrize("change", ["options", "processor", "sources"])
def test_what_the_code_depends_on_gives_another_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: str
) -> None:
    monkeypatch.delenv(native.ENABLED, raising=False)
    forget()
    before = native._digest()
    assert before is not None
    if change == "options":
        monkeypatch.setenv("CXX", f"{COMPILER} -mno-fma")
    elif change == "processor":
        monkeypatch.setattr(native.processor, "describe", lambda: ["another"])
    else:
        shutil.copytree(native._SOURCES, tmp_path / "native")
        (tmp_path / "native" / "windows.h").write_text("// changed")
        monkeypatch.setattr(native, "_SOURCES", tmp_path / "native")
    forget()
    assert native._digest() not in (None, before)
    monkeypatch.undo()
    forget()


@needs_compiler
def test_a_stored_program_calls_it(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(native.ENABLED, raising=False)
    forget()
    rng = np.random.default_rng(0)
    x, kernel = (
        np.float32(rng.normal(size=(1, 4, 4, 32))),
        np.float32(rng.normal(size=(3, 3, 32, 64))),
    )
    convolve = stored_programs.convolved
    first = stored_programs.process(convolve)(x, kernel)
    np.testing.assert_array_equal(stored_programs.process(convolve)(x, kernel), first)
    assert stored_programs.traced == ["convolved"]
    assert len(stored_programs.programs(store)) == 1
    # Without the library, another program is stored, and each is found again.
    library = native.library
    monkeypatch.setattr(native, "library", lambda: None)
    for _ in range(2):
        stored_programs.forget()
        without = stored_programs.process(convolve)(x, kernel)
        np.testing.assert_allclose(without, first, atol=1e-4)
    assert stored_programs.traced == ["convolved"] * 2
    monkeypatch.setattr(native, "library", library)
    stored_programs.forget()
    np.testing.assert_array_equal(stored_programs.process(convolve)(x, kernel), first)
    assert stored_programs.traced == ["convolved"] * 2
