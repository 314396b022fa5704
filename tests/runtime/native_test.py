"""The library of functions in C++: compiled once, and done without where that is not possible."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax.runtime import native
from tests.helpers import stored_programs
from tests.helpers.native_library import COMPILER, DAY, forget, lowered, needs_compiler


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


def test_a_compiler_that_takes_too_long_is_stopped_once(
    compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = compiler("exec sleep 60")
    monkeypatch.setattr(native, "_SECONDS", 1)
    assert native.library() is None
    assert calls.read_text() == "call\n"
    (report,) = (tmp_path / "cache" / "native").iterdir()
    assert report.read_text().endswith("the compiler was stopped after 1 seconds")


@needs_compiler
def test_a_compiler_without_static_libraries_is_called_without_them(
    compiler: Callable[[str], Path],
) -> None:
    missing = "echo cannot find -lstdc++ >&2; exit 1"
    calls = compiler(f'case "$*" in *-static-*) {missing};; esac; exec {COMPILER} "$@"')
    assert native.library() is not None
    assert calls.read_text() == "call\n" * 2


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


@pytest.mark.parametrize("value", ["0", "off"])
def test_a_variable_turns_it_off(
    compiler: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    calls = compiler("exit 1")
    monkeypatch.setenv(native.ENABLED, value)
    assert native.library() is None
    assert calls.read_text() == ""


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
