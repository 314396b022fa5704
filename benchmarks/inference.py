"""Milliseconds for 1, 64 and 256 images: pixels in, logits out.

    python benchmarks/inference.py --cores 0

The same model and weights for all, images u8 in memory. Two rows more of the package do more:
'texts' gives texts and their confidences, and 'predict()' is the whole of the public function,
Pillow included. All have the allocator keep freed memory, as the package does by itself.
"""

from __future__ import annotations

import contest
from contest import Contender

OURS = "crnn-jax"
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # on by itself only on processors with AVX512-VNNI
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
CALLS = {1: 100, 64: 8}  # timed in a turn; 3 of any other batch


def main() -> None:
    contest.by_batches(
        "read",
        CONTENDERS,
        OURS,
        contest.options_of_batches(__doc__, "inference.json", [1, 64, 256], rounds=9),
        title="ms, {} pictures",
        calls=lambda batch: CALLS.get(batch, 3),
        untimed=lambda count: count // 4 + 1,
    )


if __name__ == "__main__":
    main()
