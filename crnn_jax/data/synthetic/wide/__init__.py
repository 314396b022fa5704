"""The wide generator: every image draws its own style from one family, so that a reader trained on
it has seen images similar to most schemes. Imports only the rest of `data.synthetic` and `runtime`.
"""
