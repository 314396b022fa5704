"""What another program must know to be right: it goes with every file that leaves this package."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from crnn_jax import __version__, config, model
from crnn_jax.charset import Charset
from crnn_jax.errors import ConfigError, RunError
from crnn_jax.recognizer import Recognizer
from crnn_jax.record import Result
from crnn_jax.standard import Standard

FILE = "reader.json"  # beside the model, or in it
_FORMAT = "crnn-jax reader"


def describe(reader: Recognizer, result: Result | None) -> dict[str, Any]:
    """A reader and, where its run is finished, its result, as plain values for JSON."""
    data, standard = reader.config.data, reader.model
    return {
        "format": _FORMAT,
        "version": __version__,
        "alphabet": list(reader.charset.alphabet),  # symbol of class 0, 1, ...
        "blank": reader.charset.blank,  # class of the CTC blank
        "input": {
            "axes": ["batch", "width", "height", "channel"],  # a picture's rows are its last axis
            "size": {"width": data.width, "height": data.height},  # pixels
            "channels": "grey" if data.channels == 1 else "red, green, blue",
            "grey": "(19595 red + 38470 green + 7471 blue + 32768) // 65536",  # as Pillow's L
            "range": [0, 255],
            "transparency": "on white",
            "resize": "bilinear with antialiasing, over a support that grows with the reduction",
        },
        "standardise": {  # a part of the model, but in safetensors and Keras' weights alone
            "mean": list(standard.mean),  # of each channel: (pixel - mean) / deviation
            "deviation": list(standard.deviation),
            "each_picture": standard.each_picture,  # and each picture by itself after that
        },
        "output": {
            "axes": ["batch", "step", "class"],
            "steps": config.num_steps(reader.config),
            "classes": reader.charset.num_classes,
        },
        "temperature": reader.temperature,  # divide logits by it before a softmax
        "params_sha256": model.params_sha256(reader.params),
        "trained_on": {"fingerprint": reader.fingerprint}
        | ({"name": result.data_name, "images": result.num_train} if result else {}),
        "result": dataclasses.asdict(result) if result else None,
    }


def to_json(description: Mapping[str, Any]) -> str:
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


class Parsed(NamedTuple):
    """What an import takes from a description."""

    alphabet: str
    standard: Standard
    fingerprint: str  # of the data set that it was trained on
    params_sha256: str
    result: Result | None


def parse(content: bytes, source: str) -> Parsed:
    """A description that this package wrote; it comes from strangers, so what is used is checked.

    Raises:
      RunError: it is none; names `source`.
    """
    try:
        values = json.loads(content)
        if values["format"] != _FORMAT:
            raise ValueError(f"its format is {values['format']!r}")
        alphabet = Charset("".join(values["alphabet"])).alphabet
        if values["blank"] != len(alphabet):
            raise ValueError(f"its blank is {values['blank']!r}, not the class after the last")
        mean, deviation = (
            tuple(map(float, values["standardise"][name])) for name in ("mean", "deviation")
        )
        if not all(map(math.isfinite, (*mean, *deviation))) or min(deviation) <= 0:
            raise ValueError(f"it standardises by mean {mean}, deviation {deviation}")
        result = Result(**values["result"]) if values["result"] else None
        return Parsed(
            alphabet,
            Standard(mean, deviation, bool(values["standardise"]["each_picture"])),
            str(values["trained_on"]["fingerprint"]),
            str(values["params_sha256"]),
            result,
        )
    except (ValueError, TypeError, KeyError, ConfigError) as error:
        raise RunError(f"{FILE} of {source} cannot be used: {error!r}") from error


def check_digest(params: Any, parsed: Parsed, source: str) -> None:
    """RunError unless these parameters are the ones that were described."""
    found = model.params_sha256(params)
    if parsed.params_sha256 != found:
        raise RunError(
            f"{source} is damaged or changed: the digest of its parameters is {found[:12]}..., "
            f"and its {FILE} names {parsed.params_sha256[:12]}..."
        )
