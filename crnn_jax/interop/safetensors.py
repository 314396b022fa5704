"""Exports a run to safetensors, as a folder in the format of model hubs, and imports such a folder.

model.safetensors   the parameters, f32, by name (Conv1.kernel), with reader.json in its metadata
config.json         the run's configuration, for readers of the folder
reader.json         the description, see `model_spec`
README.md           the model card
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.config import ModelConfig
from crnn_jax.config.data_keys import auto_widths
from crnn_jax.inference import exported
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import FORMATS, imported_run, model_spec
from crnn_jax.models.crnn import by_name
from crnn_jax.runs import markup

FILE = FORMATS["safetensors"]
CARD = "README.md"


def export(reader: Recognizer, description: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the files of the export by name. Needs safetensors."""
    from safetensors import numpy as safetensors

    arrays = {
        name.replace("/", "."): np.asarray(array, np.float32)
        for name, array in by_name(reader.params).items()
    }
    metadata = {exported.FILE: model_spec.to_json(description)}
    config = json.dumps(description["config"], indent=2, ensure_ascii=False) + "\n"
    return {
        FILE: safetensors.save(arrays, metadata),
        "config.json": config.encode(),
        CARD: card(description).encode(),
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
    imported_run.write_exported(workdir, parsed, params, os.fspath(folder))


def card(description: Mapping[str, Any], address: str = "") -> str:
    """Returns the model card in Markdown: the model's input, accuracy and training data.

    Args:
      description: see `model_spec.describe`.
      address: the address of the model on a hub; empty if it is a folder.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # of HTML; the template escapes untrusted text for Markdown
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["markdown"] = markup.markdown
    config = config_lib.from_dict(description["config"])
    sizes = [config]
    if description["width_by_image"]:
        sizes = [config_lib.with_width(config, w) for w in auto_widths(config.data.height)]
    return environment.get_template("card.md.jinja").render(
        description,
        address=address,
        architecture=_architecture(config.model, bool(description["other_cases"])),
        widths=_enumeration((size.data.width for size in sizes), "or"),
        steps=_enumeration(map(config_lib.num_steps, sizes), "or"),
    )


def _architecture(model: ModelConfig, has_other_cases: bool) -> str:
    """Describes the layers in one sentence."""
    is_reference = model_spec.are_reference_layers(model) and not has_other_cases
    if is_reference and len(model.conv_features) == len(model.lstm_units) == 2:
        return "The architecture is `ocr_model_v1` of Keras' captcha_ocr example."
    norm = ", layer norm" if model.norm else ""
    pools = ", ".join(f"{width}x{height}" for width, height in model.pools)
    return (
        f"Its layers are 3x3 convolutions with {_enumeration(model.conv_features)} features{norm} "
        f"and max-pooling of {pools} (width x height); a dense layer of {model.dense_features} "
        f"units; bidirectional {model.cell.upper()} layers of {_enumeration(model.lstm_units)} "
        "units per direction; and a dense output layer."
    )


def _enumeration(numbers: Iterable[int], word: str = "and") -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} {word} {last}" if first else last
