"""Pure functions from images to logits, and from logits to losses and texts. Imports `runtime`;
flax is imported in `crnn` only.
"""
