"""Configures XLA to compile quickly, because tests compile a lot and compute little.

Import it before jax. Without optimization of the machine code, compiling takes half the time, and
without the fusion emitters half of that. A step of the small model then took 1.9 s: 1.4 s without
splitting for parallel code generation, and 1.1 s if XLA does not verify each of its passes.
Processes that a test starts inherit the options.
"""

import importlib.metadata
import os

_FLAGS = "--xla_backend_optimization_level=0 --xla_disable_hlo_passes=hlo-verifier"
# An option that XLA does not know aborts the process, and any release may remove options.
if importlib.metadata.version("jaxlib").startswith(("0.7.", "0.8.", "0.9.", "0.10.")):
    _FLAGS += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", _FLAGS)
