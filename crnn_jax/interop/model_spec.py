"""The description of an exported model, reader.json: what a program needs to use the model."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, NotRequired, TypedDict

from msgspec import Meta

from crnn_jax import __version__, schema
from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.config import Config
from crnn_jax.data.normalization import Normalization
from crnn_jax.errors import ConfigError, RunError, quote
from crnn_jax.inference.recognizer import Recognizer
from crnn_jax.models import crnn
from crnn_jax.runs import config_migrations
from crnn_jax.runs.run_dir import Result

FILE = "reader.json"  # beside the model file, or inside it
_FORMAT = "crnn-jax reader"
_MOST_CODE_POINTS = 32  # of a symbol: a letter with its combining marks


def describe(reader: Recognizer, result: Result | None) -> dict[str, Any]:
    """Describes a reader and, if its run is finished, its result, as plain values for JSON."""
    if result:
        result = dataclasses.replace(result, data_name=_utf8(result.data_name))
    data, model = reader.config.data, reader.model
    values = {
        "format": _FORMAT,
        "version": __version__,
        "alphabet": list(reader.charset.symbols),  # the symbols of classes 0, 1, ...
        # ltr: texts are in the order of the classes. rtl: they are reordered, see crnn_jax/bidi.py.
        "direction": data.direction,
        "blank": reader.charset.blank,  # the class of the CTC blank
        # Each has an output of the last layer after the blank. Its probability is added to that
        # of the same letter in the case of the alphabet. Part of the exported model, except in
        # safetensors.
        "other_cases": reader.charset.split(reader.charset.other_cases),
        "input": {
            "axes": ["batch", "width", "height", "channel"],  # image columns come first
            "size": {"width": data.width, "height": data.height},  # pixels
            "channels": "grey" if data.channels == 1 else "red, green, blue",
            "grey": "(19595 red + 38470 green + 7471 blue + 32768) // 65536",  # as Pillow's L
            "range": [0, 255],  # the upper 8 of the bits that a 16-bit image uses
            "upright": "by its EXIF orientation",
            # Black if it shows in the transparency alone: see data/pixel_formats.py.
            "transparency": "on white",
            # Before resizing: data/crop.py and its JavaScript version in page/reader.js.
            "crop": "to the text" if data.crop else "none",
            "resize": "bilinear with antialiasing, over a support that grows with the reduction",
        },
        "standardise": {  # part of the exported model, except in safetensors
            "mean": model.mean.tolist(),  # per channel: (pixel - mean) / deviation
            "deviation": model.std.tolist(),
            "each_picture": model.per_image,  # then each image by its own mean and deviation
        },
        "output": {
            "axes": ["batch", "step", "class"],
            "steps": config_lib.num_steps(reader.config),
            "classes": reader.charset.num_classes,
        },
        "length": data.length,  # characters of a text, such as 5 or 4-6; empty for any
        "temperature": reader.temperature,  # divides the logits before the softmax
        "params_sha256": crnn.params_sha256(reader.params),
        "fingerprint": reader.fingerprint,  # of the training data
        "result": dataclasses.asdict(result) if result else None,
        "config": config_lib.to_dict(_portable(reader.config)),
    }
    return {**values, "digest": _digest(values)}


def to_json(description: Mapping[str, Any]) -> str:
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


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


class Parsed(NamedTuple):
    """The parts of a description that an import uses."""

    config: Config
    charset: Charset
    normalization: Normalization
    fingerprint: str  # of the training data
    params_sha256: str
    result: Result | None

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
      RunError: `content` is no such description, or was changed; names `source` and the key.
    """
    try:
        values = schema.document(content)
        schema.check(values, _Stored)
        if values["format"] != _FORMAT:
            raise schema.InvalidError(f"its format is {quote(values['format'])}")
        if values.pop("digest") != _digest(values):
            raise schema.InvalidError("it was changed: its digest differs")
        config = config_lib.from_dict(config_migrations.up_to_date(values["config"]))
        kind = config.data.direction, config.data.marks
        others = "".join(values.get("other_cases", []))
        charset = Charset("".join(values["alphabet"]), *kind, others)
        if list(charset.symbols) != values["alphabet"]:
            raise schema.InvalidError("its alphabet has symbols of several letters")
        return Parsed(
            config,
            charset,
            Normalization.from_record(values["standardise"]),
            values["fingerprint"],
            values["params_sha256"],
            Result.from_dict(values["result"]) if values["result"] else None,
        )
    except (ConfigError, schema.InvalidError) as error:
        raise RunError(f"{FILE} of {source} cannot be used: {error}") from error


def require_reference_layers(reader: Recognizer, kind: str) -> None:
    """Raises RunError if the model has layers that cannot be exported to `kind`."""
    config = reader.config.model
    if config.norm or config.cell != "lstm":
        raise RunError(
            f"a model with model.norm {config.norm!r} and model.cell {config.cell!r} cannot be "
            f"exported to {kind}; only the layers of the reference model can"
        )
    if reader.charset.other_cases:
        raise RunError(
            f"a model that recognizes letters in both cases cannot be exported to {kind}; train "
            "with --config.train.detect_case=False"
        )


def _portable(config: Config) -> Config:
    """Returns the config without paths of this machine."""
    return dataclasses.replace(
        config,
        data=dataclasses.replace(
            config.data,
            dir=_utf8(Path(config.data.dir).name),
            style=_utf8(Path(config.data.style).name),
            use_labels=True,
            unlabeled="",
        ),
        train=dataclasses.replace(config.train, init_from=""),
    )


def _utf8(name: str) -> str:
    """Replaces bytes in a file name that are not UTF-8, which other programs cannot read."""
    return name.encode(errors="surrogateescape").decode(errors="replace")


def _digest(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
