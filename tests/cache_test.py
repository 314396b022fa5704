import os

import pytest

from crnn_jax import cache


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/crnn_jax"),
        ({"HOME": "/home/me"}, "/home/me/.cache/crnn_jax"),
        ({"HOME": "/home/me", "JAX_COMPILATION_CACHE_DIR": "/mine"}, "/mine"),
    ],
)
def test_the_folder_is_jax_s_own_variable_or_the_user_s_cache(monkeypatch, given, folder):
    for name in ("XDG_CACHE_HOME", "HOME", "JAX_COMPILATION_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    cache.keep_programs()
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == folder
    monkeypatch.undo()
