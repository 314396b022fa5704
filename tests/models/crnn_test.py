"""The identity of the model, and its parity with the reference in Keras."""

import functools
import string
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crnn_jax import config as config_lib
from crnn_jax.charset import Charset
from crnn_jax.models import crnn, ctc_loss, network
from experiments import base

SYMBOLS = string.digits + string.ascii_letters
CONFIG = config_lib.from_config_dict(base.get_config())
# One program: eager code would compile every operation of every shape by itself.
apply = jax.jit(crnn.apply)


def _build(
    num_classes: int = 20,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    abstract: bool = False,
    **overrides: Any,
) -> tuple[crnn.Model, Any]:
    """Returns a model and its initial parameters, or only their shapes and types."""
    values = base.get_config()
    values.data.normalize = "set"  # with the given moments
    values.update_from_flattened_dict({k.replace("__", "."): v for k, v in overrides.items()})
    config = config_lib.from_config_dict(values)
    per_image = config.data.normalize == "image"
    charset = Charset(SYMBOLS[: num_classes - 1])
    model = crnn.build(config.model, charset, mean, std, per_image)
    init = functools.partial(crnn.init, model, jax.random.key(0), config.data)
    return model, jax.eval_shape(init) if abstract else init()


@pytest.fixture(scope="module")
def reference() -> tuple[crnn.Model, Any]:
    return _build()


def test_every_layer_has_the_reference_s_parameters(reference: tuple[crnn.Model, Any]) -> None:
    _, params = reference
    counts = {name: sum(p.size for p in jax.tree.leaves(layer)) for name, layer in params.items()}
    assert counts == {
        "Conv1": 320,
        "Conv2": 18_496,
        "dense1": 49_216,
        "bidirectional": 197_632,
        "bidirectional_1": 164_352,
        "dense2": 2_580,
    }
    assert sum(counts.values()) == 432_596


def test_the_parameter_table_shows_them_in_the_order_of_the_forward_pass(
    reference: tuple[crnn.Model, Any],
) -> None:
    rows = [line.split() for line in crnn.parameter_table(reference[1]).splitlines()]
    layers = [(row[0], row[1]) for row in rows if len(row) == 2]
    assert layers == [
        ("Conv1", "320"),
        ("Conv2", "18,496"),
        ("dense1", "49,216"),
        ("bidirectional", "197,632"),
        ("bidirectional_1", "164,352"),
        ("dense2", "2,580"),
        ("total", "432,596"),
    ]
    names = [*(f"Conv{i}" for i in range(1, 12)), "dense1", "bidirectional", "bidirectional_2"]
    params = {name: {"kernel": jnp.zeros(1)} for name in reversed([*names, "bidirectional_10"])}
    first = [line.split()[0] for line in crnn.parameter_table(params).splitlines()]
    assert [name for name in first if name in params] == [*names, "bidirectional_10"]


def test_outputs_of_the_layers_have_the_reference_s_shapes(
    reference: tuple[crnn.Model, Any],
) -> None:
    model, params = reference
    images = jax.ShapeDtypeStruct((3, 200, 50, 1), jnp.uint8)

    def outputs(params: Any, images: Any) -> tuple[Any, Any]:
        kept: dict[str, Any] = {"capture_intermediates": True, "mutable": ["intermediates"]}
        logits, state = model.network.apply({"params": params}, model.normalize(images), **kept)
        return logits, state["intermediates"]

    logits, layers = jax.eval_shape(outputs, params, images)
    assert logits.shape == (3, 50, 20)
    shapes = {name: layers[name]["__call__"][0].shape for name in params}
    assert shapes == {
        "Conv1": (3, 100, 25, 32),  # pooled
        "Conv2": (3, 50, 12, 64),
        "dense1": (3, 50, 64),
        "bidirectional": (3, 50, 256),
        "bidirectional_1": (3, 50, 128),
        "dense2": (3, 50, 20),
    }


