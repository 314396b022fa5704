"""A whole program of each kind, up to its first result, to measure startup time.

    python start.py KIND train FOLDER       a folder of images, one step of 16
    python start.py KIND save FILE ARRAYS   save the given weights in the format of the kind
    python start.py KIND read FILE PICTURE  load that file and read one image

KIND is flax_plain, torch_, keras_tf or ort (whose file is the export of the package). Each program
prints a line when it has its result.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import worker
from PIL import Image

ALPHABET = "2345678bcdefgmnpwxy"
JOB = worker.Job("", 16, 0, 1, "", "", {})


def pixels(path: str | Path) -> np.ndarray:
    """u8 [W, H, 1]."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((200, 50))).T[..., None]


def folder_of(path: str) -> dict[str, np.ndarray]:
    files = sorted(Path(path).iterdir())
    return {
        "images": np.stack([pixels(file) for file in files]),
        "labels": np.array([[ALPHABET.index(c) for c in file.stem] for file in files], np.int32),
    }


def text_of(logits: np.ndarray) -> str:
    """Decodes [1, T, K] greedily."""
    row = logits[0].argmax(-1)
    kept = [k for i, k in enumerate(row) if i == 0 or k != row[i - 1]]
    return "".join(ALPHABET[k] for k in kept if k < len(ALPHABET))


def in_torch(what: str, path: str, other: str) -> Any:
    import torch
    import torch_

    model = torch_.CRNN(JOB, 50, len(ALPHABET) + 1)
    if what == "save":
        with np.load(other) as arrays:
            model.load(dict(arrays))
        return torch.save(model.state_dict(), path)
    if what == "read":
        model.load_state_dict(torch.load(path))
        model.eval().to(memory_format=torch.channels_last)
        with torch.inference_mode():
            return text_of(model(torch.from_numpy(pixels(other)[None])).numpy())
    arrays = {k: torch.from_numpy(v) for k, v in folder_of(path).items()}
    model.to(memory_format=torch.channels_last)
    images, labels = arrays["images"][:16], arrays["labels"][:16].long()
    return float(torch_.update(model, torch_.updates(model), images, labels))


def in_keras(what: str, path: str, other: str) -> Any:
    import keras
    import keras_tf

    if what == "read":
        return text_of(keras.models.load_model(path).predict_on_batch(pixels(other)[None]))
    model = keras_tf.build(JOB, (200, 50, 1), len(ALPHABET) + 1)
    if what == "save":
        with np.load(other) as arrays:
            keras_tf.load(model, dict(arrays))
        return model.save(path)
    arrays = folder_of(path)
    model.compile(keras_tf.sgd(), keras_tf.loss_of)
    return float(model.train_on_batch(arrays["images"][:16], arrays["labels"][:16]))


def in_flax(what: str, path: str, other: str) -> Any:
    import flax_plain
    import jax
    from flax import serialization

    model = flax_plain.CRNN(JOB, len(ALPHABET) + 1)
    key = jax.random.key(0)
    fresh = jax.jit(lambda: model.init(key, np.zeros((1, 200, 50, 1), np.uint8), False)["params"])
    if what == "save":
        with np.load(other) as arrays:
            params = flax_plain.load(dict(arrays))
        return Path(path).write_bytes(serialization.to_bytes(params))
    if what == "read":
        params = serialization.from_bytes(jax.eval_shape(fresh), Path(path).read_bytes())
        read = jax.jit(lambda params, images: model.apply({"params": params}, images, False))
        return text_of(np.asarray(read(params, pixels(other)[None])))
    arrays = folder_of(path)
    params = fresh()
    step, optimizer = flax_plain.step_of(model)
    state = (params, optimizer.init(params), key)
    _, loss = step(state, arrays["images"], arrays["labels"], np.arange(16))
    return float(loss)


def in_ort(what: str, path: str, other: str) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return text_of(session.run(["logits"], {"images": pixels(other)[None]})[0])


KINDS: dict[str, Callable[..., Any]] = {
    "torch_": in_torch,
    "keras_tf": in_keras,
    "flax_plain": in_flax,
    "ort": in_ort,
}

if __name__ == "__main__":
    print("result", KINDS[sys.argv[1]](*sys.argv[2:4], (sys.argv[4:] or [""])[0]), flush=True)
