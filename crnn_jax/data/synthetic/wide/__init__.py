"""The wide generator: every image draws its own style from one family.

A reader trained on it has therefore seen images similar to those of most schemes. Imports only the
rest of `data.synthetic` and `runtime`.
"""
