"""The readers that the studies of exports compare."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import crnn_jax
from crnn_jax import interop
from crnn_jax.data import image_io
from studies import int8_onnx, tflite


def test_probabilities_are_decoded_greedily() -> None:
    # Classes a, b and the blank: a a - a b b - b reads a a b b; the last two steps are a repeat.
    steps = np.eye(3)[[0, 0, 2, 0, 1, 1, 2, 1, 1]]
    assert tflite.greedy(steps, np.array(["a", "b"])) == "aabb"
    assert tflite.greedy(np.eye(3)[[2, 2]], np.array(["a", "b"])) == ""


def test_rows_count_equal_texts() -> None:
    row = int8_onnx._row("x", ["a", "b", "c"], expected=["a", "b", "c"], truths=["a", "e", "c"])
    assert row == {"reader": "x", "exact": 2, "as_the_package": 3}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_of_8_bits_read_most_of_the_texts(
    trained: Path, captchas: Path, tmp_path: Path
) -> None:
    reader = crnn_jax.load(trained)
    files = sorted(captchas.iterdir())
    images = [image_io.to_array(image_io.open_image(f), reader.config.data) for f in files]
    expected = [reading.text for reading in reader.predict(files)]
    try:
        found = int8_onnx._readers(interop.export(trained, "onnx", tmp_path))
    except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented:
        pytest.skip("this version of onnxruntime has no convolution of 8 bits")
    sizes, same = {}, {}
    for name, (path, read) in found.items():
        logits = np.concatenate([read(image[None]) for image in images])
        texts = reader.decode_batch_predictions(logits)
        sizes[name] = path.stat().st_size
        same[name] = sum(a == b for a, b in zip(texts, expected, strict=True))
    assert same["onnxruntime, float"] == len(files)
    # Rounding to 8 bits changes logits by about a percent, which matters for close calls alone.
    assert same["onnxruntime, int8, all"] >= 0.8 * len(files)
    assert sizes["onnxruntime, int8, all"] < sizes["onnxruntime, float"]
