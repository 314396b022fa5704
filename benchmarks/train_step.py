"""Milliseconds a training step: forward, CTC, backward, clipped SGD with Nesterov momentum.

    python benchmarks/train_step.py --cores 0
    python benchmarks/train_step.py --cores 0,1 --batches 16

The same model, weights, dropout rates and pictures for all, no augmentation; 'recipe' is the
package with the augmentation of experiments/base.py besides. 'kept' is glibc's allocator told to
keep freed memory, which the package tells it itself; 'huge' is that in huge pages. TensorFlow
keeps its memory by itself, 2 GB at batch 256: all contenders together want 16 GB there.
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
    Contender(OURS, "ours", allocator="huge"),
    Contender("crnn-jax, recipe", "ours", "recipe"),
    *(
        Contender(name, module, variant, allocator, variables)
        for name, module, variant, variables, allocators in [
            ("plain Flax", "flax_plain", "", {}, ("", "kept", "huge")),
            ("Keras train_on_batch", "keras_tf", "", {}, ("",)),
            ("Keras train_on_batch, oneDNN", "keras_tf", "", ONEDNN, ("", "kept", "huge")),
            ("Keras train_on_batch, XLA", "keras_tf", "xla", {}, ("kept",)),
            ("Keras fit, oneDNN", "keras_tf", "fit", ONEDNN, ("",)),
            ("PyTorch", "torch_", "", {}, ("", "kept", "huge")),
            ("PyTorch, compile", "torch_", "compile", {}, ("", "kept")),
        ]
        for allocator in allocators
    ),
]
STEPS = {16: 8, 64: 4}  # timed in a turn; 2 of any other batch


def main() -> None:
    parser = contest.parser(__doc__, "train_step.json")
    parser.add_argument("--batches", type=contest.numbers, default=[16, 64, 256])
    parser.add_argument("--rounds", type=int, default=7)
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
            job = material.job("train", folder, Path(scratch), batch)
            count = STEPS.get(batch, 2)
            entries = [(contender, job) for contender in chosen]
            found = contest.hold(entries, options.cores, options.rounds, 1, count)
            series = {name: r.get("milliseconds", []) for name, r in found.items()}
            rows = figures.summary(series, OURS)
            print("\n" + figures.table(f"ms a step, batch {batch}", rows, OURS), flush=True)
            results[batch] = {name: {**r, **rows.get(name, {})} for name, r in found.items()}
    figures.write(options.out, vars(options), results)


if __name__ == "__main__":
    main()
