"""A process finds the programs of an earlier one without tracing them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

from crnn_jax.runtime import program_files, program_store

traced: list[str] = []  # the functions that were traced, in order


def power(tree: dict[str, Any], x: Any, *, n: int) -> tuple[Any, Any]:
    traced.append("power")
    return tree["a"] * x**n, x


FACTOR = 2


def scaled(x: Any) -> Any:
    traced.append("scaled")
    return FACTOR * x


def twice(x: Any) -> Any:
    traced.append("twice")
    return 2 * x


def forget() -> None:
    """Makes this process find out again what its environment is."""
    program_files._folder.cache_clear()
    program_files._sources.cache_clear()


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A store, and a cache of jax that the tests do not share."""
    folder = tmp_path / "programs"
    monkeypatch.setenv(program_files.FOLDER, os.fspath(folder))
    command = program_files._PACKAGE / "__main__.py"
    monkeypatch.setattr(sys.modules["__main__"], "__file__", os.fspath(command), raising=False)
    forget()
    traced.clear()
    cache = jax.config.jax_compilation_cache_dir
    compilation_cache.reset_cache()
    jax.config.update("jax_compilation_cache_dir", os.fspath(tmp_path / "cache"))
    yield folder
    jax.config.update("jax_compilation_cache_dir", cache)
    compilation_cache.reset_cache()
    forget()


