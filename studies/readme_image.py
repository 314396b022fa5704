"""Draws the image of the README: generated captchas, and how the shipped reader reads them.

    python studies/readme_image.py docs/images/generated_captchas.png

Images 0 and 1 of seed 0 of each preset; none were selected by hand. Below each is the reading of
`general` and its confidence. A wrong reading is red, with the truth.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

import crnn_jax
from crnn_jax.data import generated
from crnn_jax.data.synthetic import glyphs, presets, render

STYLES = ("plain", "captcha_v2", "confetti", "night", "crowded", "noisy")
SIZE, CAPTION, GAP = (200, 64), 22, 10  # of the cell of an image


def main(target: str) -> None:
    reader = crnn_jax.load("general")
    font = ImageFont.truetype(str(glyphs.FONTS / "DejaVuSansMono-Bold.ttf"), 13)
    width, height = SIZE[0] + GAP, SIZE[1] + CAPTION + GAP
    sheet = Image.new("RGB", (len(STYLES) * width + GAP, 2 * height + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(STYLES):
        style = presets.load(name)
        numbers = np.arange(2, dtype=np.int32)
        drawn, labels = render.images(render.atlas_of(style), 0, numbers, style=style)
        images = [generated.to_image(image) for image in np.asarray(drawn)]
        for row, (image, label) in enumerate(zip(images, np.asarray(labels), strict=True)):
            text, confidence = reader.predict(image)[0]
            truth = "".join(style.alphabet[i] for i in label if i >= 0)
            image = ImageOps.contain(image, SIZE)
            left, top = GAP + column * width, GAP + row * height
            at = (left + (SIZE[0] - image.width) // 2, top + SIZE[1] - image.height)
            sheet.paste(image.convert("RGB"), at)
            draw.rectangle(
                (*at, at[0] + image.width - 1, at[1] + image.height - 1), outline="#c0c0c0"
            )
            color, note = ("#207020", "") if text == truth else ("#c00000", f" (is {truth})")
            middle = (left + SIZE[0] // 2, top + SIZE[1] + CAPTION // 2 + 2)
            caption = f"{text} {confidence:.0%}{note}"
            draw.text(middle, caption, fill=color, font=font, anchor="mm")
    sheet.quantize(80).save(target, optimize=True)
    print(f"{target}: {Path(target).stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: readme_image.py TARGET.png")
    main(sys.argv[1])
