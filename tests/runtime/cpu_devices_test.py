import os
import subprocess
import sys
from typing import Any

import pytest

from crnn_jax.runtime import cpu_devices


@pytest.mark.parametrize(
    ("batch_size", "available", "expected"),
    [
        (16, 1, 1),
        (16, 2, 2),
        (24, 3, 3),
        (32, 3, 2),  # three does not divide it
        (16, 64, 2),  # eight images each
        (8, 2, 1),
        (15, 2, 1),
        (7, 8, 1),
        (256, 12, 8),
        (1, 4, 1),
    ],
)
def test_a_batch_is_split_evenly_and_not_too_small(
    batch_size: int, available: int, expected: int
) -> None:
    assert cpu_devices.parts(batch_size, available) == expected


def devices(batch_size: Any, **environment: Any) -> int:
    """Returns the number of jax devices in a new process that may use three cores."""
    code = (
        "from crnn_jax.runtime import cpu_devices as cores; cores.available = lambda: 3; "
        f"used = cores.use({batch_size}); import jax; print(used, jax.device_count())"
    )
    set_by_users = ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES", "CRNN_JAX_NATIVE")
    clean = {k: v for k, v in os.environ.items() if k not in set_by_users}
    clean["CXX"] = sys.executable  # any program: it is not run, and a machine may have no compiler
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**clean, **environment}
    )
    said, found = map(int, done.stdout.split())
    assert said == found
    return found


def test_jax_has_a_device_for_each_part_unless_the_user_says_otherwise() -> None:
    flag = "--xla_force_host_platform_device_count=4"
    assert devices(96) == 3  # 32 images each
    assert devices(95) == devices(60) == 1
    assert devices(24, CRNN_JAX_NATIVE="0") == 3  # eight images each
    assert devices(24, CXX="no-such-compiler") == 3
    assert devices(96, JAX_NUM_CPU_DEVICES="1") == 1
    assert devices(24, XLA_FLAGS=flag) == 4
    assert devices(24, XLA_FLAGS=flag, JAX_NUM_CPU_DEVICES="2") == 2
    assert devices(96, JAX_NUM_CPU_DEVICES="-1") == 1  # jax: not set
