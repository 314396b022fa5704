"""Runs the command line, in a process of its own or in this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crnn_jax.cli import main

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs python with arguments in a process of its own."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, **options
    )


def call(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[Any, str, str]:
    """Calls the command line in this process. Returns its status, output and errors."""
    status = main.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err
