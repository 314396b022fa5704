"""The command that starts a new run from the weights of another one."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from crnn_jax import config as config_lib
from crnn_jax.config import Config

# Keys that change the sizes of parameters: weights trained with other values cannot be reused.
_SIZES = ("data.height", "data.channels", "model.")


def advice(workdir: Path, config: Config, changed: Iterable[str] = ()) -> str:
    """Returns a sentence with the command that continues from a run; empty if that is impossible.

    Args:
      workdir: the directory of the run to start from.
      config: the config of the new run.
      changed: the keys that differ between the two.
    """
    has_weights = any(path.name.isdecimal() for path in (workdir / "checkpoints").glob("*"))
    if not has_weights or any(key.startswith(_SIZES) for key in changed):
        return ""
    place = shlex.quote(os.fspath(workdir))
    new = next(p for i in range(2, 10**6) if not (p := Path(f"{workdir}-{i}")).exists())
    options = [f"--config.train.init_from={place}", f"--workdir {shlex.quote(os.fspath(new))}"]
    return f"To start a new run from its weights: {' '.join([*_start(config), *options])}"


def _start(config: Config) -> Iterator[str]:
    """Yields the words of the command of this process, or of one with the same config."""
    if os.path.basename(sys.argv[0]) == "run.py":
        yield "python"
        words = iter(sys.argv)
        for word in words:
            if re.fullmatch(r"--?(workdir|config\.train\.init_from)", word):
                next(words, None)  # its value
            elif not re.match(r"--?(workdir|config\.train\.init_from)=", word):
                yield shlex.quote(word)
        return
    yield "python run.py --config experiments/base.py"
    default = config_lib.flatten(config_lib.defaults())
    for key, value in config_lib.flatten(config_lib.to_dict(config)).items():
        given = tuple(value) if isinstance(value, list) else value
        if given != default[key] and key != "train.init_from":
            yield f"--config.{key}={shlex.quote(str(given))}"
