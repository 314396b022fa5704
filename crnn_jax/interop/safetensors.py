"""Exports a run to safetensors, as a folder in the format of model hubs, and imports such a folder.

model.safetensors   the parameters, f32, by name (Conv1.kernel), with reader.json in its metadata
config.json         the run's configuration, for readers of the folder
reader.json         the description, see `model_spec`
README.md           the model card
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax.inference import exported
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import imported_run
from crnn_jax.interop import model_spec as description_lib
from crnn_jax.models.crnn import by_name
from crnn_jax.runs import markup

FILE = exported.WEIGHTS


def export(reader: Recognizer, description: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the files of the export by name. Needs safetensors."""
    from safetensors import numpy as safetensors

    arrays = {
        name.replace("/", "."): np.asarray(array, np.float32)
        for name, array in by_name(reader.params).items()
    }
    metadata = {exported.FILE: description_lib.to_json(description)}
    config = json.dumps(description["config"], indent=2, ensure_ascii=False) + "\n"
    return {
        FILE: safetensors.save(arrays, metadata),
        "config.json": config.encode(),
        "README.md": card(description).encode(),
    }


def import_run(folder: str | os.PathLike[str], workdir: str | os.PathLike[str]) -> None:
    """Writes a run directory for evaluation, prediction and training with train.init_from.

    Args:
      folder: the folder of an export.
      workdir: a new directory.

    Raises:
      RunError: files are missing, damaged, or do not belong together.
    """
    parsed, params = exported.read(folder)
    imported_run.write(
        workdir,
        parsed.config,
        parsed.charset,
        parsed.normalization,
        params,
        parsed.fingerprint,
        os.fspath(folder),
        parsed.result,
        parsed.temperature,
        parsed.typical,
    )


def card(description: Mapping[str, Any]) -> str:
    """Returns the model card in Markdown: the model's input, accuracy and training data."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # of HTML; the template escapes untrusted text for Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markup.markdown
    return environment.get_template("card.md.jinja").render(description)
