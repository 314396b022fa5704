import platform
import subprocess
import sys
from typing import Any

import pytest

# A loop that allocates 64 MiB (16,384 pages), touches and frees them. With the settings the
# pages stay in the process, so that later rounds have almost no page faults.
LOOP = """
import resource, sys
import numpy as np
from crnn_jax.runtime import allocator
assert {keep} is False or allocator.keep_memory()
faults = []
for _ in range(4):
    np.ones(1 << 23)
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[0])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="settings of glibc")
def test_freed_memory_stays_in_the_process() -> None:
    def faults(keep: Any) -> int:
        code = LOOP.format(keep=keep)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        return int(done.stdout)

    # Three rounds; huge pages may lower the first number by a factor of a hundred.
    assert faults(keep=True) < 50 < 3 * 16_384 / 512 <= faults(keep=False)
