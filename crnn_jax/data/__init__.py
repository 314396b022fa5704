"""Files to arrays: folders, label files, images, normalization, augmentation, generated sets.
Imports `models` and `runtime`.
"""
