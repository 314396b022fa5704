"""An HTTP server that reads images, with bounds on everything that a client sends.

Needs the extra `serve`. Imports `inference` and what `inference` may import.
"""
