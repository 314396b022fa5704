"""Checks that a model saved by Keras gives the same results here as in Keras.

    python studies/keras_parity.py RUN FOLDER [ENVIRONMENTS]

RUN is a run with data.normalize='' (pixels / 255, as in the example), FOLDER a labeled data set.
The script creates environments for TF-Keras 2 and Keras 3 in ENVIRONMENTS (a temporary folder by
default). There, Keras builds the model of the captcha_ocr example with the weights of the run,
makes one training step to create an optimizer state, restores the weights, reads every image, and
saves the model in every file format it has. Each file is imported here, and logits, CTC loss and
texts are compared.
"""

import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ENVIRONMENTS = {
    "TF-Keras 2": ["tensorflow-cpu==2.15.*", "numpy<2"],
    "Keras 3": ["keras>=3.10", "tensorflow-cpu>=2.18"],
}


def main(arguments: list[str]) -> None:
    if len(arguments) not in (2, 3):
        sys.exit("usage: keras_parity.py RUN FOLDER [ENVIRONMENTS]")
    with tempfile.TemporaryDirectory() as temporary:
        environments = Path(arguments[2] if arguments[2:] else temporary)
        compare(arguments[0], arguments[1], environments, Path(temporary))


def compare(run: str, folder: str, environments: Path, work: Path) -> None:
    import jax.numpy as jnp

    from crnn_jax import config as config_lib
    from crnn_jax.data import folder as dataset
    from crnn_jax.inference import recognizer
    from crnn_jax.interop import keras
    from crnn_jax.models import crnn, ctc_loss

    reader = recognizer.load(run)
    if (reader.model.mean.tolist(), reader.model.std.tolist()) != ([0.0], [255.0]):
        sys.exit(
            f"{run} does not normalize by pixels / 255; train one with --config.data.normalize=''"
        )
    section = dataclasses.replace(reader.config.data, dir=folder, use_labels=True, unlabeled="")
    data = dataset.load(section, reader.charset, config_lib.num_steps(reader.config))
    labels = reader.charset.encode(data.texts)
    weights = {k.replace("/", "."): a for k, a in crnn.by_name(reader.params).items()}
    np.savez(work / "in.npz", images=data.images, labels=labels, **weights)
    print(f"{len(data)} images of {data.name}, fingerprint {data.fingerprint[:12]}")
    print("| written by | file | logits, largest difference | loss, relative | same texts |")
    print("|---" * 5 + "|")
    for name, packages in ENVIRONMENTS.items():
        out = work / name.replace(" ", "_")
        out.mkdir()
        python = environments / out.name / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        command: list[str | Path] = [python, __file__, "--child", work / "in.npz", out]
        done = subprocess.run(command, capture_output=True, text=True)  # TensorFlow logs a lot
        if done.returncode:
            sys.exit(done.stderr)
        with np.load(out / "out.npz") as there:
            version = str(there["version"])
            keras_texts = reader.decode_batch_predictions(there["logits"])
            for file in sorted(f for f in out.iterdir() if f.name != "out.npz"):
                workdir = work / f"run-{out.name}-{file.name}"
                values = config_lib.to_dict(reader.config)
                keras.import_run(file, workdir, values, reader.charset.alphabet, "last")
                back = recognizer.load(workdir)
                logits = np.concatenate(
                    [
                        crnn.apply(back.model, back.params, jnp.asarray(data.images[i : i + 64]))
                        for i in range(0, len(data), 64)
                    ]
                )
                texts = back.decode_batch_predictions(logits)
                losses = np.asarray(ctc_loss.ctc_loss(jnp.asarray(logits), jnp.asarray(labels)))
                relative = np.abs(losses.mean() / there["losses"].mean() - 1)
                same = sum(a == b for a, b in zip(texts, keras_texts, strict=True))
                difference = np.abs(logits - there["logits"]).max()
                print(
                    f"| Keras {version} | {file.name} | {difference:.1e} | {relative:.1e} | "
                    f"{same} of {len(data)} |"
                )


