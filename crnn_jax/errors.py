"""What a person can mend: every message says what was wrong, where, and what to do."""

from __future__ import annotations


class CrnnError(Exception):
    """Base of all errors that are meant for the person at the keyboard."""


class ConfigError(CrnnError):
    """A key that does not exist, or a value that cannot be."""


class DataError(CrnnError):
    """Images or labels that cannot be used; names every offending file."""


class RunError(CrnnError):
    """A run directory that cannot be used: of another config, unwritable, incomplete."""


class TrainingError(CrnnError):
    """Training that cannot go on: the loss is no longer a number."""
