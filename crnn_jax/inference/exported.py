"""Reads a model that was exported to safetensors: a folder in the format of model hubs.

interop/safetensors.py lists its files, and interop/model_spec.py the keys of reader.json. Nothing
in such a folder is executed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import jax
from msgspec import Meta

from crnn_jax import config as config_lib
from crnn_jax import schema
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import ConfigError, RunError, brief, quote
from crnn_jax.inference.typicality import Typical
from crnn_jax.models import crnn
from crnn_jax.runs import config_migrations
from crnn_jax.runs.result import Result
from crnn_jax.runtime import files

FILE = "reader.json"  # beside the model file, or inside it
WEIGHTS = "model.safetensors"
FORMAT = "crnn-jax reader"
_MOST_CODE_POINTS = 32  # code points of a symbol: a letter with its marks
_MOST_DEPTH = 8  # levels of nested layers; this package's models have three


class _NormalizationRecord(TypedDict):
    mean: list[Any]  # normalization.check checks the values
    deviation: list[Any]
    each_picture: Any


class _Stored(TypedDict):
    """The keys of reader.json that an import uses."""

    format: str
    digest: schema.Digest
    alphabet: list[Annotated[str, Meta(min_length=1, max_length=_MOST_CODE_POINTS)]]
    other_cases: NotRequired[list[Annotated[str, Meta(max_length=_MOST_CODE_POINTS)]]]
    standardise: _NormalizationRecord
    fingerprint: schema.Digest
    params_sha256: schema.Digest
    config: dict[str, Any]
    result: dict[str, Any] | None
    temperature: NotRequired[schema.Temperature]
    typicality: NotRequired[schema.MeanAndStd | None]
    width_by_image: NotRequired[bool]


class Parsed(NamedTuple):
    """The parts of a description that an import uses."""

    config: Config
    charset: Charset
    normalization: Normalization
    fingerprint: str  # fingerprint of the training data
    params_sha256: str
    result: Result | None
    temperature: float = 1.0  # divides the logits for confidences
    typical: Typical | None = None  # mean and deviation of the energies of the validation part
    width_by_image: bool = False  # the input of each image has the width that fits its text

    def check_digest(self, params: Any, source: str) -> None:
        """Raises RunError unless `params` have the digest of the description."""
        found = crnn.params_sha256(params)
        if self.params_sha256 != found:
            raise RunError(
                f"{source} is damaged or changed: the digest of its parameters is {found[:12]}..., "
                f"but its {FILE} says {self.params_sha256[:12]}..."
            )


def parse(content: bytes, source: str) -> Parsed:
    """Parses and checks a description that this package wrote.

    Args:
      content: reader.json.
      source: the file that it is from, for error messages.

    Raises:
      RunError: `content` is not such a description, or was changed. The message names `source` and
        the key.
    """
    try:
        values = schema.document(content)
        schema.check(values, _Stored)
        if values["format"] != FORMAT:
            raise schema.InvalidError(f"its format is {quote(values['format'])}")
        if values.pop("digest") != digest(values):
            raise schema.InvalidError("it was changed: its digest differs")
        config = config_lib.from_dict(config_migrations.up_to_date(values["config"]))
        kind = config.data.direction, config.data.marks
        others = "".join(values.get("other_cases", []))
        charset = Charset("".join(values["alphabet"]), *kind, others)
        if list(charset.symbols) != values["alphabet"]:
            raise schema.InvalidError("its alphabet has symbols of several letters")
        result = Result.from_dict(values["result"]) if values["result"] else None
        # Older exports have the energies only in the result.
        energies = values.get("typicality", result and result.typicality)
        return Parsed(
            config,
            charset,
            Normalization.from_record(values["standardise"]),
            fingerprint=values["fingerprint"],
            params_sha256=values["params_sha256"],
            result=result,
            temperature=values.get("temperature", 1.0),
            typical=Typical(*energies) if energies else None,
            width_by_image=values.get("width_by_image", False),
        )
    except (ConfigError, schema.InvalidError) as error:
        raise RunError(f"{FILE} of {source} cannot be used: {error}") from error


def digest(values: Mapping[str, Any]) -> str:
    """Returns the digest of a description without its own `digest`."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def is_export(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder has the files of an export and is no run directory."""
    path = Path(folder)
    return (
        all((path / name).is_file() for name in (FILE, WEIGHTS))
        and not (path / "checkpoints").exists()
    )


def read(folder: str | os.PathLike[str]) -> tuple[Parsed, Any]:
    """Returns the description and the parameters of an export.

    Raises:
      RunError: files are missing, damaged, or do not belong together.
      ImportError: safetensors is missing.
    """
    from safetensors import numpy as safetensors

    folder = Path(folder)
    try:
        description = files.read(folder / FILE, schema.MAX_DOCUMENT)
        content = files.read(folder / WEIGHTS)
        _check_header(content)
        arrays = safetensors.load(content)
    # safetensors raises many kinds of errors, also for types that numpy lacks.
    except Exception as error:
        why = brief(error) or type(error).__name__
        raise RunError(f"{folder} is not a readable safetensors export: {why}") from error
    parsed = parse(description, os.fspath(folder))
    try:
        if deep := [key for key in arrays if key.count(".") > _MOST_DEPTH]:
            raise ValueError(deep[0])
        params = crnn.of_names(arrays, ".")
    except ValueError as error:
        key = quote(str(error)[:100])
        raise RunError(f"{folder / WEIGHTS}: {key} is not a valid array name") from error
    parsed.check_digest(params, os.fspath(folder / WEIGHTS))
    return parsed, params


def check_params(params: Any, model: crnn.Model, config: Config, source: str) -> None:
    """Raises RunError unless the parameters fit a model and are finite."""
    wanted = jax.eval_shape(lambda: crnn.init(model, jax.random.key(0), config.data))
    here, there = (
        {name: (leaf.shape, str(leaf.dtype)) for name, leaf in crnn.by_name(tree).items()}
        for tree in (wanted, params)
    )
    for name in sorted(set(here) | set(there)):
        if here.get(name) != there.get(name):
            raise RunError(
                f"{source}: {name} is {there.get(name, 'missing')}; its configuration and alphabet "
                f"require {here.get(name, 'no such array')}"
            )
    if broken := crnn.first_not_finite(params):
        raise RunError(f"{source}: {broken} has values that are not finite")


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
