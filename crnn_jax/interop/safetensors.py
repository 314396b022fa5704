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
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
from msgspec import Meta

from crnn_jax import schema
from crnn_jax.errors import RunError, brief, quote
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.interop import imported_run
from crnn_jax.interop import model_spec as description_lib
from crnn_jax.models.crnn import by_name
from crnn_jax.runs import markup
from crnn_jax.runtime import files

FILE = "model.safetensors"
_MOST_JSON = 2**22  # bytes of the header, and of the description
_MOST_DEPTH = 8  # of nested layers; the models of this package have three


def export(reader: Recognizer, description: Mapping[str, Any]) -> dict[str, bytes]:
    """Returns the files of the export by name. Needs safetensors."""
    from safetensors import numpy as safetensors

    arrays = {
        name.replace("/", "."): np.asarray(array, np.float32)
        for name, array in by_name(reader.params).items()
    }
    metadata = {description_lib.FILE: description_lib.to_json(description)}
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
    from safetensors import numpy as safetensors

    folder = Path(folder)
    try:
        description = files.read(folder / description_lib.FILE, schema.MAX_DOCUMENT)
        content = files.read(folder / FILE)
        _check_header(content)
        arrays = safetensors.load(content)
    except (
        Exception
    ) as error:  # safetensors raises many kinds of errors, also for types that numpy lacks
        why = brief(error) or type(error).__name__
        raise RunError(f"{folder} is not a readable safetensors export: {why}") from error
    parsed = description_lib.parse(description, os.fspath(folder))
    params: dict[str, Any] = {}
    for key, array in arrays.items():
        *path, name = key.split(".")
        layer: Any = params
        for part in path[:_MOST_DEPTH]:
            layer = layer.setdefault(part, {}) if isinstance(layer, dict) else None
        if len(path) > _MOST_DEPTH or not isinstance(layer, dict) or name in layer:
            raise RunError(f"{folder / FILE}: {quote(key[:100])} is not a valid array name")
        layer[name] = array
    parsed.check_digest(params, os.fspath(folder / FILE))
    imported_run.write(
        workdir,
        parsed.config,
        parsed.charset,
        parsed.normalization,
        params,
        parsed.fingerprint,
        os.fspath(folder),
        parsed.result,
    )


class _Array(TypedDict):
    dtype: Literal["F32"]
    shape: Annotated[list[schema.Count], Meta(max_length=4)]
    data_offsets: Annotated[list[schema.Step], Meta(min_length=2, max_length=2)]


def _check_header(content: bytes) -> None:
    """Raises InvalidError unless the file declares at most 1000 f32 arrays."""
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > min(len(content) - 8, schema.MAX_DOCUMENT):
        raise schema.InvalidError("its header has a wrong size")
    header = schema.document(content[8 : 8 + size])
    if not isinstance(header, dict):
        raise schema.InvalidError("its header is not an object")
    schema.check(header.pop("__metadata__", {}), dict[str, str])
    schema.check(header, Annotated[dict[str, _Array], Meta(max_length=1000)])


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
