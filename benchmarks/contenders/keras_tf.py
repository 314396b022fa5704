"""The model in Keras 3 on TensorFlow, as users would write it."""

from __future__ import annotations

import itertools
import os
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
import worker
from keras import layers


def build(job: worker.Job, shape: tuple[int, ...], num_classes: int) -> keras.Model:
    """Pixels u8 [B, W, H, C] to logits [B, T, K]."""
    convolutions, dense, units = job.widths()
    given = x = layers.Input(shape, dtype="uint8")
    x = layers.Rescaling(1 / 255)(x)
    for i, filters in enumerate(convolutions, 1):
        x = layers.Conv2D(filters, 3, activation="relu", padding="same", name=f"Conv{i}")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)
    x = layers.Dense(dense, activation="relu", name="dense1")(x)
    x = layers.Dropout(0.2)(x)
    for i, u in enumerate(units):
        name = f"bidirectional_{i}" if i else "bidirectional"
        lstm = layers.LSTM(u, return_sequences=True, dropout=0.25)
        x = layers.Bidirectional(lstm, name=name)(x)
    return keras.Model(given, layers.Dense(num_classes, name="dense2")(x))


def load(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Loads parameters in the names and layout of the package, which are those of Keras."""
    wanted = []
    for layer in ("Conv1", "Conv2", "dense1", "bidirectional", "bidirectional_1", "dense2"):
        for way in ("forward_", "backward_") if "bi" in layer else ("",):
            for name in ("kernel", "recurrent_kernel", "bias"):
                if f"{layer}/{way}{name}" in arrays:
                    wanted.append(arrays[f"{layer}/{way}{name}"])
    model.set_weights(wanted + model.get_weights()[len(wanted) :])  # the rest are seeds of dropout


def loss_of(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """CTC loss [B] of labels [B, L], padded with -1, and logits [B, T, K].

    With sparse labels, TensorFlow uses its own kernel, which is several times as fast.
    """
    labels = tf.cast(labels, tf.int32)
    places = tf.where(labels >= 0)
    shape = tf.shape(labels, tf.int64)
    sparse = tf.SparseTensor(places, tf.gather_nd(labels, places), shape)
    batch, steps, classes = tf.shape(logits)[0], logits.shape[1], logits.shape[2]
    return tf.nn.ctc_loss(
        sparse, logits, None, tf.fill([batch], steps), logits_time_major=False,
        blank_index=classes - 1,
    )  # fmt: skip


def loss_of_dense(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Like `loss_of`, with operators that XLA can compile."""
    labels = tf.cast(labels, tf.int32)
    lengths = tf.reduce_sum(tf.cast(labels >= 0, tf.int32), 1)
    batch, steps, classes = tf.shape(logits)[0], logits.shape[1], logits.shape[2]
    return tf.nn.ctc_loss(
        tf.maximum(labels, 0), logits, lengths, tf.fill([batch], steps), logits_time_major=False,
        blank_index=classes - 1,
    )  # fmt: skip


def sgd() -> keras.optimizers.Optimizer:
    return keras.optimizers.SGD(0.04, momentum=0.9, nesterov=True, global_clipnorm=5.0)


class Clock(keras.callbacks.Callback):
    """Records the time at which each step of `fit` ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[float] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        del batch, logs
        self.ends.append(time.perf_counter())


def prepare(job: worker.Job) -> worker.Work:
    tf.config.threading.set_intra_op_parallelism_threads(job.threads)
    tf.config.threading.set_inter_op_parallelism_threads(job.threads)
    keras.utils.set_random_seed(0)
    arrays = job.load()
    images, labels = arrays["images"], arrays["labels"]
    model = build(job, images.shape[1:], arrays["dense2/bias"].size)
    load(model, arrays)
    logits = model.predict_on_batch(images[: worker.CHECKED])
    first = model.predict_on_batch(images[: job.batch])
    loss = float(tf.reduce_mean(loss_of(labels[: job.batch], tf.constant(first))))
    turn = train_turn(job, model, images, labels) if job.work == "train" else read_turn(
        job, model, images[: job.batch]
    )  # fmt: skip
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    return worker.Work(turn, count, ("tensorflow-cpu", "keras"), logits, loss)


def train_turn(job: worker.Job, model: Any, images: np.ndarray, labels: np.ndarray) -> Any:
    # By default ('auto'), Keras compiles with XLA where layers allow it; here the LSTMs do not.
    xla = "xla" in job.variant
    how = {"jit_compile": True} if xla else {}
    model.compile(sgd(), loss_of_dense if xla else loss_of, **how)
    if "fit" not in job.variant:
        batches = itertools.cycle(
            [(tf.constant(images[b]), tf.constant(labels[b])) for b in job.batches(8, len(images))]
        )
        return worker.timed(lambda: model.train_on_batch(*next(batches)))
    pictures = tf.data.Dataset.from_tensor_slices((images, labels)).cache().repeat()
    pictures = pictures.shuffle(len(images)).batch(job.batch).prefetch(tf.data.AUTOTUNE)

    def turn(untimed: int, count: int) -> float:
        """Times from the end of a step to the end of another, without what `fit` does once."""
        clock = Clock()
        steps = max(untimed, 1) + count
        model.fit(pictures, epochs=1, steps_per_epoch=steps, verbose=0, callbacks=[clock])
        return clock.ends[-1] - clock.ends[-1 - count]

    return turn


def read_turn(job: worker.Job, model: Any, pixels: np.ndarray) -> Any:
    if job.variant == "function":
        call = tf.function(
            lambda x: model(x, training=False),
            input_signature=[tf.TensorSpec((None, *pixels.shape[1:]), tf.uint8)],
            jit_compile=None,
        )
        return worker.timed(lambda: call(tf.constant(pixels)).numpy())
    return worker.timed(lambda: model.predict_on_batch(pixels))


if __name__ == "__main__":
    worker.serve(prepare)