@pytest.mark.parametrize(
    ("width", "height", "channels", "symbols", "steps"),
    [(100, 40, 3, 26, 25), (37, 7, 1, 1, 9), (4, 4, 1, 62, 1)],
)
def test_other_sizes_alphabets_and_channel_counts(
    width: int, height: int, channels: int, symbols: int, steps: int
) -> None:
    moments = {"mean": (0.0,) * channels, "std": (1.0,) * channels}
    model, params = _build(
        symbols + 1,
        **moments,
        abstract=True,
        data__width=width,
        data__height=height,
        data__channels=channels,
    )
    images = jax.ShapeDtypeStruct((2, width, height, channels), jnp.uint8)
    logits = jax.eval_shape(lambda p, x: crnn.apply(model, p, x), params, images)
    assert logits.shape == (2, steps, symbols + 1)


def test_widths_come_from_the_config() -> None:
    sizes: dict[str, Any] = {"model__conv_features": (3, 5, 6), "model__lstm_units": (4,)}
    _, params = _build(7, abstract=True, model__dense_features=11, **sizes)
    shapes = {name: layer["kernel"].shape for name, layer in params.items() if "kernel" in layer}
    assert shapes == {
        "Conv1": (3, 3, 1, 3),
        "Conv2": (3, 3, 3, 5),
        "Conv3": (3, 3, 5, 6),
        "dense1": (6 * 6, 11),  # 50 rows halved three times
        "dense2": (8, 7),
    }
    assert params["bidirectional"]["forward_kernel"].shape == (11, 16)


@pytest.mark.parametrize("norm", ["", "layer"])
def test_pooling_follows_the_config(norm: str) -> None:
    sizes: dict[str, Any] = {
        "data__width": 16,
        "data__height": 8,
        "model__conv_features": (2, 3, 4),
    }
    rest: dict[str, Any] = {
        "model__dense_features": 5,
        "model__lstm_units": (4,),
        "model__norm": norm,
    }
    model, params = _build(7, model__pool="2x2 1x1 1x2", **sizes, **rest)
    # 8 rows, halved by the first and the last: 2, of 4 channels; 16 columns, halved once.
    assert params["dense1"]["kernel"].shape == (2 * 4, 5)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 8, 1), np.uint8)
    assert jax.eval_shape(apply, model, params, images).shape == (2, 8, 7)
    plain, _ = _build(7, abstract=True, **sizes, **rest)
    with_default, _ = _build(7, abstract=True, model__pool="2x2 2x2 2x2", **sizes, **rest)
    ones = {"kernel": np.ones((4, 5), np.float32), "bias": np.zeros(5, np.float32)}
    short = params | {"dense1": ones}
    np.testing.assert_allclose(
        apply(plain, short, images), apply(with_default, short, images), rtol=1e-5
    )


def test_initial_values_are_keras(reference: tuple[crnn.Model, Any]) -> None:
    _, params = reference
    for name, fan_in in (("Conv1", 9 * 1), ("Conv2", 9 * 32)):
        kernel = np.asarray(params[name]["kernel"])
        # he_normal: standard deviation sqrt(2 / fan_in), truncated at two untruncated ones.
        assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.15)
        assert np.abs(kernel).max() <= 2 * np.sqrt(2 / fan_in) / 0.87962566103423978
    for name, fans in (("dense1", 768 + 64), ("dense2", 128 + 20)):
        kernel = np.asarray(params[name]["kernel"])
        limit = np.sqrt(6 / fans)  # glorot_uniform
        assert 0.98 * limit < np.abs(kernel).max() <= limit
    lstm = params["bidirectional_1"]
    for direction in ("forward", "backward"):
        kernel = np.asarray(lstm[f"{direction}_kernel"])
        limit = np.sqrt(6 / (256 + 256))
        assert 0.98 * limit < np.abs(kernel).max() <= limit
        recurrent = np.asarray(lstm[f"{direction}_recurrent_kernel"])
        np.testing.assert_allclose(recurrent @ recurrent.T, np.eye(64), atol=1e-5)
        bias = np.asarray(lstm[f"{direction}_bias"])
        np.testing.assert_array_equal(bias, np.repeat([0, 1, 0, 0], 64))
    for name in ("Conv1", "Conv2", "dense1", "dense2"):
        assert not np.asarray(params[name]["bias"]).any()


