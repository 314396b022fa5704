import jax
import jax.numpy as jnp
import pytest

from crnn_jax.runtime import xla_options


@pytest.fixture(autouse=True)
def no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLA_FLAGS", raising=False)


def test_a_cpu_is_given_what_its_xla_knows() -> None:
    wanted = {"xla_backend_optimization_level": 2, "xla_no_such_option": True}
    assert xla_options.options(wanted) == {"xla_backend_optimization_level": 2}


def test_what_the_user_s_flags_say_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")
    assert xla_options.options(xla_options.READING) == {}


def test_another_backend_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert xla_options.options(xla_options.TRAINING) == {}


def test_the_options_reach_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option that XLA rejects raises at the first call, not at the decoration."""
    monkeypatch.setattr(xla_options, "options", lambda _: {"xla_no_such_option": True})
    double = xla_options.jit_reading(lambda x: 2 * x)
    with pytest.raises(Exception, match="xla_no_such_option"):
        double(jnp.float32(1))


def test_static_arguments_and_names_are_jit_s() -> None:
    power = xla_options.jit_reading(lambda x, *, n: x**n, static_argnames=("n",))
    assert power(jnp.float32(3), n=2) == 9
