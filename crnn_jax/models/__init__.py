"""Pure functions from images to logits, and from logits to losses and texts.

Imports `runtime`. Only `crnn` imports flax.
"""