def process(function: Callable[..., Any], static: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Returns the function as another process would have it: with programs on disk only."""
    program = program_store.Program(function, function.__qualname__, dict)
    return program_store.jit(program, lambda: jax.jit(function, static_argnames=static), static)


def programs(store: Path) -> list[Path]:
    return sorted(store.rglob("*.program"))


def test_a_second_process_calls_a_program_without_tracing(store: Path) -> None:
    tree = {"a": np.array([1, 2], np.float32)}
    for _ in range(2):
        call = process(power, ("n",))
        for _ in range(2):
            product, x = call(tree, np.float32(3), n=2)
            np.testing.assert_array_equal(product, [9, 18])
            assert x == 3
    assert traced == ["power"]
    assert len(programs(store)) == 1


def test_what_a_program_depends_on_finds_another_one(store: Path) -> None:
    tree = {"a": np.array([1, 2], np.float32)}
    assert process(power, ("n",))(tree, np.float32(3), n=2)[0].tolist() == [9, 18]
    assert process(power, ("n",))(tree, np.float32(3), n=3)[0].tolist() == [27, 54]
    assert process(power, ("n",))({"a": np.float32(1)}, np.float32(3), n=2)[0].tolist() == 9
    assert process(power, ("n",))(tree, np.int32(3), n=2)[1].dtype == np.int32
    assert process(power, ("n",))(tree, 3.0, n=2)[0].tolist() == [9, 18]
    assert process(twice)(np.float32(3)) == 6
    assert len(programs(store)) == len(traced) == 6


def accumulated(total: Any, x: Any) -> tuple[Any, Any]:
    traced.append("accumulated")
    return total + x.sum(), x


def test_a_program_of_several_devices_that_takes_the_memory_of_its_argument(store: Path) -> None:
    """As a training step does. The total stays right, though storing calls the program twice."""
    both = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("batch",))
    whole, split = (
        jax.sharding.NamedSharding(both, jax.sharding.PartitionSpec(*axes))
        for axes in ((), ("batch",))
    )
    x = jax.device_put(np.arange(4.0, dtype=np.float32), split)
    for _ in range(2):
        call = program_store.jit(
            program_store.Program(accumulated, "accumulated", dict, donated=(0,)),
            lambda: jax.jit(accumulated, donate_argnums=0),
        )
        total = jax.device_put(np.float32(1), whole)
        for _ in range(2):
            total, _ = call(total, x)
        assert total == 1 + 2 * (0 + 1 + 2 + 3)
        assert total.sharding.device_set == {*jax.devices()[:2]}
    one, _ = call(np.float32(1), np.array([5], np.float32))  # on one device: another program
    assert one == 6
    assert traced == ["accumulated", "accumulated"]


def test_two_programs_that_take_turns_keep_apart(store: Path) -> None:
    """Their arguments have the same shapes at the first level."""
    call = process(power, ("n",))
    for a in (np.array([1, 2], np.float32), np.float32(3)) * 2:
        product, _ = call({"a": a}, np.float32(3), n=2)
        np.testing.assert_array_equal(product, 9 * a)
    assert call({"a": np.int32(2)}, np.int32(3), n=2)[0].dtype == np.int32
    assert len(traced) == 3


@pytest.mark.parametrize("change", ["config", "flags", "processor", "cores", "optax"])
def test_another_environment_finds_no_program(
    store: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    change: str,
) -> None:
    process(twice)(np.float32(3))
    if change == "config":
        request.addfinalizer(lambda: jax.config.update("jax_default_matmul_precision", None))
        jax.config.update("jax_default_matmul_precision", "highest")
    elif change == "flags":
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=false")
    elif change == "optax":
        version = program_files.metadata.version
        monkeypatch.setattr(
            program_files.metadata, "version", lambda name: version(name) + "9" * (name == "optax")
        )
    elif change == "processor":
        monkeypatch.setattr(program_files, "_processor", lambda: ["another"])
    else:
        monkeypatch.setattr(program_files.cpu_devices, "available", lambda: 64)
    forget()
    assert process(twice)(np.float32(3)) == 6
    assert traced == ["twice", "twice"]
    assert len(programs(store)) == 2


@pytest.mark.parametrize("place", ["package", "module", "command line"])
def test_a_change_of_a_source_file_is_seen(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    """The function is lowered again, and compiled only if the program is another one."""
    file = tmp_path / place / "models" / "layers.py"
    file.parent.mkdir(parents=True)
    file.write_text("FACTOR = 2\n")
    if place == "package":
        monkeypatch.setattr(program_files, "_PACKAGE", tmp_path / place)
        command = tmp_path / place / "__main__.py"
        monkeypatch.setattr(sys.modules["__main__"], "__file__", os.fspath(command))
    elif place == "module":  # a script that replaces a function of the package
        monkeypatch.setitem(sys.modules, "script", types.SimpleNamespace(__file__=str(file)))
    else:
        monkeypatch.setattr(sys, "argv", ["run.py", f"--config={file}:variant"])
    forget()
    assert process(scaled)(np.float32(3)) == 6
    file.write_text("FACTOR = 2  # the factor\n")
    forget()
    assert process(scaled)(np.float32(3)) == 6
    assert (len(traced), len(programs(store))) == (2, 1)
    file.write_text("FACTOR = 5\n")
    monkeypatch.setitem(globals(), "FACTOR", 5)
    forget()
    for _ in range(2):
        assert process(scaled)(np.float32(3)) == 15
    assert (len(traced), len(programs(store))) == (3, 2)


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[:100] + b"x" + b[101:]]
)
def test_a_damaged_program_is_compiled_and_stored_again(
    store: Path, damage: Callable[[bytes], bytes]
) -> None:
    process(twice)(np.float32(3))
    (file,) = programs(store)
    file.write_bytes(damage(file.read_bytes()))
    for _ in range(2):
        assert process(twice)(np.float32(4)) == 8
    assert traced == ["twice", "twice"]


def test_a_program_that_was_removed_is_stored_again(store: Path) -> None:
    """One from jax's cache could not be: see `program_store`."""
    for _ in range(2):
        for file in programs(store):
            file.unlink()
        assert process(twice)(np.float32(3)) == 6
        assert len(programs(store)) == 1


def test_a_program_from_jax_s_cache_is_not_stored_broken(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program_files, "leave_cache", lambda name: None)
    for n in (3, 4):
        for file in programs(store):
            file.unlink()
        for _ in range(2):
            assert (
                process(power, ("n",))({"a": np.ones((9, n))}, np.float32(2), n=n)[0][0, 0] == 2**n
            )


def test_a_stored_program_that_fails_is_compiled_and_not_tried_again(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has taken the memory of its argument before it failed."""

    def failing(total: jax.Array, _: Any) -> None:
        total.delete()
        raise RuntimeError("NOT_FOUND: Function fusion.9 not found")

    def call(total: Any) -> Any:
        program = program_store.Program(accumulated, "accumulated", dict, donated=(0,))
        jitted = program_store.jit(program, lambda: jax.jit(accumulated, donate_argnums=0))
        return jitted(jnp.asarray(total), np.array([5], np.float32))[0]

    assert call(np.float32(1)) == 6
    with monkeypatch.context() as patch:
        patch.setattr(program_files, "load", lambda *_: failing)
        assert call(np.float32(2)) == 7
    assert call(np.float32(3)) == 8  # not loaded
    assert traced == ["accumulated"] * 3
    assert len(list(store.rglob("*.refused"))) == 1


def test_what_no_other_process_would_find_is_not_stored(store: Path) -> None:
    """The repr of such a static argument is its address."""

    class Exponent:
        def __rpow__(self, x: Any) -> Any:
            return x**2

    tree = {"a": np.array([1, 2], np.float32)}
    assert process(power, ("n",))(tree, np.float32(3), n=Exponent())[0].tolist() == [9, 18]
    assert programs(store) == []


def root(x: Any) -> Any:
    return jnp.linalg.cholesky(x)


def test_a_program_that_calls_another_library_is_not_stored(store: Path) -> None:
    """A process that loaded it would end with a segmentation fault."""
    for _ in range(2):
        found = process(root)(np.array([[4, 2], [2, 2]], np.float32))
        np.testing.assert_allclose(found, [[2, 0], [1, 1]], atol=1e-6)
    assert programs(store) == []


START = """
import __main__, crnn_jax
__main__.__file__ = crnn_jax.__path__[0] + "/__main__.py"  # as a command
from crnn_jax import runtime
runtime.configure()
import jax
from crnn_jax import config
from crnn_jax.charset import Charset
from crnn_jax.models import crnn
values = config.from_changes({"model.lstm_units": (4,)})
model = crnn.build(values.model, Charset("ab"), [0.0], [1.0], False)
params = crnn.init(model, jax.random.key(0), values.data)
print(crnn.params_sha256(params))
"""


def test_orthogonal_weights_are_drawn_by_a_stored_program(tmp_path: Path) -> None:
    """It calls LAPACK, which a process has to set up before: else it ends without a word."""
    script = tmp_path / "start.py"
    script.write_text(START)
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": os.fspath(tmp_path / "cache")}
    environment |= {"PYTHONPATH": os.fspath(Path(__file__).parents[2]), "JAX_LOG_COMPILES": "1"}
    del environment[program_files.FOLDER]
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, script], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs.append((done.stdout, "Finished tracing _init" in done.stderr))
    digest = outputs[0][0]
    assert outputs == [(digest, True), (digest, False)]


def test_a_full_disk_costs_nothing(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(program_files.files, "write", full)
    assert process(twice)(np.float32(3)) == 6


@pytest.mark.parametrize("call", ["exists", "unlink"])
def test_a_folder_of_another_user_costs_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError("Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(program_files.Path, call, denied)
        found = process(twice)(np.float32(3))
    assert found == 6


def test_a_call_inside_another_function_is_traced_with_it(store: Path) -> None:
    inner = process(twice)
    assert jax.jit(lambda x: inner(x) + 1)(jnp.float32(3)) == 7
    assert jax.grad(lambda x: inner(x) * 1.0)(jnp.float32(3)) == 2
    assert programs(store) == []


@pytest.mark.parametrize(
    "change", ["no folder", "several processes", "another backend", "interactive", "a script"]
)
def test_nothing_is_stored(store: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    if change == "no folder":
        monkeypatch.setenv(program_files.FOLDER, "")
    elif change == "several processes":
        monkeypatch.setattr(jax, "process_count", lambda: 2)
    elif change == "another backend":
        monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    elif change == "interactive":
        monkeypatch.delattr(sys.modules["__main__"], "__file__", raising=False)
    else:
        monkeypatch.setattr(sys.modules["__main__"], "__file__", "/home/me/train.py")
    assert process(twice)(np.float32(3)) == 6
    assert programs(store) == []


def test_programs_of_environments_that_are_not_used_any_more_are_removed(store: Path) -> None:
    month = 31 * 24 * 3600
    for name, age in {"old": month, "recent": 60}.items():
        (store / name).mkdir(parents=True)
        (store / name / "x.program").write_bytes(b"")
        os.utime(store / name, (time.time() - age,) * 2)
    process(twice)(np.float32(3))
    (folder,) = (path.parent for path in programs(store) if path.parent.name != "recent")
    unused = folder / "unused.program"
    unused.write_bytes(b"")
    os.utime(unused, (time.time() - month,) * 2)
    process(power, ("n",))({"a": np.float32(1)}, np.float32(3), n=2)
    assert not unused.exists()
    unused.write_bytes(b"")
    assert not (store / "old").exists()
    assert (store / "recent").exists()
    assert len(programs(store)) == 4


def test_a_program_that_is_used_is_kept(store: Path) -> None:
    process(twice)(np.float32(3))
    month = 31 * 24 * 3600
    for file in store.rglob("*.*"):
        os.utime(file, (time.time() - month,) * 2)
    process(twice)(np.float32(3))
    process(power, ("n",))({"a": np.float32(1)}, np.float32(3), n=2)
    assert len(programs(store)) == 2


def test_an_error_of_the_arguments_refuses_no_program(store: Path) -> None:
    """Here, memory that is exhausted whatever program runs."""
    process(twice)(np.float32(3))

    class Loaded:
        def __call__(self, *_: Any) -> None:
            raise RuntimeError("RESOURCE_EXHAUSTED")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program_files, "load", lambda *_: Loaded())
        patch.setattr(jax.stages.Compiled, "__call__", Loaded.__call__)
        with pytest.raises(RuntimeError, match="EXHAUSTED"):
            process(twice)(np.float32(3))
    assert list(store.rglob("*.refused")) == []
    assert process(twice)(np.float32(3)) == 6


def test_the_second_command_traces_no_model(tmp_path: Path, trained: Path, captchas: Path) -> None:
    """By jax's own log: the first command traces the model, the second one nothing of it."""
    image = min(captchas.iterdir())
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": os.fspath(tmp_path / "cache"),
        "JAX_LOG_COMPILES": "1",
    }
    del environment[program_files.FOLDER]
    found = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-m", "crnn_jax", "predict", trained, image],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        traces = re.search("Finished tracing.* _read_greedily", done.stderr)
        found.append((done.stdout, bool(traces)))
    text = found[0][0]
    assert found == [(text, True), (text, False)]
