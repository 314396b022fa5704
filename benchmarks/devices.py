"""Milliseconds per training step: one jax device for both cores against one device per core.

python benchmarks/devices.py --cores 0,1
"""

from __future__ import annotations

import contest
from contest import Contender

ONE = "one device"
CONTENDERS = [
    Contender(ONE, "ours", variables={"JAX_NUM_CPU_DEVICES": "1"}),
    Contender("two devices", "ours", variables={"JAX_NUM_CPU_DEVICES": "2"}),
    Contender("one device, recipe", "ours", "recipe", variables={"JAX_NUM_CPU_DEVICES": "1"}),
    Contender("two devices, recipe", "ours", "recipe", variables={"JAX_NUM_CPU_DEVICES": "2"}),
]
STEPS = {8: 12, 16: 8, 64: 4}


def main() -> None:
    contest.by_batches(
        "train",
        CONTENDERS,
        ONE,
        contest.options_of_batches(__doc__, "devices.json", [16, 64, 256], rounds=7),
        title="ms per step, batch {}",
        calls=lambda batch: STEPS.get(batch, 2),
        untimed=lambda count: 1,
    )


if __name__ == "__main__":
    main()
