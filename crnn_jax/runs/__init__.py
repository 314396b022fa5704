"""What a run leaves on disk: its directory, checkpoints, provenance, and sweeps of runs. Imports
`data` and what `data` may import; orbax is imported in `checkpoint` only.
"""
