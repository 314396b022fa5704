"""Part `lstm`: forward and backward pass of the two LSTM layers of the model, in milliseconds.

The scan of models/lstm.py as it is, with other numbers of steps per loop iteration, without its
fusion barriers, and with other precisions; and cuDNN through jax.experimental.rnn.
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
FIRST = record.pick((16, 256), (2,))  # compiled and timed before the other batches


def scans() -> dict[str, Any]:
    """Returns contexts by name, the most important first."""
    return {
        "scan": contextlib.nullcontext,  # with the unrolling of runtime/backend.py
        "scan, unroll 1": lambda: variants.recurrence(1),
        "scan, unroll 25": lambda: variants.recurrence(25),
        "scan, highest": lambda: variants.precision("highest"),
        "scan, bfloat16": lambda: variants.precision("BF16_BF16_F32"),
        "scan, unroll 10, no barriers": lambda: variants.recurrence(10, False),
        "scan, unroll 5": lambda: variants.recurrence(5),
        "scan, unroll 50": lambda: variants.recurrence(50),
    }


def main(how: str = "", waves: int | None = None) -> None:
    """Measures in waves: the programs of a wave are compiled in parallel, then timed.

    Args:
      how: added to the names of the figures.
      waves: how many, of all.
    """
    device = jax.devices()[0]
    found = record.Record("lstm", [f"{device.platform} {device.device_kind}"])
    ways = list(scans().items())
    others = tuple(batch for batch in BATCHES if batch not in FIRST)
    plan = [(ways[:1], FIRST), (ways[1:3], FIRST), (ways[:1], others), (ways[3:], FIRST[:1])]
    for some, batches in plan[:waves]:
        programs: dict[str, turns.Turn] = {}
        for name, context in some:
            for batch in batches:
                with context():
                    programs[f"batch {batch}, {name}"] = accelerator.lstm_layers(lstm.bilstm, batch)
        if some == ways[:1] and device.platform == "gpu":
            for batch in batches:
                name = f"batch {batch}, cuDNN in jax"
                try:
                    programs[name] = accelerator.lstm_layers(cudnn_lstm.bilstm, batch)
                except Exception as error:  # the operation is experimental
                    found.add("jax", name, turns.said(error))
        for name, program in turns.compile_all(programs).items():
            value: Any = turns.series({name: program}, record.pick(3, 1), record.pick(0.1, 0))[name]
            if not isinstance(value, str):
                value = record.times(value, 0, program.seconds)
            found.add("jax", name + how, value)


if __name__ == "__main__":
    main()
