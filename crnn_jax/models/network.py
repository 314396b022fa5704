"""The layers of the CRNN. Flax is imported nowhere else.

The network is `ocr_model_v1` of Keras' captcha_ocr example (A. K. Nain, 2020), layer for
layer, with Keras' initializers; at 200x50 gray and 19 symbols it has 432,596 parameters.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.nn import initializers
from jaxtyping import Float, Key

from crnn_jax.config import ModelConfig
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


def _dense(features: int, name: str) -> nn.Dense:
    return nn.Dense(features, kernel_init=initializers.glorot_uniform(), name=name)


def _unit_forget_bias(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Returns zeros, with ones in the second quarter, the forget gate (Jozefowicz et al. 2015)."""
    del key
    return jnp.zeros(shape, dtype).at[shape[0] // 4 : shape[0] // 2].set(1)
