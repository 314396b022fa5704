"""Adds the reader of a run to the package, in 16 bits. For maintainers.

    python studies/ship_reader.py RUN NAME --card CARD.md

The run must be trained on generated images only. The card is copied to README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import numpy as safetensors

from crnn_jax import config as config_lib
from crnn_jax.inference import recognizer, shipped
from crnn_jax.models import crnn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("--card", type=Path, required=True)
    options = parser.parse_args()
    reader = recognizer.load(options.run)
    config = config_lib.to_dict(reader.config)
    config["data"]["style"] = "wide"  # the fingerprint identifies the faces
    arrays = {k: np.asarray(v, np.float16) for k, v in crnn.by_name(reader.params).items()}
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise SystemExit("some weights are out of range for float16")
    weights = safetensors.save(arrays)
    description = {
        "alphabet": reader.charset.alphabet,
        "mean": np.asarray(reader.model.mean).tolist(),
        "deviation": np.asarray(reader.model.std).tolist(),
        "each_picture": reader.model.per_image,
        "fingerprint": reader.fingerprint,
        "temperature": reader.temperature,
        "width_by_image": True,
        "typicality": list(reader.typical) if reader.typical else None,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "config": config,
    }
    folder = shipped.FOLDER / options.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / shipped.WEIGHTS).write_bytes(weights)
    (folder / shipped.DESCRIPTION).write_text(json.dumps(description, indent=1) + "\n")
    (folder / "README.md").write_text(options.card.read_text())
    print(f"{folder}: {len(weights)} bytes, sha256 {description['weights_sha256']}")


if __name__ == "__main__":
    main()
