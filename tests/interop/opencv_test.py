"""The ONNX file in OpenCV's module dnn, which knows fewer forms of the operators."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import jax.numpy as jnp
import numpy as np
import onnx

import crnn_jax
from crnn_jax import interop
from crnn_jax.config import Config
from crnn_jax.data import image_io
from crnn_jax.data.normalization import Normalization
from crnn_jax.models import crnn
from tests.helpers import random_run
from tests.helpers.fixtures import MakeConfig

MOMENTS = Normalization((10.0, 20.0, 30.0), (255.0, 200.0, 90.0), True)  # each image by its own


def _odd_color(tiny_config: MakeConfig) -> Config:
    config = tiny_config({"model.lstm_units": (16, 8)})
    data = dataclasses.replace(config.data, channels=3, width=41, height=19)
    return dataclasses.replace(config, data=data)


def test_all_attributes_that_opencv_requires_are_written(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    random_run.write(tmp_path / "run", _odd_color(tiny_config), MOMENTS)
    graph = onnx.load(interop.export(tmp_path / "run", "onnx", tmp_path / "onnx")).graph
    found = [(node.op_type, {a.name: list(a.ints) for a in node.attribute}) for node in graph.node]
    # 3x3 kernels and 2x2 windows, as in the reference model.
    assert [a["kernel_shape"] for kind, a in found if kind == "Conv"] == [[3, 3], [3, 3]]
    assert [a["kernel_shape"] for kind, a in found if kind == "MaxPool"] == [[2, 2], [2, 2]]
    # OpenCV 4.14 computes another mean over three axes of [B, W, H, C].
    assert [a["axes"] for kind, a in found if kind == "ReduceMean"] == [[1, 2], [1, 2], [3]]


def test_opencv_reads_the_texts_of_the_package(
    trained: Path, captchas: Path, tmp_path: Path
) -> None:
    net = cv2.dnn.readNetFromONNX(str(interop.export(trained, "onnx", tmp_path)))
    reader = crnn_jax.load(trained)
    files = sorted(captchas.iterdir())[:12]
    found = []
    for file in files:
        pixels = image_io.to_array(image_io.open_image(file), reader.config.data)
        net.setInput(pixels[None])  # u8 [1, W, H, C]
        found += reader.decode_batch_predictions(net.forward())
    assert found == [reading.text for reading in reader.predict(files)]


def test_opencv_computes_the_logits_of_color_images(
    tmp_path: Path, tiny_config: MakeConfig
) -> None:
    reader = random_run.write(tmp_path / "run", _odd_color(tiny_config), MOMENTS)
    net = cv2.dnn.readNetFromONNX(str(interop.export(tmp_path / "run", "onnx", tmp_path / "x")))
    images = np.random.default_rng(1).integers(0, 256, (3, 41, 19, 3)).astype(np.uint8)
    expected = np.asarray(crnn.apply(reader.model, reader.params, jnp.asarray(images)))
    for image, logits in zip(images, expected, strict=True):
        net.setInput(image[None])
        # float32 sums in other orders; the logits are of order 1.
        np.testing.assert_allclose(net.forward()[0], logits, atol=1e-4)
