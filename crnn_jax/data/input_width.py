"""The width of the model's input, by the aspect ratio of a text.

The strokes of ten letters on the width of five are too close together to be told apart.
"""

from __future__ import annotations

from crnn_jax.config.data_keys import AUTO_WIDTHS

_STRETCH = 1.3  # letters of a captcha are often narrow or overlap


def fitting(aspect: float, height: int) -> int:
    """Returns the width that fits a text, one of `AUTO_WIDTHS` times the height.

    Args:
      aspect: width / height of the image, or of its cropped part.
      height: the height of the input, in pixels.
    """
    wanted = round(_STRETCH * aspect)
    return height * next((times for times in AUTO_WIDTHS if times >= wanted), AUTO_WIDTHS[-1])
