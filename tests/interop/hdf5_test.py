"""HDF5 and .keras files that claim more data than they contain, or contain no weights."""

import io
import json
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from crnn_jax.errors import RunError
from crnn_jax.interop import hdf5, keras_file
from tests.faults import weights

ROOT = Path(__file__).resolve().parents[2]
CASES = ROOT.parent / "shared" / "cases" / "faults"
LARGE = (30_000, 10_000)  # floats: 1.2 GB


def _external(file: Any) -> None:
    file.create_dataset("a/kernel", (3,), "f", external=[("/etc/passwd", 0, 12)])


def _virtual(file: Any) -> None:
    layout = h5py.VirtualLayout((3,), "f")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    file.create_virtual_dataset("a/kernel", layout)


def _deep(file: Any) -> None:
    for _ in range(60):
        file = file.create_group("a")


def _loop(file: Any) -> None:
    file.create_group("a")["b"] = file["/"]
    file["soft"] = h5py.SoftLink("/soft")


def _many(file: Any) -> None:
    for i in range(10_001):
        file.create_group(f"{i}")


def _shared_strings(file: Any) -> None:
    names = np.array(["x" * 60_000] * 2000, h5py.string_dtype())
    file.attrs.create("layer_names", names)


CLAIMS = {
    "unwritten": (lambda f: f.create_dataset("a/kernel", LARGE, "f"), "but the file stores 0"),
    "filled": (lambda f: f.create_dataset("a/kernel", LARGE, "f", fillvalue=1.5), "stores 0"),
    "unwritten chunks": (
        lambda f: f.create_dataset("a/kernel", LARGE, "f", chunks=(10, 10)), "stores 0"),
    "large chunks": (
        lambda f: f.create_dataset("a/kernel", LARGE, "f", chunks=LARGE), "chunks larger than"),
    "compressed": (
        lambda f: f.create_dataset("a/kernel", (9, 9), "f", compression="gzip"), "is compressed"),
    "external": (_external, "stored in other files"),
    "virtual": (_virtual, "stored in other files"),
    "axes": (lambda f: f.create_dataset("a/kernel", (1,) * 9, "f"), "at most 4 axes"),
    "null": (lambda f: f.create_dataset("a/kernel", data=h5py.Empty("f")), "at most 4 axes"),
    "whole numbers": (lambda f: f.create_dataset("a/kernel", data=[1, 2]), "not an array of"),
    "references": (
        lambda f: f.create_dataset("a/kernel", (3,), h5py.ref_dtype), "not an array of floats"),
    "compound": (
        lambda f: f.create_dataset("a/kernel", (3,), [("x", "f4")]), "not an array of floats"),
    "deep": (_deep, "nested more than 16 deep"),
    "many": (_many, "more than 10000 objects"),
    "loop": (_loop, "contains no weights"),
    "external link": (
        lambda f: f.__setitem__("a", h5py.ExternalLink("/etc/passwd", "x")), "contains no weights"),
    "configuration": (
        lambda f: f.attrs.create("model_config", np.zeros(3)), "model_config is not a string"),
    "long configuration": (
        lambda f: f.attrs.create("model_config", " " * 2**21, dtype=h5py.string_dtype()),
        "more than 1048576 bytes"),
    "shared strings": (_shared_strings, "layer_names claims more than"),
    "model_weights": (lambda f: f.create_dataset("model_weights", data=1.0), "is not a group"),
}  # fmt: skip


@pytest.mark.parametrize("name", CLAIMS)
def test_what_is_not_stored_in_the_file_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    make: Any
    make, message = CLAIMS[name]
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        make(file)
    monkeypatch.setattr(np, "asarray", None)  # would read a dataset
    with pytest.raises(RunError, match=message) as error:
        keras_file.read(tmp_path / "a.h5")
    assert "\n" not in str(error.value)


