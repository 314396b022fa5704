"""Turns records of runs into tables, plots and pages, without jax where only records are read.

Imports `training` and what `training` may import.
"""
