"""The wide generator: every image draws its own style from one family, so that a reader trained on
it has seen something like most schemes. Imports the rest of `data.synthetic` and `runtime` only."""
