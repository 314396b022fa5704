"""Exports a run to StableHLO: one function from pixels to logits, for programs with jax or XLA.

    import jax, pathlib
    read = jax.export.deserialize(bytearray(pathlib.Path("model.stablehlo").read_bytes())).call
    logits = read(pixels)  # u8 [B, W, H, C] to f32 [B, T, K], any B

The exported function does not need this package. Versions of jax that are up to six months newer
than the one that wrote a file can read it (the compatibility guarantee of jax.export); for later
versions, export the run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import export as jax_export

from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import FORMATS
from crnn_jax.models import crnn

FILE = FORMATS["stablehlo"]
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(reader: Recognizer, _: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the files of the export by name. Needs flatbuffers."""
    import flatbuffers  # noqa: F401  (the error of jax does not say that it is missing)

    data = reader.config.data
    (batch,) = jax_export.symbolic_shape("batch")
    shape = (batch, data.width, data.height, data.channels)
    pixels = jax.ShapeDtypeStruct(shape, jnp.uint8)
    read = jax.jit(lambda images: crnn.apply(reader.model, reader.params, images))
    return {FILE: bytes(jax_export.export(read, platforms=PLATFORMS)(pixels).serialize())}
