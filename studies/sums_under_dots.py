"""Draws a folder of sums such as 3+5= in colored characters under black dots, with labels.csv.

    python studies/sums_under_dots.py FOLDER COUNT --font DejaVuSans-Bold.ttf

The figures in results/recipe/README.md are of 1,020 images and the font of Debian's package
fonts-dejavu-core. The images depend only on the count and the font.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SIZE = 130, 45  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--font", type=Path, required=True)
    options = parser.parse_args()
    rng, font = random.Random(5), ImageFont.truetype(options.font, 28)
    options.folder.mkdir(parents=True)
    rows = ["file,label"]
    for number in range(options.count):
        first, second, sign = rng.randint(0, 9), rng.randint(0, 9), rng.choice("+-*")
        text = f"{first}{sign}{second}="
        image(text, font, rng).save(options.folder / f"img_{number}.png")
        rows.append(f"img_{number}.png,{text}")
    (options.folder / "labels.csv").write_text("\n".join(rows) + "\n")


def image(text: str, font: ImageFont.FreeTypeFont, rng: random.Random) -> Image.Image:
    """Draws a sum and 60 to 120 dots."""
    canvas = Image.new("RGB", SIZE, "white")
    pen = ImageDraw.Draw(canvas)
    x = rng.randint(8, 20)
    for character in text:
        color = rng.randint(0, 150), rng.randint(0, 150), rng.randint(0, 150)
        pen.text((x, rng.randint(2, 10)), character, font=font, fill=color)
        x += rng.randint(22, 28)
    for _ in range(rng.randint(60, 120)):
        x, y = rng.randint(0, SIZE[0] - 1), rng.randint(0, SIZE[1] - 1)
        radius = rng.choice([0, 1, 1, 2])
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill="black")
    return canvas


if __name__ == "__main__":
    main()
