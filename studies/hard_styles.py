"""Writes two hard captcha styles as folders of images, to find the limits of a recipe.

    python studies/hard_styles.py busy 2000 data/busy
    python run.py --config experiments/base.py --config.data.dir=data/busy

busy: six of 53 symbols in five faces, each in its own color and rotated by up to 20 degrees,
over colored shapes and under four lines. noisy: four to eight of 36 symbols, gray, under six lines
and strong noise. The fonts are those of matplotlib (pip install 'crnn-jax[plots]'). Image i of a
style is reproducible with the same version of Pillow.
"""

import dataclasses
import sys
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
FACES = ("Sans-Bold", "Serif-Bold", "SansMono-Bold", "Sans", "Serif-Italic")


@dataclasses.dataclass(frozen=True)
class Style:
    alphabet: str
    lengths: tuple[int, int]
    size: tuple[int, int]  # pixels
    colour: bool
    shapes: int
    lines: int
    faces: int
    turn: float  # degrees
    noise: float  # standard deviation, gray levels


STYLES = {
    "busy": Style(
        alphabet="23456789ABCDEFGHJKMNPQRSTUVWXYZabcdefghjkmnpqrtuvwxyz",
        lengths=(6, 6), size=(200, 60), colour=True, shapes=25, lines=4, faces=5, turn=20, noise=12,
    ),
    "noisy": Style(
        alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        lengths=(4, 8), size=(220, 70), colour=False, shapes=0, lines=6, faces=3, turn=25, noise=30,
    ),
}  # fmt: skip


def draw(style: Style, text: str, rng: np.random.Generator) -> Image.Image:
    width, height = style.size

    def colour(low: int, high: int) -> tuple[int, ...]:
        values = rng.integers(low, high, 3)
        return tuple(map(int, values if style.colour else values[:1].repeat(3)))

    image = Image.new("RGB", style.size, colour(150, 256))
    pen = ImageDraw.Draw(image, "RGBA")
    for _ in range(style.shapes):
        x, y = int(rng.integers(-20, width)), int(rng.integers(-20, height))
        a, b = rng.integers(8, 60, 2).tolist()
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + a, y + b), fill=(*colour(80, 256), int(rng.integers(60, 160))))
    pitch = min((width - 32) / len(text), 34) * rng.uniform(0.85, 1)
    left = float(rng.integers(4, 14))
    for character in text:
        face = FACES[rng.integers(style.faces)]
        size = int(rng.integers(int(height * 0.45), int(height * 0.62)))
        font = ImageFont.truetype(str(FONTS / f"DejaVu{face}.ttf"), size)
        glyph = Image.new("L", (80, 90))
        ImageDraw.Draw(glyph).text((40, 45), character, 255, font, anchor="mm")
        glyph = glyph.rotate(rng.uniform(-style.turn, style.turn), Image.Resampling.BICUBIC)
        top = height / 2 - 45 + rng.integers(-(height // 10), height // 10 + 1)
        ink = Image.new("RGB", glyph.size, colour(0, 110))
        image.paste(ink, (int(left + pitch / 2 - 40), int(top)), glyph)
        left += pitch * rng.uniform(0.95, 1.05)
    for _ in range(style.lines):
        points = [(int(rng.integers(width)), int(rng.integers(height))) for _ in range(2)]
        pen.line(points, fill=colour(0, 200), width=int(rng.integers(1, 3)))
    grain = rng.normal(0, style.noise, (height, width, 3 if style.colour else 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def main(name: str, count: str, folder: str) -> None:
    style = STYLES[name]
    Path(folder).mkdir(parents=True, exist_ok=True)
    lines = ["file,label"]
    for i in range(int(count)):
        rng = np.random.default_rng([len(style.alphabet), i])
        length = rng.integers(style.lengths[0], style.lengths[1] + 1)
        text = "".join(rng.choice(list(style.alphabet), length))
        draw(style, text, rng).save(Path(folder) / f"{i:05d}.png")
        lines.append(f"{i:05d}.png,{text}")
    (Path(folder) / "labels.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in STYLES:
        sys.exit(f"usage: hard_styles.py {'|'.join(STYLES)} COUNT FOLDER")
    main(*sys.argv[1:])
