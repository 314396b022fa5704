"""Examples for the help of each command."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

PROGRAM = "crnn-jax"

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "evaluate": ("runs/mine", "general --data my_captchas --length 5"),
    "predict": (
        "general image.png",
        "runs/mine folder --format csv --min-confidence 0.97",
        "general folder --same-scheme",
    ),
    "serve": (
        "general",
        "runs/mine --length 5 --min-confidence 0.97 --port 9000",
        "general --host 0.0.0.0 --token-file token.txt",
        "general --same-scheme --data my_captchas",
    ),
    "label": ("my_captchas", "my_captchas --reader runs/mine --adapt-every 50 --open"),
    "report": ("runs/mine", "runs/ablations --reach 0.97"),
    "audit": ("runs/cross_validation",),
    "inspect": ("my_captchas", r"my_captchas --label-pattern '(.+)_\d+'"),
    "pack": ("my_captchas packed",),
    "fetch": ("--to data/captcha_images_v2",),
    "generate": ("captcha_v2 1000 generated",),
    "faces": ("/usr/share/fonts faces.npz",),
    "robustness": ("runs/mine",),
    "keys": ("", "train"),
    "train": ("runs/mine",),
    "reproduce": ("runs/mine",),
    "export": ("runs/mine --format onnx", "runs/mine --format safetensors --out reader"),
    "push": ("runs/mine hf://me/reader --private",),
    "import-keras": ("model.keras runs/from_keras --alphabet 2345678bcdefgmnpwxy",),
    "import-safetensors": ("reader runs/imported",),
}


def add_to(commands: Mapping[str, argparse.ArgumentParser]) -> None:
    """Adds the examples to the help of the commands."""
    for name, command in commands.items():
        lines = [f"  {PROGRAM} {name} {rest}".rstrip() for rest in EXAMPLES.get(name, ())]
        if lines:
            command.formatter_class = argparse.RawDescriptionHelpFormatter
            command.epilog = "\n".join(["examples:", *lines])
