"""Where glyphs stand, and fonts of one's own."""

import csv
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from crnn_jax.data import generated, generated_folder
from crnn_jax.data.synthetic import presets, text_layout
from crnn_jax.data.synthetic.random_params import draws, ranges_of
from crnn_jax.data.synthetic.render import atlas_of
from crnn_jax.errors import ConfigError

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
NARROW: dict[str, Any] = {"length": (4, 4), "size": (30, 30), "spacing": (-30, -30),
                          "left": (70, 70)}  # fmt: skip


@pytest.mark.parametrize("by", ["advance", "ink"])
def test_no_glyph_is_drawn_left_of_the_one_before(by: str) -> None:
    """With a spacing that takes more than the width of a digit."""
    plain = presets.STYLES["plain"]
    style = dataclasses.replace(plain, **NARROW, spacing_by=by)
    atlas = jax.tree.map(jnp.asarray, atlas_of(style))
    ranges = jnp.asarray(ranges_of(style))

    def middles(key: jax.Array) -> jax.Array:
        return text_layout.place(draws(key, ranges, style), atlas, style).center

    found = np.asarray(jax.jit(jax.vmap(middles))(jax.random.split(jax.random.key(0), 50)))
    assert np.diff(found, axis=1).min() > 0.99
    assert style.describe()["spacing_version"] == 2
    assert "spacing_version" not in plain.describe()  # its images are as they were


def test_a_glyph_that_is_cut_by_its_cell_is_refused() -> None:
    face = str(FONTS / "DejaVuSerif-BoldItalic.ttf")
    style = dataclasses.replace(presets.STYLES["plain"], alphabet="a\u0416", faces=(face,))
    with pytest.raises(ConfigError, match=r"BoldItalic\.ttf draws '\u0416' larger than a cell"):
        atlas_of(style)


def test_labels_of_right_to_left_texts_are_in_typing_order(tmp_path: Path) -> None:
    """The texts are drawn from left to right; a Hebrew word is typed from its right end."""
    style = {"base": "plain", "alphabet": "\u05d0\u05d1\u05d2\u05d3", "length": [3, 3],
             "faces": [str(FONTS / "DejaVuSans-Bold.ttf")]}  # fmt: skip
    path = tmp_path / "hebrew.json"
    path.write_text(json.dumps(style))
    generated_folder.write(str(path), 5, 0, tmp_path / "set")
    with (tmp_path / "set" / "labels.csv").open(encoding="utf-8", newline="") as file:
        labels = [row["label"] for row in csv.DictReader(file)]
    look = generated_folder.family.load(str(path))
    drawn = generated.drawn(look, functools.partial(look.drawer(), 0), range(5))
    assert labels == [text[::-1] for _, texts in drawn for text in texts]
