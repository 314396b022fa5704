"""Labels a folder of images on a local page.

Contains the order, the label file, the estimate, the adaptation in the background, and the server.
May import everything except analysis, interop, serving and cli.
"""
