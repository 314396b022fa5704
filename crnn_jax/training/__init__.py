"""The training loop and what it is made of. Imports `inference` and what `inference` may import."""
