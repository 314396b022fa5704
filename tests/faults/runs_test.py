"""Untrusted run directories: opened, or refused in a sentence; nothing in them is executed."""

import json
import os
import re
import shutil
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crnn_jax.analysis import html_report, label_audit, sweep_report, sweep_runs
from crnn_jax.errors import CrnnError, RunError
from crnn_jax.inference import exported, recognizer
from crnn_jax.interop import keras_file
from crnn_jax.runs import checkpoint, run_dir
from crnn_jax.runtime import program_files
from tests.faults import strangers

_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 10**9, 10**30, 1e308, float("nan"), float("inf")),
    *("", "x", "a" * 1000, "\ud800", "../../x", [], {}, [[]], {"a": 1}, [1] * 1000),
)


def spoil(rng: Any, values: Any) -> None:
    """Returns nested plain values with one of them replaced or removed."""
    places: list[tuple[str | int, ...]] = []

    def walk(value: Any, path: tuple[str | int, ...]) -> None:
        places.append(path)
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                walk(value[key], (*path, key))

    walk(values, ())
    *path, last = places[int(rng.integers(1, len(places)))]
    for key in path:
        values = values[key]
    if rng.integers(4):
        values[last] = _VALUES[int(rng.integers(len(_VALUES)))]
    else:
        del values[last]


def check_spoilt(run: Path, picture: Any, folder: Path, count: int, seed: int) -> tuple[Any, Any]:
    """Opens copies of a run with one damaged file. Returns the numbers read and refused."""
    rng = np.random.default_rng(seed)
    read = refused = 0
    for _ in range(count):
        cell = folder / "grid" / "base" / "cell"
        shutil.rmtree(folder / "grid", ignore_errors=True)
        shutil.copytree(run, cell)
        files = sorted(p for p in cell.rglob("*") if p.is_file())
        path = files[int(rng.integers(len(files)))]
        text = path.read_text(errors="replace")
        if text.startswith("{") and path.suffix != ".jsonl" and rng.integers(3):
            values = json.loads(text)
            spoil(rng, values)
            path.write_text(json.dumps(values))
        else:
            path.write_bytes(strangers.mutate(rng, path.read_bytes(), picture.read_bytes()))
        if rng.integers(3) == 0:  # like a version without digests
            (cell / "checkpoints.json").unlink(missing_ok=True)
        if rng.integers(3):  # else the checkpoint is not read
            (cell / "reader.safetensors").unlink(missing_ok=True)
        calls: list[Callable[..., Any]] = [
            lambda cell=cell: recognizer.load(cell).predict(picture),
            lambda: (
                (runs := sweep_runs.read_grid(folder / "grid"))
                and sweep_report.to_markdown(runs, sweep_report.table(runs))
            ),
            lambda: label_audit.rank(folder / "grid"),
        ]
        for call in calls:
            try:
                call()
                read += 1
            except CrnnError:  # and no other error
                refused += 1
    return read, refused


def test_a_run_with_one_file_spoilt_is_read_or_refused(
    trained: Path, captchas: Path, tmp_path: Path
) -> None:
    picture = sorted(captchas.iterdir())[0]
    read, refused = check_spoilt(trained, picture, tmp_path, 8, seed=1)
    assert min(read, refused) > 2


@pytest.fixture
def stranger(trained: Path, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    return run


def _edit(path: Path, key: str, value: Any) -> None:
    values = json.loads(path.read_text())
    section, _, name = key.partition(".")
    values[section][name] = value
    path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("model.lstm_units", [10**9, 10**9], "lstm_units must be 1 to 16 numbers from 1 to 8192"),
        ("model.conv_features", [1] * 10**5, "conv_features must be 1 to 16"),
        ("data.width", 10**9, "width times height"),
        ("model.dense_features", 10**30, "from 1 to 8192"),
        ("model.dense_features", 8192, "belongs to another model"),
    ],
)
def test_sizes_that_are_absurd_cost_nothing(
    stranger: Path, key: str, value: Any, says: str
) -> None:
    _edit(stranger / "config.json", key, value)
    with pytest.raises(RunError, match=says):
        recognizer.load(stranger)


def test_pipes_and_devices_in_a_run_keep_nobody_waiting(stranger: Path) -> None:
    calls: list[tuple[str, Callable[[], Any]]] = [
        ("result.json", lambda: recognizer.load(stranger)),
        ("readings.csv", lambda: label_audit.rank(stranger.parent)),
        ("config.json", lambda: recognizer.load(stranger)),
    ]
    for name, call in calls:
        (stranger / name).rename(stranger / "kept")
        os.mkfifo(stranger / name)
        with pytest.raises(RunError, match=rf"{name} cannot be read.*a pipe"):
            call()
        (stranger / name).unlink()
        (stranger / "kept").rename(stranger / name)


