"""Part `environment`: the device, its driver, versions, and the startup time of jax."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import time

import record

_QUERY = "name,driver_version,memory.total,clocks.max.sm,power.limit,compute_mode"
_PACKAGES = (
    *("jax-cuda13-plugin", "jax-cuda13-pjrt", "jax-cuda12-plugin", "nvidia-cudnn-cu13"),
    *("torch", "triton", "scipy", "msgspec", "ml-collections", "onnxruntime"),
)


def main() -> None:
    begun = time.perf_counter()
    import jax

    imported = time.perf_counter()
    devices = jax.devices()
    started = time.perf_counter()
    jax.block_until_ready(jax.jit(lambda x: x @ x)(jax.numpy.ones((256, 256))))
    multiplied = time.perf_counter()
    found = record.Record("environment", [f"{d.platform} {d.device_kind}" for d in devices])
    found.add("jax", "platform", devices[0].platform)
    found.add("jax", "device_kind", devices[0].device_kind)
    found.add("jax", "devices", len(devices))
    if devices[0].platform == "cpu" and not record.TINY:
        found.add("jax", "warning", "jax uses the CPU, not a GPU")
    found.add("jax", "import_s", imported - begun)
    found.add("jax", "backend_s", started - imported)
    found.add("jax", "first_matmul_s", multiplied - started)
    for name in _PACKAGES:
        try:
            found.add("versions", name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            found.add("versions", name, None)
    names = sorted(n for n in os.environ if n.startswith(("XLA", "JAX", "TF_", "CUDA", "NVIDIA")))
    for name in names:
        found.add("variables", name, os.environ[name])
    if program := shutil.which("nvidia-smi"):
        command = [program, f"--query-gpu={_QUERY}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        found.add("nvidia_smi", _QUERY, (done.stdout or done.stderr).strip())


if __name__ == "__main__":
    main()
