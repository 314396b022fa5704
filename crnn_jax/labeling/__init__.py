"""Labels a folder of images on a local page: the order, the label file, the estimate, the reader
that adapts in the background, and the server. May import everything except analysis, interop and
cli.
"""
