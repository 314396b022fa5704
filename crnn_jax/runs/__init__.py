"""The files of a run: its directory, checkpoints and provenance; and sweeps of runs.

Imports `data` and the packages that `data` may import. Orbax is imported in `checkpoint` only.
"""