def test_pixels_are_normalized_by_the_model(reference: tuple[crnn.Model, Any]) -> None:
    model, params = reference
    moments = {"mean": (100.0,), "std": (50.0,)}
    other = crnn.build(model.config, Charset(SYMBOLS[:19]), **moments, per_image=False)
    images = np.random.default_rng(0).integers(0, 256, (1, 200, 50, 1), np.uint8)
    standard = (images.astype(np.float32) - 100) / 50
    np.testing.assert_allclose(
        apply(other, params, images), apply(model, params, standard), atol=1e-6
    )


def test_probabilities_of_other_cases_are_added() -> None:
    """Outputs a, 1, B and the blank; then A and b."""
    shares = np.array([[[0.1, 0.2, 0.3, 0.25, 0.05, 0.1]]], np.float32)
    logits = network.add_other_cases(jnp.log(shares) + 7, (0, 2))
    added = np.array([[[0.15, 0.2, 0.4, 0.25]]])
    np.testing.assert_allclose(jax.nn.softmax(logits), added, rtol=1e-5)
    np.testing.assert_allclose(jax.nn.logsumexp(logits, axis=-1), 7, rtol=1e-6)


def test_a_letter_has_an_output_for_each_case() -> None:
    """The same network without the addition gives the single outputs."""
    small: Any = {"model__lstm_units": (8,), "model__conv_features": (4,)}
    plain, params = _build(15, **small)
    charset = Charset("0123456789ab", other_cases="BA")
    model = crnn.build(plain.config, charset, [0.0], [1.0], plain.per_image)
    own = jax.eval_shape(lambda: crnn.init(model, jax.random.key(0), CONFIG.data))
    assert own["dense2"]["kernel"].shape == params["dense2"]["kernel"].shape == (16, 15)
    images = np.random.default_rng(0).integers(0, 256, (2, 200, 50, 1), np.uint8)
    shares = np.exp(np.asarray(apply(plain, params, images), np.float64))
    expected = shares[..., :13]
    expected[..., [11, 10]] += shares[..., 13:]
    np.testing.assert_allclose(np.exp(apply(model, params, images)), expected, rtol=1e-5)


def test_an_image_normalized_by_itself_has_mean_0_and_std_1() -> None:
    # Two columns of red, 10 and 30, and an even green: deviations 10 and 0, in all sqrt(50).
    x = jnp.asarray([[[[0.10, 0.5]], [[0.30, 0.5]]]])  # [1, 2, 1, 2]
    expected = np.array([[[[-2.0, 0.0]], [[2.0, 0.0]]]]) / np.sqrt(2)
    np.testing.assert_allclose(crnn.normalize_each(x), expected, rtol=1e-4)
    np.testing.assert_array_equal(crnn.normalize_each(jnp.full((1, 4, 4, 1), 0.25)), 0)


def test_light_and_contrast_are_nothing_to_a_model_that_normalizes_per_image() -> None:
    small: dict[str, Any] = {"data__width": 16, "data__height": 8, "model__lstm_units": (4,)}
    moments: dict[str, Any] = {"mean": (0.0,), "std": (255.0,)}
    model, params = _build(data__normalize="image", **moments, **small)
    images = np.random.default_rng(0).uniform(0, 255, (2, 16, 8, 1)).astype(np.float32)
    dark = images * np.array([0.2, 0.5], np.float32).reshape(2, 1, 1, 1) + 20
    logits = apply(model, params, images)
    np.testing.assert_allclose(apply(model, params, dark), logits, atol=1e-3)
    by_set, _ = _build(abstract=True, **moments, **small)
    other = np.asarray(apply(by_set, params, dark)) - apply(by_set, params, images)
    assert np.abs(other).max() > 1e-2


