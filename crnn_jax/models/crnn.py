"""The CRNN: images to logits. Flax is imported nowhere else.

The network is `ocr_model_v1` of Keras' captcha_ocr example (A. K. Nain, 2020), layer for
layer, with Keras' initializers; at 200x50 gray and 19 symbols it has 432,596 parameters.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.nn import initializers
from jaxtyping import Float, Key, Real

from crnn_jax.charset import Charset
from crnn_jax.config import DataConfig, ModelConfig
from crnn_jax.models import conv_pool, lstm


class Dropout(NamedTuple):
    """Inverted dropout with a separate key for each example.

    The masks of an example therefore do not depend on the shard or the device that holds it. The
    scale, unlike the rate of nn.Dropout, may be traced, so that one compiled step can turn dropout
    on and off.
    """

    keys: Key[Array, " B"]
    scale: Array | float  # multiplies the rates; 0 turns dropout off

    def __call__(
        self, x: Float[Array, "B ..."], rate: float, name: str, shape: Sequence[int]
    ) -> Float[Array, "B ..."]:
        """Drops entries of x with masks of `shape`, which broadcasts over an example.

        Different names draw different masks.
        """
        if rate == 0:
            return x
        keep = 1 - jnp.asarray(self.scale * rate, x.dtype)

        def mask(key: Array) -> Array:
            stream = jax.random.fold_in(key, zlib.crc32(name.encode()))
            return jax.random.bernoulli(stream, keep, tuple(shape))

        return jnp.where(jax.vmap(mask)(self.keys), x / keep, 0)


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("mean", "std"),
    meta_fields=("network", "per_image"),
)
@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A network and the normalization of its images.

    A pytree with the leaves `mean` and `std`: compiled programs take them as arguments, so that
    runs whose training sets differ share one program. `apply` always normalizes.
    """

    network: CRNN
    # Arrays [C] in pixel values, or the objects that jax puts in their place during tracing.
    mean: Any
    std: Any
    per_image: bool  # then normalize each image by itself

    @property
    def config(self) -> ModelConfig:
        """The config of the network."""
        return self.network.config

    @property
    def num_classes(self) -> int:
        """The number of classes K: the symbols and the blank."""
        return self.network.num_classes

    def normalize(self, images: Real[Array, "B W H C"]) -> Float[Array, "B W H C"]:
        """Converts pixels to f32 of mean 0 and standard deviation 1."""
        shape = (1,) * (images.ndim - 1) + (-1,)
        x = images.astype(jnp.float32) - jnp.asarray(self.mean, jnp.float32).reshape(shape)
        x = x / jnp.asarray(self.std, jnp.float32).reshape(shape)
        return normalize_each(x) if self.per_image else x


class CRNN(nn.Module):
    """Maps normalized pixels to logits; T is W after pooling.

    The logits are not normalized: the softmax of Keras' last layer is part of the loss here.
    """

    config: ModelConfig
    num_classes: int  # K
    # The class of each output of the last layer after the first K: see `add_other_cases`.
    other_cases: tuple[int, ...] = ()

    @nn.compact
    def __call__(
        self, x: Float[Array, "B W H C"], dropout: Dropout | None = None
    ) -> Float[Array, "B T K"]:
        c = self.config
        for i, (features, pool) in enumerate(zip(c.conv_features, c.pools, strict=True), 1):
            if c.norm == "layer" or pool != (2, 2):
                x = Conv(features, name=f"Conv{i}")(x)
                if c.norm == "layer":
                    x = nn.LayerNorm(name=f"norm{i}")(x)
                x = conv_pool.max_pool(nn.relu(x), *pool)
            else:
                x = ConvReluPool(features, name=f"Conv{i}")(x)
        x = x.reshape(*x.shape[:2], -1)  # [B, T, H C], as Keras' Reshape orders them
        x = nn.relu(_dense(c.dense_features, "dense1")(x))
        if dropout:
            x = dropout(x, c.dropout, "dense1", x.shape[1:])
        for i, units in enumerate(c.lstm_units):
            name = f"bidirectional_{i}" if i else "bidirectional"
            if c.cell == "gru":
                if dropout:
                    x = dropout(x, c.lstm_dropout, name, (1, x.shape[2]))
                x = BiGRU(units, name=name)(x)
            else:
                x = BiLSTM(units, c.lstm_dropout, name=name)(x, dropout)
        outputs = _dense(self.num_classes + len(self.other_cases), "dense2")(x)
        return add_other_cases(outputs, self.other_cases)


