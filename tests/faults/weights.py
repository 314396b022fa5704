"""Mutated weight files of Keras and safetensors: a part of the long run, and of the suite."""

from __future__ import annotations

import io
import json
import random
import resource
import shutil
import zipfile
from pathlib import Path
from unittest import mock

import h5py
import numpy as np

from crnn_jax.errors import CrnnError
from crnn_jax.inference import exported
from crnn_jax.interop import keras_file
from tests.faults import strangers

_SHAPES = {
    "conv2d/conv2d/kernel:0": (3, 3, 1, 2), "conv2d/conv2d/bias:0": (2,),
    "dense/dense/kernel:0": (4, 3), "dense/dense/bias:0": (3,),
    **{
        f"lstm/lstm/{way}_lstm/cell/{name}:0": shape
        for way in ("forward", "backward")
        for name, shape in (("kernel", (3, 8)), ("recurrent_kernel", (2, 8)), ("bias", (8,)))
    },
    "out/out/kernel:0": (4, 5), "out/out/bias:0": (5,),
}  # fmt: skip
_KINDS = ("old.h5", "new.weights.h5", "whole.keras", "zipped.keras", "model.safetensors")


def weights(work: Path, moments: random.Random, scale: float) -> dict[str, int]:
    """Reads 5,000 mutated weight files: arrays of the written shapes, or a CrnnError."""
    rng = np.random.default_rng(moments.getrandbits(32))
    count, refused = round(5000 * scale), 0
    work.mkdir(parents=True, exist_ok=True)
    old, new = _hdf5(rng, False), _hdf5(rng, True)
    keras_file.read(_written(work / "sound.h5", old))
    keras_file.read(_written(work / "sound.keras", _zip(new, zipfile.ZIP_DEFLATED)))
    sound = [old, new, _zip(new), new, _safetensors(rng)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for i in range(count):
        kind = i % len(_KINDS)
        content = strangers.mutate(rng, sound[kind], sound[int(rng.integers(len(sound)))])
        if _KINDS[kind] == "zipped.keras":  # behind the checksums of the archive
            content = _zip(content)
        path = _written(work / _KINDS[kind], content)
        try:
            if kind < 4:
                found = keras_file.read(path).params
                assert set(found) >= {"Conv1", "dense1", "dense2", "bidirectional"}, i
            else:
                _read_safetensors(work)
        except CrnnError:
            refused += 1
        shutil.rmtree(work / "run", ignore_errors=True)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
    assert grown < 500, f"{grown} MB more memory"
    return {"weight files": count, "refused": refused, "memory grown by MB": grown}


def _read_safetensors(work: Path) -> None:
    """Reads the arrays, whatever the description says."""
    parsed = mock.Mock()
    with mock.patch.object(exported, "parse", return_value=parsed):
        (work / exported.FILE).write_text("{}")
        exported.read(work)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _hdf5(rng: np.random.Generator, is_new: bool) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest" if is_new else "earliest") as file:
        group = file if is_new else file.create_group("model_weights")
        group.attrs["layer_names"] = np.array(["conv2d", "dense", "lstm", "out"], "S")
        for name, shape in _SHAPES.items():
            array = rng.normal(size=shape).astype(np.float32)
            chunks = shape if is_new and len(shape) == 4 else None
            group.create_dataset(name, data=array, chunks=chunks)
        if not is_new:
            group.create_dataset("optimizer/kernel", data=np.zeros(3))
    return buffer.getvalue()


def _zip(content: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    layers = [("Conv2D", {}), ("MaxPooling2D", {}), ("Reshape", {}),
              ("Dense", {"activation": "relu"}),
              ("Bidirectional", {"layer": {"class_name": "LSTM", "config": {}}}),
              ("Dense", {"activation": "softmax"})]  # fmt: skip
    config = {"config": {"layers": [{"class_name": k, "config": c} for k, c in layers]}}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("config.json", json.dumps(config))
        file.writestr("model.weights.h5", content)
    return buffer.getvalue()


def _safetensors(rng: np.random.Generator) -> bytes:
    from safetensors import numpy as safetensors

    return safetensors.save({
        name.replace("/", ".").replace(":0", ""): rng.normal(size=shape).astype(np.float32)
        for name, shape in _SHAPES.items()
    })  # fmt: skip
