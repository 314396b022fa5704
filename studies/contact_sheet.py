"""Draws a dozen real images on the left and as many generated images on the right, enlarged twice.

    python studies/contact_sheet.py FOLDER captcha_v2 results/synthetic/contact_sheet.png

The real images are evenly spaced in the order of file names; none were selected by hand.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from crnn_jax.data import generated, image_io
from crnn_jax.data.synthetic import presets, render

COUNT, GAP = 12, 6


def main(folder: str, name: str, target: str) -> None:
    look = presets.load(name)
    files = sorted(f for f in Path(folder).iterdir() if f.suffix.lower() in image_io.IMAGE_SUFFIXES)
    real = [image_io.open_image(f) for f in files[:: max(len(files) // COUNT, 1)][:COUNT]]
    numbers = np.arange(COUNT, dtype=np.int32)
    drawn, _ = render.images(render.atlas_of(look), 0, numbers, style=look)
    made = [generated.to_image(pixels) for pixels in np.asarray(drawn)]
    width, height = 2 * look.width, 2 * look.height
    sheet = Image.new("RGB", (2 * width + 3 * GAP, COUNT * (height + GAP) + GAP), "white")
    for column, images in enumerate((real, made)):
        for row, image in enumerate(images):
            at = (GAP + column * (width + GAP), GAP + row * (height + GAP))
            sheet.paste(image_io.flatten(image).resize((width, height), 0), at)
    sheet.convert("L" if not look.colour else "RGB").save(target, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: contact_sheet.py FOLDER STYLE TARGET.png")
    main(*sys.argv[1:])
