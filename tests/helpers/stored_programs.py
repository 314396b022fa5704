"""Functions with stored programs that note when they are traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from crnn_jax.models import conv_pool
from crnn_jax.runtime import program_files, program_store

traced: list[str] = []  # the functions that were traced, in order
factor = 2  # of `scaled`


def power(tree: dict[str, Any], x: Any, *, n: int) -> tuple[Any, Any]:
    traced.append("power")
    return tree["a"] * x**n, x


def scaled(x: Any) -> Any:
    traced.append("scaled")
    return factor * x


def accumulated(total: Any, x: Any) -> tuple[Any, Any]:
    traced.append("accumulated")
    return total + x.sum(), x


def convolved(x: Any, kernel: Any) -> Any:
    traced.append("convolved")
    return conv_pool.conv(x, kernel)


def process(function: Callable[..., Any], donated: Sequence[int] = ()) -> Callable[..., Any]:
    """Returns the function as another process would have it: with programs on disk only."""
    static = ("n",) if function is power else ()
    return program_store.jit(function, static_argnames=static, donated=donated)


def programs(store: Path) -> list[Path]:
    return sorted(store.rglob("*.program"))


def forget() -> None:
    """Makes this process find out again what it runs, and in which environment."""
    program_files.is_command.cache_clear()
    program_files._folder.cache_clear()
    program_files.is_usable.cache_clear()
    program_files._sources.cache_clear()
