"""The model: images to logits, and its parameters.

The layers are in network.py, which is imported where a model is initialized or traced: a process
that calls stored programs needs no flax.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Key, Real

from crnn_jax.charset import Charset
from crnn_jax.config import DataConfig, ModelConfig
from crnn_jax.runtime import program_store

if TYPE_CHECKING:
    from crnn_jax.models.network import CRNN, Dropout


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("mean", "std"),
    meta_fields=("config", "num_classes", "other_cases", "per_image"),
)
@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """The sizes of a network, and the normalization of its images.

    A pytree with the leaves `mean` and `std`: compiled programs take them as arguments, so that
    runs whose training sets differ share one program. `apply` always normalizes.
    """

    config: ModelConfig
    num_classes: int  # K: the symbols and the blank
    other_cases: tuple[int, ...]  # see `network.add_other_cases`
    # Arrays [C] in pixel values, or the objects that jax puts in their place during tracing.
    mean: Any
    std: Any
    per_image: bool  # then normalize each image by itself

    @property
    def network(self) -> CRNN:
        """The layers."""
        from crnn_jax.models.network import CRNN

        return CRNN(self.config, self.num_classes, self.other_cases)

    def normalize(self, images: Real[Array, "B W H C"]) -> Float[Array, "B W H C"]:
        """Converts pixels to f32 of mean 0 and standard deviation 1."""
        shape = (1,) * (images.ndim - 1) + (-1,)
        x = images.astype(jnp.float32) - jnp.asarray(self.mean, jnp.float32).reshape(shape)
        x = x / jnp.asarray(self.std, jnp.float32).reshape(shape)
        return normalize_each(x) if self.per_image else x


def normalize_each(x: Float[Array, "B W H C"]) -> Float[Array, "B W H C"]:
    """Scales each image to mean 0 in each channel and standard deviation 1 over all channels.

    Brightness and contrast say nothing about the text. A uniform image becomes zeros.
    """
    x = x - jnp.mean(x, axis=(-3, -2), keepdims=True)
    variance = jnp.mean(x * x, axis=(-3, -2, -1), keepdims=True)
    return x / jnp.sqrt(variance + 1e-6)  # far below the standard deviation of one gray level


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
    classes = charset.num_classes, charset.classes_of_other_cases
    return Model(config, *classes, first, second, per_image)


def init(model: Model, key: Key[Array, ""], config: DataConfig) -> Any:
    """Returns fresh parameters, which depend on the key only."""
    shape = (1, config.width, config.height, config.channels)
    return _init(key, network=model.network, shape=shape)


@functools.partial(program_store.jit, static_argnames=("network", "shape"))
def _init(key: Array, *, network: CRNN, shape: tuple[int, ...]) -> Any:
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


def of_names(arrays: Mapping[str, Any], separator: str = "/") -> dict[str, Any]:
    """The inverse of `by_name`. ValueError: a name is that of a layer and of a parameter."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *path, last = name.split(separator)
        layer = tree
        for part in path:
            layer = layer.setdefault(part, {})
            if not isinstance(layer, dict):
                raise ValueError(name)
        if last in layer:
            raise ValueError(name)
        layer[last] = array
    return tree


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


def _layer_order(name: str) -> tuple[int, int, str]:
    """A sort key that gives the order of the forward pass, kind by kind."""
    kinds = ("Conv", "norm", "dense1", "bidirectional", "dense2")
    kind = next(i for i, kind in enumerate(kinds) if name.startswith(kind))
    number = re.search(r"\d+", name)  # Conv10 comes after Conv2, and bidirectional before _2
    return kind, int(number[0]) if number else 0, name
