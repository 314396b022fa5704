"""Writes weights, logits, loss and gradients of ocr_model_v1 in Keras, for crnn_test.py.

    KERAS_BACKEND=jax python tests/helpers/keras_reference.py OUT.npz

The layers are those of the captcha_ocr example on keras.io, without the softmax, because
keras.ops.ctc_loss takes logits.
"""

import pathlib
import sys
from typing import Any

import jax
import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(0)
x = inputs = layers.Input((200, 50, 1), name="image")
for i, filters in enumerate((32, 64), 1):
    x = layers.Conv2D(
        filters,
        (3, 3),
        activation="relu",
        kernel_initializer="he_normal",
        padding="same",
        name=f"Conv{i}",
    )(x)
    x = layers.MaxPooling2D((2, 2), name=f"pool{i}")(x)
x = layers.Reshape((50, 768), name="reshape")(x)
x = layers.Dense(64, activation="relu", name="dense1")(x)
x = layers.Dropout(0.2)(x)
x = layers.Bidirectional(layers.LSTM(128, return_sequences=True, dropout=0.25))(x)
x = layers.Bidirectional(layers.LSTM(64, return_sequences=True, dropout=0.25))(x)
model = keras.Model(inputs, layers.Dense(20, name="dense2")(x))
assert model.count_params() == 432_596

rng = np.random.default_rng(0)
images = rng.normal(size=(4, 200, 50, 1)).astype(np.float32)
labels = rng.integers(0, 19, (4, 5)).astype(np.int32)
labels[1, 2] = labels[1, 1]  # a true repeat


def name_of(path: str) -> str:
    """bidirectional/forward_lstm/lstm_cell/kernel -> bidirectional/forward_kernel."""
    layer, *middle, name = path.split("/")
    return f"{layer}/{middle[0].split('_')[0]}_{name}" if middle else f"{layer}/{name}"


def loss_of(weights: Any) -> tuple[Any, Any]:
    logits, _ = model.stateless_call(weights, model.non_trainable_variables, images)
    steps = np.full(4, 50, np.int32)
    lengths = np.full(4, 5, np.int32)
    losses = keras.ops.ctc_loss(labels, logits, lengths, steps, mask_index=19)
    return losses.mean(), logits


# Weights other than the initial ones, so that no bias is 0.
weights = [
    np.asarray(v.value) + 0.05 * rng.normal(size=v.shape).astype(np.float32)
    for v in model.trainable_variables
]
(loss, logits), grads = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(weights)
names = [name_of(v.path) for v in model.trainable_variables]
np.savez(
    sys.argv[1],
    images=images,
    labels=labels,
    logits=logits,
    loss=loss,
    **{f"weights/{n}": w for n, w in zip(names, weights, strict=True)},
    **{f"grads/{n}": g for n, g in zip(names, grads, strict=True)},
)

# The same weights in every file format of Keras 3. The whole model has a softmax and an
# optimizer, as in the example.
out = keras.Model(inputs, layers.Softmax()(model.output))
out.compile("adam", "mse")
for variable, weight in zip(out.trainable_variables, weights, strict=True):
    variable.assign(weight)
folder = pathlib.Path(sys.argv[1]).parent
out.save(folder / "whole.keras")
out.save(folder / "whole.h5")
out.save_weights(folder / "some.weights.h5")
