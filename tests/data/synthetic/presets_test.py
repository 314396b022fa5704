"""Styles by name and from JSON files."""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from crnn_jax.data.synthetic import presets
from crnn_jax.data.synthetic.style import Style
from crnn_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base": "fancy"}, "base is one of captcha_v2"),
        ({"sise": [1, 2]}, "no key 'sise'; its keys are alphabet"),
        ({"size": [1]}, r"size cannot be \[1\]"),
        ({"size": [9, 8]}, r"size cannot be \[9, 8\]: the first"),
        ({"colour": 1}, "colour cannot be 1"),
        ({"color": 1}, "color cannot be 1"),
        ({"color": True, "colour": True}, "the keys colour and color, which are the same"),
        ({"sise": 1}, "curve_flatness, color, ink,"),
        ({"alphabet": "aa"}, "alphabet cannot be 'aa'"),
        ({"length": [0, 2]}, r"length cannot be \[0, 2\]"),
        ({"spacing_by": "eye"}, "spacing_by cannot be 'eye'"),
    ],
)
def test_a_style_of_no_use_is_named_by_its_key(
    tmp_path: Path, values: dict[str, str] | dict[str, list[int]] | dict[str, int], message: str
) -> None:
    (tmp_path / "s.json").write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=message):
        presets.load(os.fspath(tmp_path / "s.json"))


def test_a_style_survives_its_file(tmp_path: Path) -> None:
    for name, style in presets.STYLES.items():
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(dataclasses.asdict(style)))
        assert presets.load(os.fspath(file)) == style
    assert isinstance(presets.from_values({"base": "night"}), Style)
    assert presets.from_values({"color": True}) == presets.from_values({"colour": True})
    lengths = {style.length for style in presets.STYLES.values()}
    assert min(lengths)[0] == 4
    assert max(longest for _, longest in lengths) == 8