def add_other_cases(
    outputs: Float[Array, "B T O"], classes: Sequence[int]
) -> Float[Array, "B T K"]:
    """Adds the probabilities of the last E outputs to those of E different classes; K is O - E.

    The sum of all probabilities stays the same, so a softmax of the result needs no correction.
    """
    if not classes:
        return outputs
    logits, others = outputs[..., : -len(classes)], outputs[..., -len(classes) :]
    index = np.array(classes)
    return logits.at[..., index].set(jnp.logaddexp(logits[..., index], others))


def normalize_each(x: Float[Array, "B W H C"]) -> Float[Array, "B W H C"]:
    """Scales each image to mean 0 in each channel and standard deviation 1 over all channels.

    Brightness and contrast say nothing about the text. A uniform image becomes zeros.
    """
    x = x - jnp.mean(x, axis=(-3, -2), keepdims=True)
    variance = jnp.mean(x * x, axis=(-3, -2, -1), keepdims=True)
    return x / jnp.sqrt(variance + 1e-6)  # far below the standard deviation of one gray level


class ConvReluPool(nn.Module):
    """Keras' Conv2D(features, 3, activation="relu", padding="same") and MaxPooling2D."""

    features: int  # D

    @nn.compact
    def __call__(self, x: Float[Array, "B W H C"]) -> Float[Array, "B W//2 H//2 D"]:
        return conv_pool.conv_relu_pool(x, *_kernel_and_bias(self, x.shape[-1]))


def _kernel_and_bias(module: Conv | ConvReluPool, channels: int) -> tuple[Array, Array]:
    """The parameters of a 3x3 convolution."""
    shape = (3, 3, channels, module.features)
    kernel: Array = module.param("kernel", initializers.he_normal(), shape)
    bias: Array = module.param("bias", initializers.zeros, shape[-1:])
    return kernel, bias


class Conv(nn.Module):
    """Keras' Conv2D(features, 3, padding="same")."""

    features: int  # D

    @nn.compact
    def __call__(self, x: Float[Array, "B W H C"]) -> Float[Array, "B W H D"]:
        kernel, bias = _kernel_and_bias(self, x.shape[-1])
        return conv_pool.conv(x, kernel) + bias[None, None, None]


class BiLSTM(nn.Module):
    """Keras' Bidirectional(LSTM(units, return_sequences=True, dropout=rate))."""

    units: int
    rate: float  # dropout rate

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], dropout: Dropout | None = None
    ) -> Float[Array, "B T 2*{self.units}"]:
        features, units = x.shape[-1], self.units
        directions = [
            lstm.Weights(
                self.param(f"{name}_kernel", initializers.glorot_uniform(), (features, 4 * units)),
                self.param(
                    f"{name}_recurrent_kernel", initializers.orthogonal(), (units, 4 * units)
                ),
                self.param(f"{name}_bias", _unit_forget_bias, (4 * units,)),
            )
            for name in ("forward", "backward")
        ]
        if dropout is None:
            return lstm.bilstm(x, x, *directions)
        # One mask for all time steps, and a separate one for each direction.
        x_forward, x_backward = (
            dropout(x, self.rate, f"{self.name}/{way}", (1, features))
            for way in ("forward", "backward")
        )
        return lstm.bilstm(x_forward, x_backward, *directions)


