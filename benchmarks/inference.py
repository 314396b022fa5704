"""Milliseconds for 1, 64 and 256 pictures: pixels in, logits out.

    python benchmarks/inference.py --cores 0

The same model and weights for all, pictures u8 in memory. Two rows more of the package do more:
'texts' gives texts and their confidences, and 'predict()' is the whole of the public function,
Pillow included. All have the allocator keep freed memory, as the package does by itself.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import contest
import figures
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
    parser = contest.parser(__doc__, "inference.json")
    parser.add_argument("--batches", type=contest.numbers, default=[1, 64, 256])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="contenders whose name has this, and crnn-jax")
    options = parser.parse_args()
    options.load = os.getloadavg()
    chosen = [c for c in CONTENDERS if options.only in str(c) or str(c) == OURS]
    contest.pin(options.cores)
    import material  # after pinning: jax counts the cores when it is loaded

    results = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "pictures"
        material.draw(folder, max(512, *options.batches))
        for batch in options.batches:
            job = material.job("read", folder, Path(scratch), batch)
            count = CALLS.get(batch, 3)
            entries = [(contender, job) for contender in chosen]
            found = contest.hold(entries, options.cores, options.rounds, count // 4 + 1, count)
            series = {name: r.get("milliseconds", []) for name, r in found.items()}
            rows = figures.summary(series, OURS)
            print("\n" + figures.table(f"ms, {batch} pictures", rows, OURS), flush=True)
            results[batch] = {name: {**r, **rows.get(name, {})} for name, r in found.items()}
    figures.write(options.out, vars(options), results)


if __name__ == "__main__":
    main()
