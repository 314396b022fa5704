"""Calls with shapes other than the declared ones raise errors, because the tests check shapes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from crnn_jax import config as config_lib
from crnn_jax.data import augment, batching, normalization
from crnn_jax.models import ctc_loss, greedy, network
from experiments import base

CONFIG = config_lib.from_config_dict(base.get_config())


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (lambda: greedy.greedy_decode(jnp.zeros((3, 4))), "logits"),  # no batch
        (lambda: ctc_loss.ctc_loss(jnp.zeros((2, 5, 4)), jnp.zeros((3, 1), int)), "labels"),  # B
        (lambda: ctc_loss.ctc_loss(jnp.zeros((2, 5, 4)), jnp.zeros((2, 1))), "labels"),  # floats
        (lambda: network.ConvReluPool(2).init(jax.random.key(0), jnp.zeros((6, 4, 1))), "x"),
        (
            lambda: augment.augment(jax.random.key(0), jnp.zeros((1, 6, 4, 1)), CONFIG.augment),
            "keys",
        ),
        (lambda: batching.epoch_order(np.zeros((2, 2), int), 0, 1), "train"),
        (lambda: normalization.fit(np.zeros((1, 6, 4), np.uint8), "set"), "images"),
    ],
)
def test_arrays_of_another_shape_are_refused(call: Callable[..., Any], parameter: str) -> None:
    with pytest.raises(TypeCheckError, match=f"typechecking parameter '{parameter}'"):
        call()
