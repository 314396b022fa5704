"""The process and its devices: what must happen before jax is imported, files, locks, signals,
terminals. Imports no other package.
"""
