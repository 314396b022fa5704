"""The processor, as machine code depends on it."""

from __future__ import annotations

import contextlib
import platform
import re
from pathlib import Path


def describe() -> list[str]:
    """Returns the model and the instruction sets of the processor, where the system tells them."""
    found = [platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
        found += re.findall(r"(?m)^(?:model name|flags|Features)\s*:.*$", text)
    return found
