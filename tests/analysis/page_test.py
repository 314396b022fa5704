"""The style of the report pages: contrast as in WCAG 2.1, level AA."""

import re
from pathlib import Path

import pytest

from crnn_jax.analysis import page

STYLE = (Path(page.__file__).parent / "templates" / "page.css").read_text()


def _colors(scheme: str) -> dict[str, str]:
    light, dark = re.findall(r":root \{([^}]*)\}", STYLE)
    found = re.findall(r"--([\w-]+): (#[0-9a-f]+);", light + (dark if scheme == "dark" else ""))
    return dict(found)


def _luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    channels = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_formula() -> None:
    assert _contrast("#fff", "#000000") == pytest.approx(21)
    assert _contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.005)  # the known near miss


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_lines_and_controls_can_be_told_from_the_page(scheme: str) -> None:
    colors = _colors(scheme)
    for back in ("page", "panel"):
        for text in ("text", "soft", "accent", "doubt"):
            assert _contrast(colors[text], colors[back]) >= 4.5, (text, back)
        for line in ("control", *(f"c{n}" for n in range(8))):
            assert _contrast(colors[line], colors[back]) >= 3, (line, back)
