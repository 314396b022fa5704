"""Parts `step` and `lstm` again, with XLA's loops as CUDA graphs.

By default XLA's GPU backend launches the kernels of a loop one by one, and the loop over time of
the LSTM consists of small ones.
"""

from __future__ import annotations

import os
import sys

FLAG = "--xla_gpu_enable_command_buffer=+WHILE"
HOW = ", loops as CUDA graphs"


def main(part: str) -> None:
    # Before jax is imported.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAG}".strip()
    if part == "lstm":
        import layers

        layers.main(HOW, 2)
    else:
        import steps

        steps.main(HOW, 2)


if __name__ == "__main__":
    main(*sys.argv[1:])
