"""Records of runs to tables, plots and pages, without jax where only records are read. Imports
`training` and what `training` may import.
"""
