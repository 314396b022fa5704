"""The input of all contenders: images, labels and initial weights."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crnn_jax import config as config_lib
from crnn_jax.inference import recognizer
from crnn_jax.interop import model_spec
from crnn_jax.models import crnn
from crnn_jax.models.greedy import CAPTCHA_V2
from crnn_jax.training import context, state

_ROOT = Path(__file__).resolve().parents[1]
BASE = _ROOT / "experiments" / "sgd.py"
sys.path.append(os.fspath(_ROOT))  # which a config imports others from


def draw(folder: Path, count: int) -> None:
    """Draws `count` images of 200x50 with distinct texts of five of 19 symbols.

    They serve to measure time, which depends on sizes and not on the texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    font = ImageFont.load_default(size=34)
    codes = rng.choice(len(CAPTCHA_V2) ** 5, count, replace=False)
    for code in codes:
        text = "".join(CAPTCHA_V2[code // 19**k % 19] for k in range(5))
        image = Image.new("L", (200, 50), int(rng.integers(180, 250)))
        pen = ImageDraw.Draw(image)
        for k, character in enumerate(text):
            place = (12 + 36 * k + int(rng.integers(6)), int(rng.integers(8)))
            pen.text(place, character, fill=int(rng.integers(80)), font=font)
        image.save(folder / f"{text}.png")


def config(folder: str | os.PathLike[str], scale: float = 1, **changes: Any) -> config_lib.Config:
    """The base recipe on a folder, with scaled widths, and pixels / 255 to need no statistics."""
    values = runpy.run_path(os.fspath(BASE))["get_config"]().to_dict()
    model = values["model"]
    return config_lib.from_dict(
        config_lib.with_changes(
            values,
            {
                "data.dir": os.fspath(folder),
                "data.alphabet": CAPTCHA_V2,
                "data.normalize": "",
                "model.conv_features": tuple(int(scale * f) for f in model["conv_features"]),
                "model.dense_features": int(scale * model["dense_features"]),
                "model.lstm_units": tuple(int(scale * u) for u in model["lstm_units"]),
                **{key.replace("__", "."): value for key, value in changes.items()},
            },
        )
    )


def job(work: str, folder: Path, scratch: Path, batch: int, scale: float = 1) -> Mapping[str, Any]:
    """Returns the job of a contender, see contenders/worker.py, and writes the files it needs."""
    asked = config(folder, scale)
    prepared = context.prepare(asked)
    params = jax.device_get(state.init_state(prepared).params)
    arrays = scratch / f"arrays-{scale}.npz"
    np.savez(
        arrays,
        images=prepared.data.images,
        labels=np.asarray(prepared.labels),
        **crnn.by_name(params),
    )
    onnx = scratch / f"model-{scale}.onnx"
    if work == "read":
        from crnn_jax.interop import onnx as onnx_lib

        reader = recognizer.Recognizer(
            asked, prepared.charset, prepared.model, params, 0, prepared.data.fingerprint, 1.0
        )
        files = onnx_lib.export(reader, model_spec.describe(reader))
        onnx.write_bytes(files[onnx_lib.FILE])
    return {
        "work": work,
        "batch": batch,
        "scale": scale,
        "arrays": os.fspath(arrays),
        "config": config_lib.to_dict(asked),
        "onnx": os.fspath(onnx),
    }
