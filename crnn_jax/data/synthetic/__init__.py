"""Generated captchas, drawn on the device as a pure function of style, seed and number.

Imports `runtime`.
"""
