"""The captcha_ocr example of Keras (A. K. Nain, 2020), up to the epoch that reads enough.

    python keras_example.py SPLIT REPORT SEED REACH EPOCHS

Model, CTC layer, input pipeline, Adam, batches of 16, the [UNK] class and the order of the data are
those of the example for Keras 3. There are three differences. The split is given (SPLIT, JSON),
because the example discards the result of its shuffle. There is no early stopping. A callback reads
the validation part after each epoch and measures its own time. A JSON line is appended to REPORT
after the first step and after each epoch.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

WIDTH, HEIGHT, BATCH = 200, 50, 16


class CTC(layers.Layer):
    """Adds the CTC losses of probabilities [B, T, K] to the model; all labels [B, L] have length L.

    The loss is a column, as in the example; Keras 3 sums it, TF-Keras 2 took the mean.
    """

    def call(self, labels: tf.Tensor, probabilities: tf.Tensor) -> tf.Tensor:
        batch, steps = tf.shape(probabilities)[0], tf.shape(probabilities)[1]
        indices = tf.where(tf.ones_like(labels, tf.bool))
        values = tf.cast(tf.gather_nd(labels, indices), tf.int32)
        losses = tf.compat.v1.nn.ctc_loss(
            inputs=tf.math.log(tf.transpose(probabilities, (1, 0, 2)) + 1e-7),
            labels=tf.SparseTensor(indices, values, tf.shape(labels, tf.int64)),
            sequence_length=tf.fill([batch], steps),
        )
        self.add_loss(losses[:, None])
        return probabilities


def build(symbols: int) -> tuple[keras.Model, keras.Model]:
    """Returns the model to train, of images and labels, and the model that reads images."""
    image = layers.Input((WIDTH, HEIGHT, 1), name="image")
    label = layers.Input((None,), name="label")
    x = image
    for filters in (32, 64):
        x = layers.Conv2D(
            filters, 3, activation="relu", kernel_initializer="he_normal", padding="same"
        )(x)
        x = layers.MaxPooling2D((2, 2))(x)
    x = layers.Reshape((WIDTH // 4, HEIGHT // 4 * 64))(x)
    x = layers.Dense(64, activation="relu")(x)
    x = layers.Dropout(0.2)(x)
    for units in (128, 64):
        lstm = layers.LSTM(units, return_sequences=True, dropout=0.25)
        x = layers.Bidirectional(lstm)(x)
    x = layers.Dense(symbols + 1, activation="softmax")(x)
    model = keras.Model([image, label], CTC()(label, x))
    model.compile(optimizer=keras.optimizers.Adam())
    return model, keras.Model(image, x)


def pipeline(pairs: list[list[str]], to_number: layers.StringLookup) -> tf.data.Dataset:
    """Yields batches in the given order: images f32 [B, W, H, 1] from 0 to 1, labels i64 [B, L]."""

    def encode(file: tf.Tensor, text: tf.Tensor) -> dict[str, tf.Tensor]:
        image = tf.io.decode_png(tf.io.read_file(file), channels=1)
        image = tf.image.resize(tf.image.convert_image_dtype(image, tf.float32), (HEIGHT, WIDTH))
        label = to_number(tf.strings.unicode_split(text, "UTF-8"))
        return {"image": tf.transpose(image, (1, 0, 2)), "label": label}

    files, texts = map(list, zip(*pairs, strict=True))
    return (
        tf.data.Dataset.from_tensor_slices((files, texts))
        .map(encode, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(BATCH)
        .prefetch(tf.data.AUTOTUNE)
    )


def greedy(probabilities: np.ndarray, vocabulary: list[str]) -> list[str]:
    """Decodes [N, T, K]: best class per step, repeats merged, the last class dropped."""
    texts = []
    for row in probabilities.argmax(-1):
        kept = [k for i, k in enumerate(row) if i == 0 or k != row[i - 1]]
        texts.append("".join(vocabulary[k] for k in kept if k < len(vocabulary)))
    return texts


class Report(keras.callbacks.Callback):
    def __init__(
        self,
        path: str,
        reader: keras.Model,
        val: list[tuple[str, str]],
        data: tf.data.Dataset,
        vocabulary: list[str],
        reach: float,
    ):
        super().__init__()
        self.path, self.reader, self.reach = path, reader, reach
        self.truths = [text for _, text in val]
        self.images = data.map(lambda batch: batch["image"])
        self.vocabulary = vocabulary
        self.seconds = 0.0  # time of this callback, which the example does not have
        self.first = True

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if self.first:
            self._say(step=1)
            self.first = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        start = time.perf_counter()
        texts = greedy(self.reader.predict(self.images, verbose=0), self.vocabulary)
        right = sum(a == b for a, b in zip(texts, self.truths, strict=True))
        share = right / len(texts)
        self.seconds += time.perf_counter() - start
        self._say(epoch=epoch + 1, exact_match=share, not_counted=self.seconds, **(logs or {}))
        if share >= self.reach:
            self.model.stop_training = True

    def _say(self, **values: float) -> None:
        with open(self.path, "a") as file:
            file.write(json.dumps(values) + "\n")


def main(split: str, report: str, seed: str, reach: str, epochs: str) -> None:
    keras.utils.set_random_seed(int(seed))
    with open(split) as file:
        parts = json.load(file)  # {"train": [[file, text], ...], "val": ...}
    texts = [text for part in parts.values() for _, text in part]
    if len(set(map(len, texts))) > 1:
        sys.exit("the example needs texts of equal length")
    symbols = sorted(set("".join(texts)))
    to_number = layers.StringLookup(vocabulary=symbols, mask_token=None)
    vocabulary = to_number.get_vocabulary()
    model, reader = build(len(vocabulary))
    train, val = (pipeline(parts[name], to_number) for name in ("train", "val"))
    callback = Report(report, reader, parts["val"], val, vocabulary, float(reach))
    model.fit(train, validation_data=val, epochs=int(epochs), verbose=0, callbacks=[callback])


if __name__ == "__main__":
    main(*sys.argv[1:])
