"""What `runtime.configure` sets up that no other test of this folder sees."""

import os
import subprocess
import sys

import pytest

# 20,000 lists that live on: Python searches for cycles every 700 to 2,000 of them.
CODE = """
import gc
from crnn_jax import runtime
gc.set_threshold({threshold}, 10, 10)
if {configured}:
    runtime.configure()
before = gc.get_stats()[0]["collections"]
kept = [[] for _ in range(20_000)]
print(gc.get_stats()[0]["collections"] - before, gc.get_threshold()[0])
"""


@pytest.mark.parametrize(
    ("configured", "threshold", "expected"),
    [(True, 700, "0 50000"), (True, 10**6, "0 1000000"), (True, 0, "0 0"), (False, 700, None)],
)
def test_lists_that_live_on_are_not_searched_for_garbage(
    configured: bool, threshold: int, expected: str | None
) -> None:
    code = CODE.format(configured=configured, threshold=threshold)
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    if expected:
        assert done.stdout.strip() == expected
    else:  # 20,000 / 700 is 28
        assert 25 <= int(done.stdout.split()[0]) <= 30


@pytest.mark.parametrize(
    ("platforms", "is_started"), [("", True), ("cpu", True), ("cuda,cpu", True), ("cuda", False)]
)
def test_the_compiler_starts_only_if_jax_may_use_the_cpu(platforms: str, is_started: bool) -> None:
    code = (
        "from crnn_jax import runtime; from crnn_jax.runtime import native\n"
        "native.start = lambda: calls.append(1)\n"
        "calls = []; runtime.configure(computes=True); print(calls == [1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": platforms},
    )
    assert done.stdout.strip() == str(is_started)
