"""Reads a data set with the ONNX file of a run, in float and with weights of 8 bits.

    python studies/int8_onnx.py RUN OUT.json

RUN is a finished run; its validation part is read. onnxruntime quantizes the file dynamically: the
weights become int8, and activations are quantized while the model runs, so that no images are
needed to calibrate it. Convolutions stay in float in the variant 'LSTM and MatMul', because their
integer version is slower on most processors. The table has exact match, texts that are those of
the package, bytes of the file, and milliseconds per image, one image at a time on one thread. With
the package opencv-python-headless, OpenCV's module dnn reads the float file, too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax import interop
from crnn_jax.data import sources
from crnn_jax.inference import recognizer

VARIANTS: dict[str, list[str] | None] = {"all": None, "LSTM and MatMul": ["LSTM", "MatMul"]}
Read = Callable[[np.ndarray], np.ndarray]  # u8 [1, W, H, C] to logits [1, T, K]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("record", type=Path)
    options = parser.parse_args()
    reader = recognizer.load(options.run)
    data, split, *_ = sources.load(reader.config.data, config_lib.num_steps(reader.config))
    images = data.images[split.val]
    truths = [data.texts[i] for i in split.val]
    expected = [answer.reading for answer in reader.evaluate().evaluation.answers]
    rows = [_row("the package", expected, expected, truths)]
    with tempfile.TemporaryDirectory() as temporary:
        for name, (path, read) in _readers(interop.export(options.run, "onnx", temporary)).items():
            logits, seconds = zip(*(_timed(read, image[None]) for image in images), strict=True)
            texts = reader.decode_batch_predictions(np.concatenate(logits))
            row = _row(name, texts, expected, truths)
            size = {"bytes": path.stat().st_size}
            rows.append(row | size | {"ms": round(1e3 * statistics.median(seconds), 3)})
    for row in rows:
        print(row)
    options.record.write_text(json.dumps({"images": len(truths), "rows": rows}, indent=1) + "\n")


def _row(name: str, texts: list[str], expected: list[str], truths: list[str]) -> dict[str, Any]:
    pairs = zip(texts, expected, truths, strict=True)
    same, exact = (
        sum(flags) for flags in zip(*((t == e, t == r) for t, e, r in pairs), strict=True)
    )
    return {"reader": name, "exact": exact, "as_the_package": same}


def _readers(path: Path) -> dict[str, tuple[Path, Read]]:
    from onnxruntime import quantization

    files = {"float": path}
    for name, kinds in VARIANTS.items():
        files[f"int8, {name}"] = out = path.with_name(f"{name}.onnx")
        quantization.quantize_dynamic(
            path, out, weight_type=quantization.QuantType.QInt8, op_types_to_quantize=kinds
        )
    found = {f"onnxruntime, {name}": (file, _onnxruntime(file)) for name, file in files.items()}
    try:
        found["OpenCV, float"] = path, _opencv(path)
    except ImportError:
        print("opencv-python-headless is not installed: left out")
    return found


def _onnxruntime(path: Path) -> Read:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: np.asarray(session.run(None, {"images": pixels})[0])


def _opencv(path: Path) -> Read:
    import cv2

    cv2.setNumThreads(1)
    net = cv2.dnn.readNetFromONNX(str(path))

    def read(pixels: np.ndarray) -> np.ndarray:
        net.setInput(pixels)
        return np.array(net.forward())

    return read


def _timed(read: Read, pixels: np.ndarray) -> tuple[np.ndarray, float]:
    start = time.perf_counter()
    logits = read(pixels)
    return logits, time.perf_counter() - start


if __name__ == "__main__":
    main()