class BiGRU(nn.Module):
    """Flax's gated recurrent unit, in both directions."""

    units: int

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T 2*{self.units}"]:
        forward, backward = (nn.GRUCell(self.units, name=name) for name in ("forward", "backward"))
        return jnp.asarray(nn.Bidirectional(nn.RNN(forward), nn.RNN(backward))(x))


def build(
    config: ModelConfig,
    charset: Charset,
    mean: Sequence[float],
    std: Sequence[float],
    per_image: bool,
) -> Model:
    """Returns the model of a config, both for training and for a checkpoint."""
    # In 64 bits, as in the records; compiled programs take them in 32.
    first, second = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    network = CRNN(config, charset.num_classes, charset.classes_of_other_cases)
    return Model(network, first, second, per_image)


def init(model: Model, key: Key[Array, ""], config: DataConfig) -> Any:
    """Returns fresh parameters, which depend on the key only."""
    return _init(key, model.network, (1, config.width, config.height, config.channels))


@functools.partial(jax.jit, static_argnums=(1, 2))
def _init(key: Array, network: CRNN, shape: tuple[int, ...]) -> Any:
    return network.init(key, jnp.zeros(shape))["params"]


def apply(
    model: Model,
    params: Any,
    images: Real[Array, "B W H C"],
    dropout: Dropout | None = None,
) -> Float[Array, "B T K"]:
    """Returns the logits of images, given as pixels from 0 to 255. Training passes `dropout`."""
    x = model.normalize(images)
    # Flax annotates the result as possibly a pair, which it is only with `mutable`.
    return model.network.apply({"params": params}, x, dropout)  # type: ignore[return-value]


def parameter_table(params: Any) -> str:
    """Returns the content of `params.txt`: a line for each parameter and layer, and the total."""
    lines = [f"{'parameter':<44}{'shape':<20}{'count':>9}"]
    total = 0
    for layer in sorted(params, key=_layer_order):
        count = 0
        for name, value in by_name({layer: params[layer]}).items():
            lines.append(f"{name:<44}{value.shape!s:<20}{value.size:>9,}")
            count += value.size
        lines.append(f"{layer:<64}{count:>9,}")
        total += count
    return "\n".join([*lines, f"{'total':<64}{total:>9,}"]) + "\n"


def by_name(params: Any) -> dict[str, Any]:
    """Returns the leaves of a tree by names like Conv1/kernel, in their order."""
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def first_not_finite(params: Any) -> str | None:
    """Returns the name of the first array with values that are not finite, or None."""
    arrays = by_name(params).items()
    return next((name for name, array in arrays if not np.isfinite(array).all()), None)


def params_sha256(params: Any) -> str:
    """Returns the digest of the names, shapes and bytes of the parameters, in order of name."""
    digest = hashlib.sha256()
    for name, leaf in by_name(params).items():
        array = np.asarray(leaf)
        digest.update(f"{name} {array.shape} {array.dtype.str}\n".encode() + array.tobytes())
    return digest.hexdigest()


def _dense(features: int, name: str) -> nn.Dense:
    return nn.Dense(features, kernel_init=initializers.glorot_uniform(), name=name)


def _unit_forget_bias(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Returns zeros, with ones in the second quarter, the forget gate (Jozefowicz et al. 2015)."""
    del key
    return jnp.zeros(shape, dtype).at[shape[0] // 4 : shape[0] // 2].set(1)


def _layer_order(name: str) -> tuple[int, int, str]:
    """A sort key that gives the order of the forward pass, kind by kind."""
    kinds = ("Conv", "norm", "dense1", "bidirectional", "dense2")
    kind = next(i for i, kind in enumerate(kinds) if name.startswith(kind))
    number = re.search(r"\d+", name)  # Conv10 comes after Conv2, and bidirectional before _2
    return kind, int(number[0]) if number else 0, name
