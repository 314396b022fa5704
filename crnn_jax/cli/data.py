"""The commands about images: inspect, pack, fetch, generate, faces, robustness."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crnn_jax.cli import argument_types, run_records
from crnn_jax.config.data_keys import FRAMES

if TYPE_CHECKING:
    from crnn_jax.config import DataConfig


def add_to(commands: Any) -> None:
    """Adds the commands to the subparsers of `crnn-jax`."""
    _add_inspect(commands)
    _add_pack(commands)
    _add_fetch(commands)
    _add_generate(commands)
    _add_faces(commands)
    listed = {"help": "measure accuracy as a distortion gets stronger"}
    _add_robustness(commands.add_parser("robustness", **listed))
    _add_robustness(commands.add_parser("strength"))  # the name in version 0.1, not listed


def _add_inspect(commands: Any) -> None:
    command = commands.add_parser(
        "inspect", help="print the labels that are found in a folder, and what looks wrong"
    )
    _add_folder_to(command)
    _add_label_pattern_to(command)
    command.set_defaults(call=inspect)


def _add_pack(commands: Any) -> None:
    command = commands.add_parser(
        "pack", help="pack a folder of labeled images, to train on a set larger than the memory"
    )
    _add_folder_to(command)
    command.add_argument("to", metavar="OUT", help="the folder to create, to be used as data.dir")
    _add_label_pattern_to(command)
    command.add_argument(
        "--shard-mib",
        metavar="N",
        type=argument_types.positive_integer,
        default=256,
        help="MiB of images in a file of the pack; default 256",
    )
    command.add_argument(
        "--frame",
        choices=FRAMES,
        default="",
        help="accept animations, and what to read from one; train with the same data.frame",
    )
    command.set_defaults(call=pack)


def _add_folder_to(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", metavar="DIR", help="a folder of labeled images")


def _add_label_pattern_to(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--label-pattern",
        metavar="REGEX",
        default="",
        help="data.label_pattern: one group matches the label in a file name",
    )


def _add_fetch(commands: Any) -> None:
    command = commands.add_parser("fetch", help="download, check and unpack the default data set")
    command.add_argument(
        "--to", metavar="DIR", help="the folder to create; default data/captcha_images_v2"
    )
    command.add_argument("--url", help="another URL of the same zip archive")
    command.set_defaults(call=fetch)


def _add_generate(commands: Any) -> None:
    command = commands.add_parser("generate", help="write a data set of generated images")
    command.add_argument(
        "style",
        metavar="STYLE",
        help="captcha_v2, plain, confetti, noisy, crowded, night, wide, a .json file, or an .npz "
        "file of faces",
    )
    command.add_argument(
        "count", metavar="COUNT", type=argument_types.positive_integer, help="number of images"
    )
    command.add_argument("folder", metavar="DIR", help="the folder to create")
    command.add_argument(
        "--seed", metavar="N", type=int, default=0, help="seed of the images; default 0"
    )
    command.set_defaults(call=generate)


def _add_faces(commands: Any) -> None:
    command = commands.add_parser("faces", help="choose font faces for the wide generator")
    command.add_argument(
        "folders", metavar="FOLDER", nargs="+", help="a folder with fonts, also in subfolders"
    )
    command.add_argument(
        "file", metavar="FILE.npz", help="the file to write, to be used as data.style"
    )
    command.set_defaults(call=faces)


def _add_robustness(command: argparse.ArgumentParser) -> None:
    command.add_argument("run", metavar="RUN", help=f"a run directory{run_records.NOT_READERS}")
    command.add_argument(
        "--style",
        help="the style of the undistorted text; default the run's data.style; required for a run "
        "on a folder",
    )
    command.add_argument(
        "--count",
        metavar="N",
        type=argument_types.positive_integer,
        default=500,
        help="images per strength; default 500",
    )
    command.add_argument(
        "--adapt",
        metavar="STEPS",
        type=argument_types.count,
        default=0,
        help="also train a model on each distortion for this many steps, and measure it",
    )
    command.add_argument(
        "--distortion",
        metavar="NAME",
        action="append",
        help="measure only this distortion; can be repeated",
    )
    command.add_argument(
        "--workdir", metavar="DIR", help="the folder for the report; default RUN/robustness"
    )
    command.set_defaults(call=robustness, computes=True)


def inspect(options: argparse.Namespace) -> int:
    """Prints the labels that are found in a folder, without reading its images."""
    from crnn_jax.data import folder_report

    for line in folder_report.inspect(_data_config(options)):
        print(line)
    return 0


def pack(options: argparse.Namespace) -> int:
    """Packs a folder, and prints how to train on the pack."""
    from crnn_jax.data import pack as pack_lib

    data = _data_config(options, {"data.frame": options.frame})
    count = pack_lib.write(data, options.to, options.shard_mib * 2**20)
    frame = f" --config.data.frame={options.frame}" if options.frame else ""
    print(f"{options.to}: {count} images; train with --config.data.dir={options.to}{frame}")
    return 0


def _data_config(options: argparse.Namespace, changes: Mapping[str, Any] = {}) -> DataConfig:
    """Returns the data section for the folder and the label pattern of the options."""
    from crnn_jax import config as config_lib

    keys = {
        "data.source": "folder",
        "data.dir": options.folder,
        "data.label_pattern": options.label_pattern,
        **changes,
    }
    return config_lib.from_dict(config_lib.with_changes(config_lib.defaults(), keys)).data


def fetch(options: argparse.Namespace) -> int:
    """Downloads the default data set, unless its folder is not empty."""
    from crnn_jax import config as config_lib
    from crnn_jax.data import fetch as fetch_lib

    folder = options.to or config_lib.DEFAULT_DIR
    if fetch_lib.fetch(options.url or fetch_lib.URL, folder):
        print(f"{folder}: {fetch_lib.COUNT} images, checked")
    else:
        print(f"{folder} exists already; nothing was downloaded")
    return 0


def generate(options: argparse.Namespace) -> int:
    """Writes a folder of generated images."""
    from crnn_jax.data import generated_folder

    generated_folder.write(options.style, options.count, options.seed, options.folder)
    print(f"{options.folder}: {options.count} generated images of the style {options.style}")
    return 0


def faces(options: argparse.Namespace) -> int:
    """Chooses fonts in folders, and writes their atlas."""
    from crnn_jax.data.synthetic.wide import face_atlas, face_choice

    atlas = face_atlas.build(face_choice.choose(options.folders))
    face_atlas.save(atlas, options.file)
    print(f"wrote {options.file}: {len(atlas.names)} faces, digest {atlas.digest()}")
    return 0


def robustness(options: argparse.Namespace) -> int:
    """Measures the accuracy under each distortion, and writes the table and the plot."""
    from crnn_jax.analysis import robustness as robustness_lib

    run_records.check(options.run)
    folder = robustness_lib.report(
        options.run,
        options.workdir,
        options.style,
        options.count,
        options.adapt,
        options.distortion,
    )
    print(f"wrote robustness.md, robustness.csv and robustness.png to {folder}")
    return 0