def test_each_dropout_rate_acts_where_it_should() -> None:
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (1, 16, 8, 1), np.uint8))
    small: dict[str, Any] = {
        "data__width": 16,
        "data__height": 8,
        "model__conv_features": (4,),
        "model__dense_features": 64,
        "model__lstm_units": (8,),
    }

    def reader(dropout: Any, lstm_dropout: Any, cell: str = "lstm") -> Callable[..., Any]:
        rates: dict[str, Any] = {"model__dropout": dropout, "model__lstm_dropout": lstm_dropout}
        rates["model__cell"] = cell
        model, params = _build(5, **small, **rates)
        call = jax.jit(
            lambda keys, scale: crnn.apply(model, params, images, network.Dropout(keys, scale))
        )
        return lambda seed, scale: np.asarray(
            call(jax.random.split(jax.random.key(seed), 1), scale)
        )

    both = reader(0.5, 0.5)
    plain = both(1, 0.0)
    np.testing.assert_array_equal(both(1, 1.0), both(1, 1.0))
    assert not np.array_equal(both(1, 1.0), both(2, 1.0))
    for one in (reader(0.5, 0.0), reader(0.0, 0.5)):
        assert not np.array_equal(one(1, 1.0), plain)
        np.testing.assert_array_equal(one(1, 0.0), plain)
    of_gru = reader(0.0, 0.5, "gru")
    assert not np.array_equal(of_gru(1, 1.0), of_gru(1, 0.0))


def test_logits_loss_and_gradients_equal_keras(
    reference: tuple[crnn.Model, Any], keras_files: Path
) -> None:
    """Given the weights of the reference, logits, loss and gradients equal those of Keras."""
    model, _ = reference
    with np.load(keras_files / "reference.npz") as file:
        stored = dict(file)

    def tree(prefix: Any) -> Any:
        result: dict[str, dict[str, np.ndarray]] = {}
        for key, value in stored.items():
            if key.startswith(prefix):
                layer, name = key.removeprefix(prefix).split("/")
                result.setdefault(layer, {})[name] = value
        return result

    params, images, labels = (
        tree("weights/"),
        *map(jnp.asarray, (stored["images"], stored["labels"])),
    )

    def loss_and_logits(params: Any) -> tuple[Any, Any]:
        logits = crnn.apply(model, params, images)
        return ctc_loss.ctc_loss(logits, labels).mean(), logits

    (loss, logits), grads = jax.jit(jax.value_and_grad(loss_and_logits, has_aux=True))(params)
    # Logits are about 1; sums have up to 768 float32 terms in another order.
    np.testing.assert_allclose(logits, stored["logits"], atol=2e-6)
    np.testing.assert_allclose(loss, stored["loss"], rtol=1e-5)
    expected = tree("grads/")
    structures: list[Any] = [jax.tree.structure(tree) for tree in (grads, expected)]
    assert structures[0] == structures[1]
    for layer, values in expected.items():
        for name, value in values.items():
            scale = np.abs(value).max()
            np.testing.assert_allclose(
                grads[layer][name], value, atol=2e-4 * scale, err_msg=f"{layer}/{name}"
            )


def test_variants_change_the_count_by_hand() -> None:
    def count(**changes: Any) -> int:
        table = crnn.parameter_table(_build(abstract=True, **changes)[1])
        return int(table.split()[-1].replace(",", ""))

    # A scale and an offset for each of 32 and 64 channels.
    assert count(model__norm="layer") == 432_596 + 2 * (32 + 64)
    # Three gates instead of four, and the second bias of flax on the recurrent candidate:
    # 3 (D U + U U + U) + U for each direction, D and U of 64, 128 and 256, 64.
    lstms = sum(2 * 4 * (d * u + u * u + u) for d, u in ((64, 128), (256, 64)))
    grus = sum(2 * (3 * (d * u + u * u + u) + u) for d, u in ((64, 128), (256, 64)))
    assert count(model__cell="gru") == 432_596 - lstms + grus
