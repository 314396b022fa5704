"""Ablation of the wide generator: exact match on real schemes without labels.

    PYTHONPATH=. python studies/generator_ablation.py faces.npz ../shared/data/schemes/*/ \\
        --workdir runs/generator --out results/general/generator_ablation.json

The reference architecture is trained on the same number of generated images for each variant: once
with the whole generator, and then with one part left out. It reads the test part of each scheme as
in studies/zero_labels.py. All variants have the same seed and the same number of updates, which are
far fewer than those of the reader in the package. So only the differences are meaningful.

A finished variant is not trained again. The JSON record has a line for each variant.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

BATCH = 64  # images

if __name__ == "__main__":  # before jax is imported
    from crnn_jax import runtime

    runtime.configure(BATCH)

import jax
import jax.numpy as jnp
import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.data.synthetic.wide import camera, clutter, colors, render
from crnn_jax.data.synthetic.wide.draws import Draws
from crnn_jax.inference import recognizer
from crnn_jax.runs import provenance
from crnn_jax.runtime import files
from crnn_jax.training import train
from experiments import general
from studies import zero_labels

_VALIDATION = 512  # generated images that training does not see
_WAYS = ("labeled", "case_folded", "form_found")


class Variant(NamedTuple):
    """A generator without one of its parts, or a model that sees less of the images."""

    meaning: str
    without: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    changes: Mapping[str, Any] = {}
    share: int = 1  # the number of images is divided by it; the number of updates stays


@contextlib.contextmanager
def _patched(*parts: tuple[Any, str, Any]) -> Iterator[None]:
    """Replaces functions of the generator, and forgets the programs that call the others."""
    with contextlib.ExitStack() as stack:
        for module, name, replacement in parts:
            stack.enter_context(mock.patch.object(module, name, replacement))
        jax.clear_caches()
        yield
    jax.clear_caches()


def _no_clutter() -> AbstractContextManager[None]:
    def hidden_cells(layer: Callable[..., clutter.Cells]) -> Callable[..., clutter.Cells]:
        def draw(*arguments: Any) -> clutter.Cells:
            cells = layer(*arguments)
            return cells._replace(alpha=jnp.zeros_like(cells.alpha))

        return draw

    def hidden_strokes(layer: Callable[..., clutter.Strokes]) -> Callable[..., clutter.Strokes]:
        def draw(*arguments: Any) -> clutter.Strokes:
            strokes = layer(*arguments)
            return strokes._replace(cover=jnp.zeros_like(strokes.cover))

        return draw

    def no_grid(draws: Draws, x: jax.Array, y: jax.Array, height: int) -> jax.Array:
        return jnp.zeros_like(grid(draws, x, y, height))  # uses the same random numbers

    grid = clutter.grid
    return _patched(
        (clutter, "words", hidden_cells(clutter.words)),
        (clutter, "stray_glyphs", hidden_cells(clutter.stray_glyphs)),
        (clutter, "lines", hidden_strokes(clutter.lines)),
        (clutter, "shapes", hidden_strokes(clutter.shapes)),
        (clutter, "grid", no_grid),
    )


def _no_color() -> AbstractContextManager[None]:
    def gray(draws: Draws, pixels: jax.Array, ink: jax.Array, capital: jax.Array) -> jax.Array:
        colored = shoot(draws, pixels, ink, capital)
        return jnp.broadcast_to(colors.luma_of(colored)[..., None], colored.shape)

    shoot = camera.shoot
    return _patched((camera, "shoot", gray))


def _no_warps() -> AbstractContextManager[None]:
    def plain(
        draws: Draws, x: jax.Array, y: jax.Array, half: jax.Array, slack: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        warp(draws, x, y, half, slack)  # uses the same random numbers
        return x, y

    warp = render._warp
    return _patched((render, "_warp", plain))


def _no_camera() -> AbstractContextManager[None]:
    def sharp(draws: Draws, pixels: jax.Array, ink: jax.Array, capital: jax.Array) -> jax.Array:
        return jnp.clip(pixels, 0, 1)  # the last part of the image: no number is drawn after it

    return _patched((camera, "shoot", sharp))


VARIANTS: Mapping[str, Variant] = {
    "whole": Variant("the whole generator, color"),
    "few_faces": Variant("the faces of the package only", changes={"data.style": "wide"}),
    "no_clutter": Variant("no words, glyphs, lines, shapes or grids around the text", _no_clutter),
    "no_color": Variant("gray images; the model has three channels", _no_color),
    "gray_input": Variant("colored images, of which the model sees the gray level",
                          changes={"data.channels": 1}),
    "no_warps": Variant("no rotation, arcs or waves of the whole text", _no_warps),
    "no_camera": Variant("no small files, blur, noise or JPEG blocks", _no_camera),
    "quarter": Variant("a quarter of the images, four times as often", share=4),
}  # fmt: skip


def config_of(variant: Variant, faces: str, count: int, epochs: int) -> config_lib.Config:
    """Returns the config of a variant: `small` of experiments/general.py on a fixed set."""
    config = general.get_config("small")
    train_size = count // variant.share
    config.update_from_flattened_dict(
        {
            "data.source": "synthetic",
            "data.style": faces,
            "data.channels": 3,
            "data.count": train_size + _VALIDATION,
            "data.val_fraction": (_VALIDATION + 0.5) / (train_size + _VALIDATION),
            "train.epochs": epochs * variant.share,
            "train.batch_size": BATCH,
            "optimizer.warmup_steps": 200,
            **variant.changes,
        }
    )
    return config_lib.from_config_dict(config)


def run(variant: Variant, config: config_lib.Config, workdir: Path, folders: list[Path]) -> Any:
    """Trains a variant, and reads the schemes. Returns its line of the record."""
    with variant.without():
        result = train.train_and_evaluate(config, workdir)
    reader = recognizer.load(workdir)
    scores = {}
    for folder in folders:
        scores[folder.name] = zero_labels.read(reader, folder, with_form=False)["scores"]
        jax.clear_caches()  # of the decoders of this form
    return {
        "meaning": variant.meaning,
        "images": result.num_train,
        "epochs": result.epochs_run,
        "generated": result.exact_match,
        "schemes": scores,
    }


def table(lines: Mapping[str, Any]) -> str:
    """Formats the record: the mean exact match over the schemes, in percent.

    If too few images are read to find their form, the readings without a form count.
    """
    rows = ["| variant | own generated images | " + " | ".join(_WAYS) + " |", "|" + "---|" * 5]
    for name, line in lines.items():
        means = [
            np.mean([100 * _of(scores, way)["exact_match"] for scores in line["schemes"].values()])
            for way in _WAYS
        ]
        cells = " | ".join(f"{mean:.1f}" for mean in means)
        rows.append(f"| {name} | {100 * line['generated']:.1f} | {cells} |")
    return "\n".join(rows)


def _of(scores: Mapping[str, Any], way: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = scores.get(way, scores["case_folded"])
    return found


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("faces", metavar="FACES", help="an .npz file of `crnn-jax faces`")
    parser.add_argument("folders", metavar="FOLDER", nargs="+", type=Path)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--count", type=int, default=32_768, help="generated images")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--workdir", type=Path, default=Path("runs/generator"))
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    record: dict[str, Any] = {"variants": {}}
    if options.out.exists():
        record = json.loads(options.out.read_text())
    record |= {
        "command": ["studies/generator_ablation.py", *arguments],
        "environment": provenance.here(str(device) for device in jax.devices()),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    for name in options.variants:
        if name in record["variants"]:
            continue
        config = config_of(VARIANTS[name], options.faces, options.count, options.epochs)
        workdir = options.workdir / name
        record["variants"][name] = run(VARIANTS[name], config, workdir, options.folders)
        files.write(options.out, (json.dumps(record, indent=1) + "\n").encode())
        print(f"{name}: {table({name: record['variants'][name]}).splitlines()[-1]}", flush=True)
    print(table(record["variants"]))


if __name__ == "__main__":
    main(sys.argv[1:])
