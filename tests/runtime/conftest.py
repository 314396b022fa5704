"""A store of programs and a compiler, for the tests of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from crnn_jax.runtime import native, program_files
from crnn_jax.runtime.compilation_cache import PROGRAMS
from tests.helpers import native_library, stored_programs


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A store, as of a command, and a cache of jax that the tests do not share."""
    folder = tmp_path / "programs"
    monkeypatch.setenv(PROGRAMS, os.fspath(folder))
    command = program_files._PACKAGE / "__main__.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", os.fspath(command), raising=False)
    stored_programs.forget()
    stored_programs.traced.clear()
    cache = jax.config.jax_compilation_cache_dir
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", os.fspath(tmp_path / "cache"))
    yield folder
    jax.config.update("jax_compilation_cache_dir", cache)
    compilation_cache.reset_cache()
    stored_programs.forget()


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
    native_library.forget()
    yield use
    native_library.forget()
