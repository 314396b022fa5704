"""The reader of a finished run in one file, which loads in milliseconds.

`reader.safetensors` has the best parameters by name, as in `crnn.by_name`, and in its header the
metadata of their checkpoint. It is used only if its parameters are those that `result.json` names.
Otherwise, and for other epochs, the checkpoint is read, which needs Orbax.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from crnn_jax.config import Config
from crnn_jax.errors import DamageError
from crnn_jax.models import crnn
from crnn_jax.runs import record_types
from crnn_jax.runs.run_dir import RunDir
from crnn_jax.runtime import files
from crnn_jax.schema import InvalidError, document

FILE = "reader.safetensors"


def write(run: RunDir, params: Any, meta: Mapping[str, Any], config: Config) -> None:
    """Writes the file. RunError: it cannot be written.

    Args:
      run: the run directory.
      params: the parameters of the best epoch.
      meta: the metadata of its checkpoint.
      config: the config of the run.
    """
    from safetensors import numpy as safetensors

    arrays = {name: np.asarray(array) for name, array in crnn.by_name(params).items()}
    text = json.dumps(meta)
    header = {"meta": text, "digest": _digest(crnn.params_sha256(params), text, config)}
    run.write_bytes(FILE, safetensors.save(arrays, header))


def read(run: RunDir, params_sha256: str, config: Config) -> tuple[dict[str, Any], Any] | None:
    """Returns the metadata and the parameters, as numpy arrays.

    Returns None if there is no file, it is damaged, or it has other parameters than those with this
    digest or a model of another config.
    """
    from safetensors import SafetensorError
    from safetensors import numpy as safetensors

    try:
        content = files.read(run.workdir / FILE)
        size = int.from_bytes(content[:8], "little")
        header = document(content[8 : 8 + size])["__metadata__"]
        params = crnn.of_names(safetensors.load(content))
        if crnn.params_sha256(params) != params_sha256:
            return None
        if header["digest"] != _digest(params_sha256, header["meta"], config):
            return None
        meta: dict[str, Any] = document(header["meta"].encode())
        record_types.check_meta(meta)
    except (OSError, SafetensorError, InvalidError, DamageError, KeyError, TypeError, ValueError):
        return None
    return meta, params


def _digest(params_sha256: str, meta: str, config: Config) -> str:
    """Returns the digest of the file. Other layers or input sizes do not fit the parameters."""
    data = config.data
    fits = repr((config.model, data.width, data.height, data.channels))
    return hashlib.sha256("\n".join([params_sha256, fits, meta]).encode()).hexdigest()
