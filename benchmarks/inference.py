"""Milliseconds to read 1, 64 and 256 images: pixels in, logits out.

    python benchmarks/inference.py --cores 0

All contenders have the same model and weights, and the images are u8 arrays in memory. Two more
rows of the package do more: 'texts' returns texts and confidences, and 'predict()' is the whole
public function, including Pillow. The allocator of all contenders keeps freed memory, as the
package configures it by default.
"""

from __future__ import annotations

import contest
from contest import Contender

OURS = "crnn-jax"
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # by default only on CPUs with AVX512-VNNI
CONTENDERS = [
    Contender(OURS, "ours"),
    Contender("crnn-jax, texts", "ours", "texts"),
    Contender("crnn-jax, predict()", "ours", "predict"),
    Contender("onnxruntime", "ort"),
    Contender("onnxruntime", "ort", allocator="kept"),
    Contender("plain Flax", "flax_plain", allocator="kept"),
    Contender("PyTorch", "torch_", allocator="kept"),
    Contender("PyTorch, compile", "torch_", "compile", "kept"),
    Contender("Keras predict_on_batch", "keras_tf", "", "kept"),
    Contender("Keras predict_on_batch, oneDNN", "keras_tf", "", "kept", ONEDNN),
    Contender("tf.function", "keras_tf", "function", "kept"),
    Contender("tf.function, oneDNN", "keras_tf", "function", "kept", ONEDNN),
]
CALLS = {1: 100, 64: 8}  # timed calls per turn; 3 for other batch sizes


def main() -> None:
    contest.by_batches(
        "read",
        CONTENDERS,
        OURS,
        contest.options_of_batches(__doc__, "inference.json", [1, 64, 256], rounds=9),
        title="ms, {} images",
        calls=lambda batch: CALLS.get(batch, 3),
        untimed=lambda count: count // 4 + 1,
    )


if __name__ == "__main__":
    main()
