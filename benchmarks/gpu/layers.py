"""Part `lstm`: forward and backward pass of the two LSTM layers of the model, in milliseconds.

The scan of models/lstm.py by default, with several steps per loop iteration, without its fusion
barriers, and with other precisions; and cuDNN through jax.experimental.rnn.
"""

from __future__ import annotations

import contextlib
from typing import Any

import accelerator
import cudnn_lstm
import jax
import record
import turns
import variants

from crnn_jax.models import lstm

BATCHES = record.pick((16, 64, 256, 1024), (2,))
SMALL = BATCHES[0]


def scans() -> dict[str, Any]:
    """Returns contexts by name, the most important first."""
    return {
        "scan": contextlib.nullcontext,
        "scan, no barriers": lambda: variants.recurrence(1, False),
        "scan, unroll 10": lambda: variants.recurrence(10, True),
        "scan, unroll 10, no barriers": lambda: variants.recurrence(10, False),
        "scan, highest": lambda: variants.precision("highest"),
        "scan, bfloat16": lambda: variants.precision("BF16_BF16_F32"),
        "scan, unroll 5": lambda: variants.recurrence(5, True),
        "scan, unroll 50": lambda: variants.recurrence(50, True),
    }


def main() -> None:
    device = jax.devices()[0]
    found = record.Record("lstm", [f"{device.platform} {device.device_kind}"])
    ways = list(scans().items())
    for some in record.pick((ways[:4], ways[4:6], ways[6:]), (ways[:1], ways[4:6])):
        programs: dict[str, turns.Turn] = {}
        for name, context in some:
            # The fully unrolled loop takes long to compile.
            batches = BATCHES if name != "scan, unroll 50" else BATCHES[:1]
            for batch in batches:
                with context():
                    bilstm = lstm.bilstm
                    programs[f"batch {batch}, {name}"] = accelerator.lstm_layers(bilstm, batch)
        if "scan" in dict(some):
            for batch in BATCHES if device.platform == "gpu" else ():
                name = f"batch {batch}, cuDNN in jax"
                try:
                    programs[name] = accelerator.lstm_layers(cudnn_lstm.bilstm, batch)
                except Exception as error:  # the operation is experimental
                    found.add("jax", name, turns.said(error))
        for name, program in turns.compile_all(programs).items():
            value: Any = turns.series({name: program}, record.pick(3, 1), record.pick(0.1, 0))[name]
            if not isinstance(value, str):
                value = record.times(value, 0, program.seconds)
            found.add("jax", name, value)


if __name__ == "__main__":
    main()
