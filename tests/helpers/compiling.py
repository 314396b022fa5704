"""Tests compile much and compute little: XLA told not to optimize. Import it before jax.

Half the time without optimization of the machine code, and half of that again without the fusion
emitters. Of the rest, a step of the small model took 1.9 s: 1.4 s where the program is not split
for parallel code generation, and 1.1 s where XLA does not verify each pass of its own. Processes
that a test starts inherit it.
"""

import importlib.metadata
import os

_FLAGS = "--xla_backend_optimization_level=0 --xla_disable_hlo_passes=hlo-verifier"
# An option that XLA does not know ends the process, and it may go with any release.
if importlib.metadata.version("jaxlib").startswith(("0.7.", "0.8.", "0.9.", "0.10.")):
    _FLAGS += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", _FLAGS)
