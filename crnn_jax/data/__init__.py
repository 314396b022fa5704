"""Turns files into arrays: folders, label files, images, normalization, augmentation, generation.

Imports `runtime`.
"""
