"""Milliseconds per training step: forward, CTC, backward, clipped SGD with Nesterov momentum.

    python benchmarks/train_step.py --cores 0
    python benchmarks/train_step.py --cores 0,1 --batches 16

All contenders have the same model, weights, dropout rates and images, without augmentation;
'recipe' is the package with the augmentation of experiments/base.py. With 'kept', the allocator of
glibc keeps freed memory, which the package configures itself; 'huge' also uses huge pages.
TensorFlow keeps its memory by default, 2 GB at a batch size of 256, where all contenders together
need 16 GB.
"""

from __future__ import annotations

import contest
from contest import Contender

OURS = "crnn-jax"
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}  # by default only on CPUs with AVX512-VNNI
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
STEPS = {16: 8, 64: 4}  # timed calls per turn; 2 for other batch sizes


def main() -> None:
    contest.by_batches(
        "train",
        CONTENDERS,
        OURS,
        contest.options_of_batches(__doc__, "train_step.json", [16, 64, 256], rounds=7),
        title="ms per step, batch {}",
        calls=lambda batch: STEPS.get(batch, 2),
        untimed=lambda count: 1,
    )


if __name__ == "__main__":
    main()