def test_arrays_stored_in_pieces_larger_than_themselves_are_not_read() -> None:
    def leaf(shape: Any, piece: Any) -> Any:
        stored = types.SimpleNamespace(chunk_shape=piece)
        return types.SimpleNamespace(shape=shape, storage_metadata=stored)

    assert not checkpoint._in_large_pieces({"a": leaf((3, 4), (3, 2)), "b": leaf((), ())})
    assert checkpoint._in_large_pieces({"a": leaf((3, 4), (3, 4)), "b": leaf((3,), (10**9,))})


def test_the_store_of_arrays_leads_out_of_no_folder(tmp_path: Path) -> None:
    """In the array store of Orbax, the index of a checkpoint cannot refer to files elsewhere."""
    import tensorstore

    (tmp_path / "a").mkdir()
    (tmp_path / "secret").write_bytes(b"secret")
    store = tensorstore.KvStore.open(f"file://{tmp_path}/a/").result()
    for key in ("../secret", f"{tmp_path}/secret", "b/../../secret"):
        with pytest.raises(ValueError, match="Invalid key"):
            store.read(key).result()


def test_what_a_report_writes_follows_no_link_of_a_stranger(stranger: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("report.html", "report.html.partial", "curves.png.partial"):
        (stranger / name).symlink_to(victim)
    html_report.write(stranger)
    assert victim.read_text() == "mine"
    assert (stranger / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_names_and_labels_are_text_in_pages_and_tables(
    stranger: Path, captchas: Path, tmp_path: Path
) -> None:
    bad = '<script>alert("1")</script>'
    folder = tmp_path / "set"
    folder.mkdir()
    for i, path in enumerate(sorted(captchas.iterdir())):
        # A slash would end the file name, and an underscore its label.
        name = f"{path.stem}_{bad.replace('/', '')}{i}.png"
        (folder / name).write_bytes(path.read_bytes())
    _edit(stranger / "environment.json", "data.name", bad)
    content = html_report.write(stranger, folder).read_text()
    assert content.count("<script") == 1  # that of the page
    assert "&lt;script&gt;alert(&#34;1&#34;)" in content
    grid = tmp_path / "grid" / "a|b<b>$x$" / "seed0-fold0"
    shutil.copytree(stranger, grid)
    runs = sweep_runs.read_grid(tmp_path / "grid")
    table = sweep_report.to_markdown(runs, sweep_report.table(runs))
    assert r"a\|b&lt;b&gt;\$x\$" in table
    assert "<b>" not in table


def test_an_export_from_a_stranger_names_arrays_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import numpy as safetensors

    (tmp_path / "reader.json").write_text("{}")
    monkeypatch.setattr(exported, "parse", lambda *_: None)
    for names in (["a", "a.b"], ["a.b", "a"], ["a.b", "a.b.c.d"], [".".join("a" * 1000)]):
        arrays = {name: np.zeros(2, np.float32) for name in names}
        (tmp_path / "model.safetensors").write_bytes(safetensors.save(arrays))
        with pytest.raises(RunError, match="is not a valid array name"):
            exported.read(tmp_path)
    os.mkfifo(tmp_path / "model.keras")
    with pytest.raises(RunError, match="a pipe"):
        keras_file.read(tmp_path / "model.keras")


def test_nothing_that_executes_is_imported() -> None:
    """No pickle, and no call that unpacks an archive or evaluates text as code."""
    words = ("pickle", "marshal", "eval(", "exec(", "shelve", "extractall", "np.load", "numpy.load",
             "yaml.load", "allow_pickle", "__import__", "load_model")  # fmt: skip
    paths = list(Path(run_dir.__file__).parents[1].rglob("*.py"))
    assert Path(run_dir.__file__) in paths
    # Its folder has machine code, so it is trusted anyway: see docs/explanation/security.md.
    paths.remove(Path(program_files.__file__))
    for path in paths:
        lines = path.read_text().splitlines()
        # numpy formats are allowed, because numpy then refuses pickles.
        lines = [re.sub(r"np\.load\(.*, allow_pickle=False\)", "", line) for line in lines]
        found = [word for word in words for line in lines if _uses(line, word)]
        assert not found, path


def _uses(line: str, word: str) -> bool:
    is_comment = line.lstrip().startswith("#")
    return not is_comment and re.search(rf"(?<!\w){re.escape(word)}", line) is not None


def test_a_use_is_found_anywhere_in_a_line() -> None:
    assert _uses("x = literal_eval(eval(y))", "eval(")
    assert _uses("eval(y)", "eval(")
    assert not _uses("x = literal_eval(y)", "eval(")
    assert not _uses("  # eval(y)", "eval(")
