"""The verbs about where pictures come from: fetch, generate, strength."""

from __future__ import annotations

import argparse
from typing import Any


def add_to(verbs: Any) -> None:
    """Adds them to the subparsers of `python -m crnn_jax`."""
    verb = verbs.add_parser("fetch", help="download the default data set, check and unpack it")
    verb.add_argument("--to", metavar="DIR", help="a new folder; default data/captcha_images_v2")
    verb.add_argument("--url", help="another place of the same zip archive")
    verb.set_defaults(call=fetch)

    verb = verbs.add_parser("generate", help="write generated pictures to a folder, as a data set")
    verb.add_argument(
        "style",
        metavar="STYLE",
        help="a preset of data/synthetic/presets.py or a .json file",
    )
    verb.add_argument("count", metavar="COUNT", type=positive, help="how many pictures")
    verb.add_argument("folder", metavar="DIR", help="a new folder")
    verb.add_argument("--seed", metavar="N", type=int, default=0, help="of the pictures; default 0")
    verb.set_defaults(call=generate)

    verb = verbs.add_parser(
        "strength", help="which distortion does a reader fail at, and for how long"
    )
    verb.add_argument("run", metavar="RUN", help="a run directory")
    verb.add_argument("--style", help="whose plain text is distorted; default the run's data.style")
    verb.add_argument(
        "--count", metavar="N", type=positive, default=500, help="pictures a strength"
    )
    verb.add_argument(
        "--adapt", metavar="STEPS", type=int, default=0, help="train against each for so many steps"
    )
    verb.add_argument(
        "--distortion", metavar="NAME", action="append", help="one alone; may be given again"
    )
    verb.add_argument("--workdir", metavar="DIR", help="for the report; default RUN/strength")
    verb.set_defaults(call=strength)


def positive(text: str) -> int:
    """For argparse: a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def fetch(options: argparse.Namespace) -> int:
    from crnn_jax import config as config_lib
    from crnn_jax.data import fetch as fetch_lib

    folder = options.to or config_lib.DEFAULT_DIR
    if fetch_lib.fetch(options.url or fetch_lib.URL, folder):
        print(f"{folder}: {fetch_lib.COUNT} pictures, checked")
    else:
        print(f"{folder} is there already; nothing was downloaded")
    return 0


def generate(options: argparse.Namespace) -> int:
    from crnn_jax.data import sources

    sources.write(options.style, options.count, options.seed, options.folder)
    print(f"{options.folder}: {options.count} generated pictures of the style {options.style}")
    return 0


def strength(options: argparse.Namespace) -> int:
    from crnn_jax.analysis import robustness

    folder = robustness.report(
        options.run,
        options.workdir,
        options.style,
        options.count,
        options.adapt,
        options.distortion,
    )
    print(f"wrote strength.md, strength.csv and strength.png to {folder}")
    return 0
