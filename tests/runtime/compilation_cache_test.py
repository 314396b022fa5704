import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from crnn_jax.runtime import compilation_cache


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/crnn_jax"),
        ({"HOME": "me"}, "me/.cache/crnn_jax"),
        ({"HOME": "me", "JAX_COMPILATION_CACHE_DIR": "mine"}, "mine"),
    ],
)
def test_the_folder_is_jax_s_own_variable_or_the_user_s_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], folder: str
) -> None:
    for name in ("XDG_CACHE_HOME", "HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    compilation_cache.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / folder)
    monkeypatch.undo()


def test_programs_that_were_cut_off_are_removed_and_others_kept(tmp_path: Path) -> None:
    import zlib

    whole = zlib.compress(b"program" * 1000)
    files = {
        "whole-cache": whole,
        "cut-cache": whole[:20],
        "empty-cache": b"",
        "other-cache": b"(\xb5/\xfd",  # the start of zstandard data
        "cut": whole[:20],  # not a file of jax
        "fresh-cache": whole[:20],  # perhaps still being written
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        if name != "fresh-cache":
            os.utime(tmp_path / name, (10**9, 10**9))
    compilation_cache.sweep(tmp_path)
    left = {"whole-cache", "other-cache", "cut", "fresh-cache", "swept"}
    assert {path.name for path in tmp_path.iterdir()} == left
    # A second sweep checks only what is new.
    os.utime(tmp_path / "swept", (2 * 10**9, 2 * 10**9))
    (tmp_path / "cut-cache").write_bytes(b"")
    os.utime(tmp_path / "cut-cache", (10**9, 10**9))
    compilation_cache.sweep(tmp_path)
    assert (tmp_path / "cut-cache").exists()


def test_a_folder_that_cannot_be_made_costs_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.fspath(tmp_path / "file" / "cache"))
    with warnings.catch_warnings():
        compilation_cache.keep_programs()
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"{tmp_path}/file/cache" in said


def test_a_bucket_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "gs://bucket/cache")
    monkeypatch.delenv(compilation_cache.PROGRAMS, raising=False)
    with warnings.catch_warnings():
        compilation_cache.keep_programs()
    assert list(tmp_path.iterdir()) == []
    assert compilation_cache.PROGRAMS not in os.environ
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("entry", ["swept", "old-cache"])
def test_entries_that_cannot_be_changed_cost_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    entry: str,
) -> None:
    """As in a folder that several users share."""
    if entry == "swept":
        monkeypatch.setattr(compilation_cache.Path, "touch", _denied)
    else:
        (tmp_path / entry).mkdir()
        os.utime(tmp_path / entry, (10**9, 10**9))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.fspath(tmp_path))
    monkeypatch.delenv(compilation_cache.PROGRAMS, raising=False)
    with warnings.catch_warnings():
        compilation_cache.keep_programs()
    assert capsys.readouterr().err == ""
    assert os.environ[compilation_cache.PROGRAMS] == os.fspath(tmp_path / "programs")


def _denied(_: Path) -> None:
    raise PermissionError("Permission denied")


def test_the_smallest_program_is_kept(tmp_path: Path) -> None:
    code = "from crnn_jax.runtime import compilation_cache; compilation_cache.keep_programs()"
    code += "; import jax; jax.numpy.zeros(3)"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    environment["JAX_COMPILATION_CACHE_DIR"] = os.fspath(tmp_path)
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [path for path in tmp_path.iterdir() if path.name.endswith("-cache")]