def child(source: str, out: str) -> None:
    """Runs in an environment with Keras: builds the model, trains a step, saves, reads."""
    import keras
    import tensorflow as tf
    from keras import layers

    old = keras.__version__ < "3"
    with np.load(source) as stored:
        stored = dict(stored)
    images = stored.pop("images").astype(np.float32) / 255
    labels = stored.pop("labels").astype(np.int32)
    num_classes = stored["dense2.bias"].size

    class CTCLayer(layers.Layer):  # type: ignore[misc]  # keras has no types; as in the example
        def call(self, y_true: Any, y_pred: Any) -> Any:
            batch = tf.shape(y_true)[0]
            steps = tf.fill([batch, 1], tf.shape(y_pred)[1])
            lengths = tf.fill([batch, 1], tf.shape(y_true)[1])
            if old:
                self.add_loss(keras.backend.ctc_batch_cost(y_true, y_pred, steps, lengths))
            else:
                loss = keras.ops.ctc_loss(
                    tf.cast(y_true, "int32"), tf.math.log(y_pred + 1e-7), lengths[:, 0],
                    steps[:, 0], mask_index=num_classes - 1,
                )  # fmt: skip
                self.add_loss(tf.reduce_mean(loss))
            return y_pred

    given = layers.Input(images.shape[1:], name="image")
    truth = layers.Input((None,), name="label")
    x = given
    for i, filters in enumerate((32, 64), 1):
        x = layers.Conv2D(filters, 3, activation="relu", padding="same", name=f"Conv{i}")(x)
        x = layers.MaxPooling2D((2, 2), name=f"pool{i}")(x)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]), name="reshape")(x)
    x = layers.Dense(64, activation="relu", name="dense1")(x)
    x = layers.Dropout(0.2)(x)
    x = layers.Bidirectional(layers.LSTM(128, return_sequences=True, dropout=0.25))(x)
    x = features = layers.Bidirectional(layers.LSTM(64, return_sequences=True, dropout=0.25))(x)
    x = layers.Dense(num_classes, activation="softmax", name="dense2")(x)
    model = keras.Model([given, truth], CTCLayer(name="ctc_loss")(truth, x), name="ocr_model_v1")
    model.compile(optimizer=keras.optimizers.Adam())
    whole = labels.min(1) >= 0
    model.train_on_batch([images[whole][:8], labels[whole][:8].astype(np.float32)])
    wanted = []
    for layer in ("Conv1", "Conv2", "dense1", "bidirectional", "bidirectional_1", "dense2"):
        ways = ("forward_", "backward_") if "bi" in layer else ("",)
        for way in ways:
            for name in ("kernel", "recurrent_kernel", "bias"):
                if f"{layer}.{way}{name}" in stored:
                    wanted.append(stored[f"{layer}.{way}{name}"])
    model.set_weights(wanted)
    reading = keras.Model(given, x)
    folder = Path(out)
    kinds = ["h5", "keras"]
    for name, saved in (("training", model), ("reading", reading)):
        for kind in kinds:
            saved.save(str(folder / f"{name}.{kind}"))
        saved.save_weights(str(folder / f"{name}.weights.h5"))
    hidden = keras.Model(given, features).predict(images, batch_size=64, verbose=0)
    logits = hidden @ stored["dense2.kernel"] + stored["dense2.bias"]
    steps = np.full(len(images), logits.shape[1], np.int32)
    lengths = (labels >= 0).sum(1).astype(np.int32)
    losses = tf.nn.ctc_loss(
        np.maximum(labels, 0), logits, lengths, steps, logits_time_major=False,
        blank_index=num_classes - 1,
    )  # fmt: skip
    np.savez(folder / "out.npz", logits=logits, losses=losses, version=keras.__version__)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:])
    else:
        main(sys.argv[1:])
