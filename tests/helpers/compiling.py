"""Tests compile much and compute little: XLA told not to optimise. Import it before jax.

Half the time without optimisation of the machine code, and half of that again without the fusion
emitters. Processes that a test starts inherit it.
"""

import importlib.metadata
import os

_FLAGS = "--xla_backend_optimization_level=0"
# An option that XLA does not know ends the process, and it may go with any release.
if importlib.metadata.version("jaxlib").startswith(("0.7.", "0.8.", "0.9.", "0.10.")):
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FLAGS)
