"""The training loop. Imports `inference` and the packages that `inference` may import."""
