"""The folder of stored programs: what they depend on, damage, and unused files."""

from __future__ import annotations

import os
import stat
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax.runtime import program_files, program_store
from tests.helpers import stored_programs
from tests.helpers.stored_programs import forget, power, process, programs, scaled, traced

MONTH = 31 * 24 * 3600  # seconds


@pytest.mark.parametrize(
    "change", ["config", "flags", "nproc", "processor", "cores", "optax", "native"]
)
def test_another_environment_finds_no_program(
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    change: str,
) -> None:
    process(scaled)(np.float32(3))
    if change == "config":
        request.addfinalizer(lambda: jax.config.update("jax_default_matmul_precision", None))
        jax.config.update("jax_default_matmul_precision", "highest")
    elif change == "flags":
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    elif change == "nproc":
        monkeypatch.setenv("NPROC", "1")
    elif change == "optax":
        version = program_files.metadata.version
        monkeypatch.setattr(
            program_files.metadata, "version", lambda name: version(name) + "9" * (name == "optax")
        )
    elif change == "processor":
        monkeypatch.setattr(program_files.processor, "describe", lambda: ["another"])
    elif change == "native":
        monkeypatch.setattr(program_files.native, "library", lambda: "another")
    else:
        monkeypatch.setattr(program_files.cpu_devices, "available", lambda: 64)
    forget()
    assert process(scaled)(np.float32(3)) == 6
    assert traced == ["scaled", "scaled"]
    assert len(programs(store)) == 2


@pytest.mark.parametrize("place", ["package", "module", "command line"])
def test_a_change_of_a_source_file_is_seen(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    """The function is lowered again, and compiled only if the program is another one."""
    file = tmp_path / place / "models" / "layers.py"
    file.parent.mkdir(parents=True)
    file.write_text("factor = 2\n")
    if place == "package":
        monkeypatch.setattr(program_files, "_PACKAGE", tmp_path / place)
        command = tmp_path / place / "__main__.py"
        monkeypatch.setattr(sys.modules["__main__"], "__file__", os.fspath(command))
    elif place == "module":  # for example of a path in PYTHONPATH
        monkeypatch.setitem(sys.modules, "layers", types.SimpleNamespace(__file__=str(file)))
    else:
        monkeypatch.setattr(sys, "argv", ["run.py", f"--config={file}:variant"])
    forget()
    assert process(scaled)(np.float32(3)) == 6
    file.write_text("factor = 2  # of the result\n")
    forget()
    for _ in range(2):
        assert process(scaled)(np.float32(3)) == 6
    assert (len(traced), len(programs(store))) == (2, 1)
    file.write_text("factor = 5\n")
    monkeypatch.setattr(stored_programs, "factor", 5)
    forget()
    for _ in range(2):
        assert process(scaled)(np.float32(3)) == 15
    assert (len(traced), len(programs(store))) == (3, 2)


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:100] + b"x" + b[101:]]
)
def test_a_damaged_program_is_compiled_and_stored_again(
    store: Path, damage: Callable[[bytes], bytes]
) -> None:
    process(scaled)(np.float32(3))
    (file,) = programs(store)
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        assert process(scaled)(np.float32(4)) == 8
    assert traced == ["scaled", "scaled"]


def root(x: Any) -> Any:
    return jnp.linalg.cholesky(x)


def test_a_program_that_calls_another_library_is_not_stored(store: Path) -> None:
    """A process that loaded it would end with a segmentation fault."""
    for _ in range(2):
        found = program_store.jit(root)(np.array([[4, 2], [2, 2]], np.float32))
        np.testing.assert_allclose(found, [[2, 0], [1, 1]], atol=1e-6)
    assert programs(store) == []


def test_a_full_disk_costs_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(program_files.files, "write", full)
    assert process(scaled)(np.float32(3)) == 6


def test_a_folder_of_another_user_costs_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError("Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(program_files.Path, "exists", denied)
        found = process(scaled)(np.float32(3))
    assert found == 6


def test_an_entry_of_jax_s_cache_that_cannot_be_removed_costs_nothing(
    store: Path, tmp_path: Path
) -> None:
    entry = tmp_path / "cache" / "jit_scaled_stored-0-cache"
    entry.mkdir(parents=True)  # a directory
    assert process(scaled)(np.float32(3)) == 6
    assert len(programs(store)) == 1


def test_files_and_environments_that_were_not_used_for_a_month_are_removed(store: Path) -> None:
    old, recent = "0f" * 16, "f0" * 16
    for name, age in {old: MONTH, recent: 60, "thesis": MONTH}.items():
        (store / name).mkdir(mode=0o700, parents=True)
        os.utime(store / name, (time.time() - age,) * 2)
    store.chmod(0o700)
    process(scaled)(np.float32(3))
    assert not (store / old).exists()
    assert (store / recent).exists()
    assert (store / "thesis").exists()  # of the user
    (first,) = programs(store)
    os.utime(first, (time.time() - MONTH,) * 2)
    process(power)({"a": np.float32(1)}, np.float32(3), n=2)
    assert not first.exists()
    assert len(programs(store)) == 1


def test_a_program_that_is_used_is_kept(store: Path) -> None:
    process(scaled)(np.float32(3))
    for file in store.rglob("*.*"):
        os.utime(file, (time.time() - MONTH,) * 2)
    process(scaled)(np.float32(3))
    process(power)({"a": np.float32(1)}, np.float32(3), n=2)
    assert len(programs(store)) == 2


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner")
@pytest.mark.parametrize("change", ["folder", "store", "owner"])
def test_programs_that_others_could_have_written_are_not_read(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    process(scaled)(np.float32(3))
    (folder,) = store.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(store.stat().st_mode) == 0o700
    if change == "owner":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    else:
        (folder if change == "folder" else store).chmod(0o770)
    forget()
    read: list[Path] = []
    monkeypatch.setattr(program_files, "_read", read.append)
    assert process(scaled)(np.float32(3)) == 6
    assert read == []
    said = capsys.readouterr().err
    assert said.startswith("note: other users can write ")
    assert said.count("\n") == 1