def test_datasets_that_share_bytes_claim_them_each(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="earliest") as file:
        for i in range(99):  # not written, so that no bytes are allocated
            file.create_dataset(f"{i}/kernel", (1000,), "f")
        file["x/kernel"] = np.ones(1000, np.float32)
        place = file["x/kernel"].id.get_offset()
    content = (tmp_path / "a.h5").read_bytes()
    size, nowhere = (4000).to_bytes(8, "little"), b"\xff" * 8
    shared = content.replace(nowhere + size, place.to_bytes(8, "little") + size)
    with h5py.File(io.BytesIO(shared)) as file:
        assert file["7/kernel"][3] == 1
    with pytest.raises(ValueError, match="claim more than"):
        hdf5.read(shared, lambda name: True)


def test_two_arrays_of_one_place_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/kernel"], file["a/0"] = np.zeros(3, np.float32), np.zeros(3, np.float32)
    with pytest.raises(RunError, match="two arrays with the same name"):
        keras_file.read(tmp_path / "a.h5")


def test_each_dataset_is_read_once(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["b/kernel"] = np.ones(3, np.float32)
        file["a/kernel"] = file["b/kernel"]
        file["optimizer/kernel"] = np.zeros(3, np.float32)
    found = hdf5.read(buffer.getvalue(), keras_file._is_weight)
    assert list(found.arrays) == ["a/kernel"]


MEASURE = """
import resource, sys
from crnn_jax.errors import RunError
from crnn_jax.interop import keras_file
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        keras_file.read(path)
        sys.exit(f"{path} is read")
    except RunError as error:
        assert str(path) in str(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_small_files_that_claim_gigabytes_take_little_memory(tmp_path: Path) -> None:
    """62 kB whose configuration expands, 2 kB whose dataset was never written, and bombs."""
    if not CASES.is_dir():
        pytest.skip(f"the cases are not at {CASES}")
    for name in ("model.weights.h5", "config.json", "reader.json"):
        others = {"model.weights.h5": b"", "config.json": b"{}"} | {name: b"[" * 70_000_000}
        with zipfile.ZipFile(
            tmp_path / f"{name}.keras", "w", zipfile.ZIP_DEFLATED, compresslevel=1
        ) as file:
            for other, content in others.items():
                file.writestr(other, content)
    with h5py.File(tmp_path / "many.h5", "w") as file:
        for i in range(500):
            file.create_dataset(f"{i}/kernel", (10**6,), "f", fillvalue=1)
    paths = [*CASES.glob("*.keras"), *CASES.glob("*.h5"), *tmp_path.iterdir()]
    assert len(paths) == 6
    command: list[str | Path] = [sys.executable, "-c", MEASURE, *paths]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    assert int(done.stdout) < 100  # MB on top of the imports


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"config.json": b"{}"}, "does not contain model.weights.h5"),
        ({"model.weights.h5": b""}, "does not contain config.json"),
        ({"model.weights.h5": b"", "config.json": b"[" * 100_000}, "recursion|signature"),
        ({"model.weights.h5": b"", "config.json": b"9" * 5000}, "cannot be read as a Keras file"),
    ],
)
def test_an_archive_that_is_none_of_keras_is_refused(
    tmp_path: Path, entries: dict[str, bytes], message: str
) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as file:
        for name, content in entries.items():
            file.writestr(name, content)
    with pytest.raises(RunError, match=message):
        keras_file.read(tmp_path / "a.keras")


@pytest.mark.parametrize(
    "config",
    ["[" * 100_000, json.dumps({"config": {"layers": [{"class_name": "Rescaling", "config": {
        "scale": [1.0] * 9999, "offset": 0.0}}]}})],
)  # fmt: skip
def test_an_odd_configuration_is_one_short_sentence(tmp_path: Path, config: Any) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs.create("model_config", config, dtype=h5py.string_dtype())
        file["a/kernel"] = np.zeros(3, np.float32)
    with pytest.raises(RunError) as error:
        keras_file.read(tmp_path / "a.h5")
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)


def test_mutated_weights_are_read_or_refused(tmp_path: Path) -> None:
    figures = weights.weights(tmp_path, random.Random(0), 100 / 5000)
    assert figures["weight files"] == 100
    assert figures["refused"] > 40
