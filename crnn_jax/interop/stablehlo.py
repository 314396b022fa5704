"""Out as StableHLO: pixels to logits as one function, for any program that has jax, or XLA.

    import jax, pathlib
    read = jax.export.deserialize(bytearray(pathlib.Path("model.stablehlo").read_bytes())).call
    logits = read(pixels)  # u8 [B, W, H, C] to f32 [B, T, K], any B

No code of this package is needed. Versions of jax up to six months newer than the one that wrote
a file read it (jax.export's compatibility guarantees); the run directory can be exported again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.models import crnn

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(reader: Recognizer, _: Mapping[str, Any]) -> dict[str, bytes]:
    """The files of the export by name; needs flatbuffers."""
    import flatbuffers  # noqa: F401  (jax does not say what it lacks)

    data = reader.config.data
    (batch,) = jax_export.symbolic_shape("batch")
    pixels = jax.ShapeDtypeStruct((batch, data.width, data.height, data.channels), jnp.uint8)
    read = jax.jit(lambda images: crnn.apply(reader.model, reader.params, images))
    return {FILE: bytes(jax_export.export(read, platforms=PLATFORMS)(pixels).serialize())}
