"""Adaptation of the general reader: exact match by rate, updates, labels and unlabeled images.

    python studies/adaptation.py pack SCHEMES.zip FOLDER...
    python studies/adaptation.py run general SCHEMES.zip --out adaptation.json \\
        --arm labels=50,updates=64,rate=5e-4,seeds=3 --arm ...

`pack` writes, for each scheme, the files of the test part of experiments/schemes.py and of the
first images of its training part, so that a machine without the folders can run the study.

`run` trains every arm on every scheme in one process with two compiled programs. All schemes share
one set of classes, those of the reader and of all labels; classes outside the alphabet of an arm
get a logit of minus infinity. That is equivalent to a reader with the arm's own alphabet, except
for the initial weights of new symbols. Settings that an arm does not name are those of
experiments/adapt.py, except the rate (5e-4, not 7e-4), and without the rules for few labels
(train.half_rate_labels, train.half_way_labels).

An arm is a list of key=value pairs: labels (0 for all in the pack), updates, rate, seeds, batch.
With complete=1, all digits, capitals or small letters of the reader are in the alphabet if the
labels contain two of them. With rounds, each of `updates` updates, the EMA of the weights reads the
rest of the training part, and the readings that `self_training.choose` accepts at the confidence
`least` are trained on until the next round. An arm with labels=-1 has no labels at all.

The update is that of training/step.py without `trained_share`. The learning rate is an argument, so
that all arms share a program.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from crnn_jax import config as config_lib
from crnn_jax.charset import PAD, Charset
from crnn_jax.data import augment, batching
from crnn_jax.inference import evaluate, held_out, metrics, recognizer
from crnn_jax.inference.evaluate import Reading
from crnn_jax.models import crnn, ctc_loss
from crnn_jax.models.decoding import GREEDY
from crnn_jax.runs import provenance
from crnn_jax.training import optimizer, self_training, warm_start
from experiments import adapt
from studies.packed_schemes import Packed, Scheme, pack, unpack

READ_AT_ONCE = 250
LONGEST = 12  # maximum length of a pseudo-label
NEVER = -1e9  # logit of a symbol outside the alphabet of an arm


class Arm(NamedTuple):
    labels: int
    updates: int
    rate: float = 5e-4
    seeds: int = 1
    batch: int = 16
    complete: int = 0
    rounds: int = 0
    least: float = 0.9

    @classmethod
    def parse(cls, text: str) -> Arm:
        pairs = dict(pair.split("=") for pair in text.split(","))
        kinds = {name: type(value) for name, value in cls._field_defaults.items()}
        return cls(**{name: kinds.get(name, int)(value) for name, value in pairs.items()})


class Learner(NamedTuple):
    """The state that an update changes."""

    params: Any
    ema: Any
    moments: Any


class Study:
    """The compiled programs, and the data on the device."""

    def __init__(self, run: str, packed: Packed):
        self.config = config_lib.from_config_dict(adapt.get_config())
        reader = recognizer.load(run)
        symbols = sorted({*reader.charset.alphabet, *"".join(packed.texts)})
        self.charset = Charset("".join(symbols))
        self.known = reader.charset.alphabet
        self.model = crnn.build(
            self.config.model, self.charset, reader.model.mean.tolist(),
            reader.model.std.tolist(),
            reader.model.per_image,
        )  # fmt: skip
        self.run = run
        self.initial: dict[int, Any] = {}  # by seed
        self.packed = packed
        encoded = self.charset.encode(packed.texts)
        room = max(LONGEST - encoded.shape[1], 0)
        self.labels = np.pad(encoded, ((0, 0), (0, room)), constant_values=PAD)
        self.images = jax.device_put(packed.images)
        self.chain = optax.chain(
            optax.clip_by_global_norm(self.config.optimizer.clip_norm),
            optax.scale_by_adam(
                b1=self.config.optimizer.momentum, nesterov=self.config.optimizer.nesterov
            ),
        )
        self.update = jax.jit(self._update, donate_argnums=0)

    def start(self, seed: int) -> Learner:
        if seed not in self.initial:
            fresh = crnn.init(self.model, jax.random.key(seed), self.config.data)
            params = warm_start.transfer(fresh, self.charset, warm_start.Origin(self.run))
            self.initial[seed] = jax.device_get(params)
        params = jax.device_put(self.initial[seed])
        return Learner(params, jax.tree.map(jnp.copy, params), self.chain.init(params))

    def _update(
        self, learner: Learner, images: jax.Array, labels: jax.Array, rows: jax.Array,
        bias: jax.Array, key: jax.Array, step: jax.Array, rate: jax.Array,
    ) -> Learner:  # fmt: skip
        # `step` counts from the start of a round, so in each round the EMA soon forgets its average
        # from before, and the schedule starts again. A run has one schedule.
        keys = jax.random.split(jax.random.fold_in(key, step), len(rows))
        pixels = augment.augment(keys, images[rows], self.config.augment)

        def loss(params: Any) -> jax.Array:
            logits = crnn.apply(self.model, params, pixels) + bias
            return jnp.mean(ctc_loss.ctc_loss(logits, labels))

        updates, moments = self.chain.update(jax.grad(loss)(learner.params), learner.moments)
        params = optax.apply_updates(learner.params, jax.tree.map(lambda u: -rate * u, updates))
        decay = jnp.minimum(self.config.train.ema_decay, (1 + step) / (25 + step))
        return Learner(params, optax.incremental_update(params, learner.ema, 1 - decay), moments)

    def train(
        self, learner: Learner, bias: jax.Array, order: np.ndarray, labels: np.ndarray, arm: Arm,
        seed: int,
    ) -> Learner:  # fmt: skip
        """Makes the updates of an arm on the images `order` [updates * batch]."""
        section = dataclasses.replace(self.config.optimizer, learning_rate=arm.rate)
        schedule = optimizer.schedule(section, optimizer.pace(section, arm.updates))
        rates = np.asarray(jax.vmap(schedule)(jnp.arange(arm.updates)))
        key = jax.random.key(seed)
        for step, rows in enumerate(order.reshape(arm.updates, arm.batch)):
            learner = self.update(
                learner, self.images, labels[rows], rows, bias, key, step, rates[step]
            )
        return learner

    def read(self, params: Any, rows: list[int], bias: jax.Array) -> list[Reading]:
        readings: list[Reading] = []
        for start in range(0, len(rows), READ_AT_ONCE):
            part = np.resize(rows[start : start + READ_AT_ONCE], READ_AT_ONCE)
            found = jax.device_get(_read(params, self.images, part, bias, model=self.model))
            readings += evaluate.to_readings(self.charset, *found)
        return readings[: len(rows)]

    def bias(self, allowed: set[str]) -> jax.Array:
        values = [0.0 if s in allowed else NEVER for s in self.charset.alphabet]
        return jnp.array([*values, 0.0], jnp.float32)  # the blank is the last class

    def alphabet(self, texts: list[str], complete: int) -> set[str]:
        derived = Charset.derive(texts)
        return set((derived.completed() if complete else derived).alphabet)

    def measure(self, arm: Arm, scheme: Scheme, seed: int) -> dict[str, Any]:
        """Trains an arm on a scheme and scores it on the test part."""
        labeled = np.array([] if arm.labels < 0 else scheme.train[: arm.labels or None], np.int32)
        texts = [self.packed.texts[i] for i in labeled]
        bias = self.bias(self.alphabet(texts, arm.complete) if texts else set(self.known))
        learner, labels = self.start(seed), self.labels.copy()
        rest, size = scheme.train[len(labeled) :], arm.updates * arm.batch
        if texts:
            order = batching.mixed_order(labeled, labeled[:0], size, seed, 1)
            learner = self.train(learner, bias, order, labels, arm, seed)
        used = []
        for number in range(2, 2 + arm.rounds):
            found = self.read(learner.ema, rest, bias)
            chosen = self_training.choose(found, texts, arm.least)
            chosen = [i for i in chosen if len(found[i].text) <= LONGEST]
            if not chosen:
                break
            guessed = np.array([rest[i] for i in chosen], np.int32)
            encoded = self.charset.encode([found[i].text for i in chosen])
            labels[guessed] = PAD
            labels[guessed, : encoded.shape[1]] = encoded
            truths = [self.packed.texts[i] for i in guessed]
            wrong = sum(found[i].text != text for i, text in zip(chosen, truths, strict=True))
            used.append({"pseudo_labels": len(chosen), "wrong": wrong})
            order = batching.mixed_order(labeled, guessed, size, seed, number)
            learner = learner._replace(moments=self.chain.init(learner.params))
            learner = self.train(learner, bias, order, labels, arm, seed + 100 * number)
        readings = [reading.text for reading in self.read(learner.ema, scheme.test, bias)]
        truths = [self.packed.texts[i] for i in scheme.test]
        scores = {way: held_out.match(truths, readings, way)["num_exact"] for way in metrics.WAYS}
        return {"scheme": scheme.name, "seed": seed, "num_examples": len(truths), **scores,
                **({"rounds": used} if arm.rounds else {})}  # fmt: skip


@jax.jit
def _read(
    params: Any, images: jax.Array, rows: jax.Array, bias: jax.Array, *, model: crnn.Model
) -> tuple[jax.Array, jax.Array]:
    return evaluate.decode(crnn.apply(model, params, images[rows]) + bias, 1.0, GREEDY)


def run(options: argparse.Namespace) -> None:
    begun = time.monotonic()
    config = config_lib.from_config_dict(adapt.get_config())
    study = Study(options.run, unpack(options.schemes, config.data))
    print(f"{len(study.packed.texts)} images, {time.monotonic() - begun:.0f} s", flush=True)
    record: dict[str, Any] = {
        "command": ["studies/adaptation.py", *sys.argv[1:]],
        "files_sha256": held_out.files_sha256(
            f"{scheme.name} {study.packed.texts[i]}"
            for scheme in study.packed.schemes for i in scheme.test + scheme.train
        ),
        "environment": provenance.here(str(device) for device in jax.devices()),
        "arms": [],
    }  # fmt: skip
    for arm in map(Arm.parse, options.arm):
        cells: list[dict[str, Any]] = []
        entry: dict[str, Any] = {"arm": arm._asdict(), "cells": cells}
        record["arms"].append(entry)
        started = time.monotonic()
        for scheme in study.packed.schemes:
            for seed in range(arm.seeds):
                if time.monotonic() - begun > options.seconds:
                    entry["complete"] = False
                    break
                cells.append(study.measure(arm, scheme, seed))
        entry["seconds"] = round(time.monotonic() - started, 1)
        shares: dict[str, list[float]] = {}
        for cell in cells:
            shares.setdefault(cell["scheme"], []).append(cell["labeled"] / cell["num_examples"])
        means = {name: round(100 * float(np.mean(values)), 1) for name, values in shares.items()}
        mean = float(np.mean(list(means.values()))) if means else 0.0
        print(f"{arm}: {mean:.2f} {means} {entry['seconds']} s", flush=True)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("target", type=Path)
    packing.add_argument("folders", type=Path, nargs="+")
    packing.add_argument("--most", type=int, default=1000, help="training images per scheme")
    running = commands.add_parser("run")
    running.add_argument("run")
    running.add_argument("schemes", type=Path, nargs="+")
    running.add_argument("--out", type=Path, required=True)
    running.add_argument("--arm", action="append", required=True)
    running.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no cell after this time"
    )
    options = parser.parse_args()
    if options.command == "pack":
        pack(options.target, options.folders, options.most)
    else:
        run(options)


if __name__ == "__main__":
    main()
