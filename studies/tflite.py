"""Converts the Keras export of a run to TensorFlow Lite, and compares the texts.

    python studies/tflite.py prepare RUN FOLDER
    ENVIRONMENT/bin/python studies/tflite.py convert FOLDER

The first command writes model.keras and images.npz, with the validation part of the run and the
texts of the package. The second one needs an environment with tensorflow (pip install tensorflow),
but not this package. It writes model.tflite, for one image at a time, and result.json. All
operators are built into TensorFlow Lite; the loops of the LSTM layers become its LSTM operator or
WHILE. Input: f32 [1, W, H, C], 0 to 255. Output: probabilities [1, T, K].
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np


def prepare(run: str, folder: Path) -> None:
    from crnn_jax import config as config_lib
    from crnn_jax import interop
    from crnn_jax.data import sources
    from crnn_jax.inference import recognizer

    reader = recognizer.load(run)
    data, split, *_ = sources.load(reader.config.data, config_lib.num_steps(reader.config))
    interop.export(run, "keras", folder)
    np.savez(
        folder / "images.npz",
        images=data.images[split.val],
        labels=[data.texts[i] for i in split.val],
        texts=[answer.reading for answer in reader.evaluate().evaluation.answers],
        alphabet=list(reader.charset.symbols),
    )


def convert(folder: Path) -> None:
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow
    from tensorflow.python.framework import convert_to_constants

    with np.load(folder / "images.npz") as stored:
        images, labels, texts, alphabet = (
            stored[name] for name in ("images", "labels", "texts", "alphabet")
        )
    model = keras.models.load_model(folder / "model.keras")
    for layer in model.layers:  # dropout has a state even where it is off, and it cannot be frozen
        for way in ("forward_layer", "backward_layer"):
            if lstm := getattr(layer, way, None):
                lstm.cell.dropout = 0
    shape = tensorflow.TensorSpec((1, *images.shape[1:]), tensorflow.float32)
    call = tensorflow.function(lambda image: model(image, training=False), input_signature=[shape])
    # Without variables: the converter leaves those that are read in a loop without their values.
    frozen = convert_to_constants.convert_variables_to_constants_v2(
        call.get_concrete_function(), lower_control_flow=False
    )
    converter = tensorflow.lite.TFLiteConverter.from_concrete_functions([frozen])
    (folder / "model.tflite").write_bytes(converter.convert())
    interpreter = tensorflow.lite.Interpreter(str(folder / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]
    found, seconds, worst = [], [], 0.0
    for image in images:
        pixels = image[None].astype(np.float32)
        start = time.perf_counter()
        interpreter.set_tensor(source, pixels)
        interpreter.invoke()
        output = interpreter.get_tensor(target)[0]
        seconds.append(time.perf_counter() - start)
        worst = max(worst, float(np.abs(output - np.asarray(call(pixels))[0]).max()))
        found.append(greedy(output, alphabet))
    result = {
        "tensorflow": tensorflow.__version__,
        "images": len(images),
        "exact": sum(a == b for a, b in zip(found, labels.tolist(), strict=True)),
        "exact_of_the_package": int((texts == labels).sum()),
        "as_the_package": sum(a == b for a, b in zip(found, texts.tolist(), strict=True)),
        "largest_difference_of_a_probability": worst,
        "bytes": (folder / "model.tflite").stat().st_size,
        "ms": round(1e3 * statistics.median(seconds), 3),
        "operators": dict(Counter(op["op_name"] for op in interpreter._get_ops_details())),
    }
    print(json.dumps(result, indent=1))
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")


def greedy(probabilities: np.ndarray, alphabet: np.ndarray) -> str:
    """Decodes [T, K]: the best class of each step, runs merged, blanks (the last class) dropped."""
    best = probabilities.argmax(-1)
    kept = best[np.diff(best, prepend=-1) != 0]
    return "".join(alphabet[k] for k in kept if k < len(alphabet))


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "prepare":
        prepare(sys.argv[2], Path(sys.argv[3]))
    elif len(sys.argv) == 3 and sys.argv[1] == "convert":
        convert(Path(sys.argv[2]))
    else:
        sys.exit("usage: tflite.py prepare RUN FOLDER, or tflite.py convert FOLDER")
