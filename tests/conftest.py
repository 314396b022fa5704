"""Strict numerics, and a small data set that is cheap for every test."""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.helpers import compiling, shapes  # noqa: F401  (before jax and the package)
from tests.helpers.fixtures import MakeConfig

# Many tests, and the processes that some of them start, compile the same programs.
CACHE = Path(__file__).resolve().parents[1] / ".pytest_cache" / "xla"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.fspath(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tests replace functions, and a stored program would not show it.
os.environ.setdefault("CRNN_JAX_PROGRAM_STORE", "")
# A shell starts background jobs with Ctrl-C ignored, nohup with SIGHUP, and processes of tests
# would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
# The same on every machine: as with two cores.
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")

import jax
import pytest

from crnn_jax import config as config_lib
from crnn_jax.data.synthetic.wide import render
from crnn_jax.runtime import allocator
from crnn_jax.training import train
from experiments import tiny
from tests.helpers import images
from tests.helpers.quiet import TRAINED

# Tracing makes many objects, and the garbage collector took a quarter of its time searching
# them and the thousands of objects of the imports for cycles.
gc.collect()
gc.freeze()
gc.set_threshold(50_000, 20, 20)

# Without any optimization an image of the wide generator takes ten times as long.
render.images = jax.jit(
    render.images.__wrapped__, compiler_options={"xla_backend_optimization_level": 1}
)

# Broadcasting arrays of different rank is an error.
jax.config.update("jax_numpy_rank_promotion", "raise")

# In bytes. Programs that no test calls again took a process to 5 GB. A lower limit costs time: with
# 900 MB, processes stayed below 1.8 GB, and the tests took a tenth longer.
MOST_MEMORY = 1500 * 2**20


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Forgets all compiled programs after a file of tests if the process has become large."""
    result = yield
    if nextitem and nextitem.path != item.path and memory() > MOST_MEMORY:
        jax.clear_caches()
        gc.collect()
        allocator.return_memory()
    return result


def memory() -> int:
    """Returns the resident memory of this process in bytes; 0 where /proc does not tell it."""
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


REAL_SET = Path(__file__).resolve().parents[2] / "shared" / "data" / "captcha_images_v2"


@pytest.fixture(scope="session")
def real_set() -> Path:
    if not REAL_SET.is_dir():
        pytest.skip(f"the real data set is not at {REAL_SET}")
    return REAL_SET


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Returns a folder that one process of xdist creates and all of them read."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        folder = factory.mktemp(name)
        make(folder)
        return folder
    folder = factory.getbasetemp().parent / name
    with (factory.getbasetemp().parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:  # so that the next process does not use an incomplete folder
                shutil.rmtree(folder)
                raise
    return folder


@pytest.fixture(scope="session")
def captchas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images with distinct texts over 'abc7', 2 to 4 characters. Do not write there."""
    return once(tmp_path_factory, "captchas", images.write_captchas)


@pytest.fixture
def tiny_config(captchas: Path) -> MakeConfig:
    """Returns a function that makes a Config for the small set from changes by dotted key.

    A dot can be written as __. The model has one LSTM layer, because tracing and compiling a step
    of two takes half as long again.
    """

    def make(changes: Mapping[str, object] = {}, **overrides: object) -> config_lib.Config:
        values = tiny.get_config()
        values.update_from_flattened_dict(
            {"data.dir": os.fspath(captchas), "model.lstm_units": (8,), **changes}
            | {k.replace("__", "."): v for k, v in overrides.items()}
        )
        return config_lib.from_config_dict(values)

    return make


@pytest.fixture(scope="session")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of tests/helpers/keras_reference.py: reference.npz, and models in Keras formats.

    Keras runs on its JAX backend, in a process of its own, because it does not pass our strict
    settings.
    """
    script = Path(__file__).parent / "helpers" / "keras_reference.py"

    def make(folder: Path) -> None:
        environment = {**os.environ, "KERAS_BACKEND": "jax", "KERAS_HOME": str(folder)}
        command: list[str | Path] = [sys.executable, script, folder / "reference.npz"]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    return once(tmp_path_factory, "keras", make)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, captchas: Path) -> Path:
    """A finished run that reads some of the small set and misreads some. Do not write there."""
    values = tiny.get_config()
    values.update_from_flattened_dict({"data.dir": os.fspath(captchas), **TRAINED})
    config = config_lib.from_config_dict(values)
    return once(
        tmp_path_factory, "trained", lambda folder: train.train_and_evaluate(config, folder)
    )
