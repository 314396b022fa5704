"""TrainContext: the data, the model and the optimizer that a config specifies."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Int, UInt8

from crnn_jax import config as config_lib
from crnn_jax.charset import PAD, Charset
from crnn_jax.config import Config
from crnn_jax.data import batching, feed, folder, generated, normalization, sources, splits
from crnn_jax.inference import calibration, evaluate, typicality
from crnn_jax.inference.typicality import Typical
from crnn_jax.models import crnn, ctc_loss, decoding
from crnn_jax.runtime import data_parallel, program_store
from crnn_jax.training import few_labels, warm_start
from crnn_jax.training import optimizer as optimizer_lib

_MOST_STEPS = 100  # maximum steps of an epoch over images without labels
_ROOM = 16  # symbols of a pseudo-label; longer ones need another compilation
_LONG_WAIT = 0.1  # share of an epoch
_SOME_TEXT = "12345"  # text for the plateau loss of a set without labels


Call = tuple[np.ndarray, np.ndarray]  # numbers of images i32 [S, B], and mask bool [S, B]


class TrainContext(NamedTuple):
    """Everything that is constant during an epoch.

    If there are unlabeled images, their labels change between epochs: `data`, `labels` and
    `pseudo_labeled`. Nothing else changes while a run trains.
    """

    config: Config
    data: folder.Dataset
    split: splits.Split
    charset: Charset
    model: crnn.Model
    pace: optimizer_lib.Pace  # its peak is lower for few labels: see train.half_rate_labels
    origin: warm_start.Origin  # of train.init_from; without it, its `run` is empty
    trained_share: float  # share of trained weights in the EMA: see train.half_way_labels
    steps_per_epoch: int
    num_epochs: int  # epochs of the schedule
    plateau_loss: float  # loss of the best constant predictor, nats
    devices: data_parallel.Devices  # the devices that a batch is split over
    images: UInt8[Array, "N W H C"]  # on the devices, like the labels
    labels: Int[Array, "N L"]
    stream: Callable[[np.ndarray], tuple[Array, Array]] | None  # draws images and labels
    records: feed.Records | None = None  # the images of a pack that is larger than the memory
    # Digest of the parameters of train.init_from, if some of them are kept: trained_share < 1.
    start_sha256: str = ""
    # The unlabeled images that this epoch trains on: see self_training.py.
    pseudo_labeled: np.ndarray = np.empty(0, np.int32)

    def program_key(self) -> Hashable:
        """Returns a key that is equal for runs that can share compiled programs.

        It does not depend on seed, fold, normalization and learning rate.
        """
        data = dataclasses.replace(self.config.data, fold=0, split_seed=0)
        static = optimizer_lib.static_part(self.config.optimizer)
        config = dataclasses.replace(self.config, seed=0, data=data, optimizer=static)
        network = self.model.network, self.model.per_image
        # With a test part, the alphabet depends on the training part.
        charset = self.charset
        length = self.steps_per_epoch, self.num_epochs
        keeps_start = self.trained_share < 1
        return config, network, length, self.data.fingerprint, charset, keeps_start

    def order(self, epoch: int) -> np.ndarray:
        """Returns the image numbers of an epoch in training order. A stream has new ones each time.

        A small set is repeated: see train.min_steps_per_epoch.
        """
        if self.stream:
            return self.split.train + (epoch - 1) * len(self.split.train)
        seed = self.config.seed
        if len(self.split.unlabeled):
            size = self.steps_per_epoch * self.config.train.batch_size
            return batching.mixed_order(self.split.train, self.pseudo_labeled, size, seed, epoch)
        passes = _passes(self.config, len(self.split.train))
        first = (epoch - 1) * passes + 1
        orders = [batching.epoch_order(self.split.train, seed, first + k) for k in range(passes)]
        return np.concatenate(orders)

    def batch(self, numbers: np.ndarray) -> tuple[Array, Array, np.ndarray | None]:
        """Returns images and labels, and the indices [S, B] of `numbers` [S, B] into them.

        For a stream, images and labels are those of `numbers`, and there are no indices. Each
        process draws only its part of each batch.
        """
        if not self.stream:
            return self.images, self.labels, numbers
        own = self.devices.own_part(numbers)
        drawn = self.stream(own.reshape(-1))
        shaped = jax.tree.map(lambda x: x.reshape(*own.shape, *x.shape[1:]), drawn)
        # Block, because the stream's programs could fill the device queue: see data_parallel.py.
        return *jax.block_until_ready(self.devices.shard(shaped)), None

    def batches(self, calls: Iterable[Call]) -> Iterator[tuple[Any, Any, np.ndarray | None, Any]]:
        """Yields images, labels, indices and mask for each call; see `batch` and `Run.calls`."""
        if self.records is None:
            for numbers, mask in calls:
                yield *self.batch(numbers), mask
            return
        listed = [(self.devices.own_part(numbers), mask) for numbers, mask in calls]
        labels = np.asarray(data_parallel.first_shard(self.labels))
        start = time.monotonic()
        with self.records.batches(np.concatenate([numbers for numbers, _ in listed])) as images:
            for numbers, mask in listed:
                pixels = np.stack([next(images) for _ in numbers])
                yield *self.devices.shard((pixels, labels[numbers])), None, mask
        passed = time.monotonic() - start
        advice = "; more data.workers decode faster" if images.waited > _LONG_WAIT * passed else ""
        print(
            f"waited {images.waited:.1f} of {passed:.1f} s for images, and {images.started:.1f} s "
            f"for the first ones{advice}",
            flush=True,
        )

    def source_of(self, number: int) -> tuple[str, str]:
        """Returns file and text of a training image."""
        if self.stream:
            _, labels = self.stream(np.array([number]))
            return f"{number:06d}", self.charset.decode(np.asarray(labels[0]).tolist())
        return self.data.files[number], self.data.texts[number]

    def identity(self) -> dict[str, Any]:
        """Returns what inference needs besides the parameters. A resumed run must have the same."""
        return {
            "alphabet": self.charset.alphabet,
            "other_cases": self.charset.other_cases,
            "mean": self.model.mean.tolist(),
            "deviation": self.model.std.tolist(),
            "each_picture": self.model.per_image,
            "fingerprint": self.data.fingerprint,
            **({"start_sha256": self.start_sha256} if self.start_sha256 else {}),
        }

    @property
    def scored(self) -> np.ndarray:
        """The indices of the images that are scored: the validation part.

        Without a validation part, these are the first train.eval_batch_size training images, or
        pseudo-labeled images if no image has a label.
        """
        if len(self.split.val):
            return self.split.val
        images = self.split.train if len(self.split.train) else self.pseudo_labeled
        return images[: self.config.train.eval_batch_size]

    @property
    def in_memory(self) -> tuple[Array, Array]:
        """The images in memory and their labels, on one device."""
        images, labels = data_parallel.first_shard((self.images, self.labels))
        if self.records:
            labels = jax.device_put(np.asarray(labels)[: len(images)])
        return images, labels

    @property
    def patience(self) -> int:
        """Epochs without a better validation loss after which a run stops; 0 for never.

        The loss falls most at the end of the schedule, so a longer one takes more patience.
        """
        section = self.config.train
        return -(-section.patience * self.num_epochs // section.epochs)

    @property
    def decoder(self) -> decoding.Decoder:
        """The decoder for the lengths of data.length."""
        return decoding.of_lengths(self.config.data.lengths, config_lib.num_steps(self.config))

    def calibrate(self, params: Any) -> tuple[float, Typical | None]:
        """Fits the temperature of the confidences and the typicality on the validation part.

        Returns 1 and None without a validation part, because training images cannot calibrate them.
        """
        if not len(self.split.val):
            return 1.0, None
        images, labels = self.in_memory
        # On the host: each operation of jax on an array of another size would be another program.
        batches = batching.batches(self.split.val, self.config.train.eval_batch_size)
        logits = np.concatenate(
            [
                np.asarray(evaluate.logits_of(params, images, batch, model=self.model))[mask]
                for batch, mask in batches
            ]
        )
        typical = typicality.Typical.fit(np.asarray(_energy(logits)))
        # A label with a symbol that is not in the alphabet is encoded without it.
        symbols = set(self.charset.symbols)
        texts = [self.charset.split(self.data.texts[i]) for i in self.split.val.tolist()]
        known = np.flatnonzero([symbols.issuperset(text) for text in texts])
        if not len(known):
            return 1.0, typical
        own = np.asarray(labels)[self.split.val[known]]
        temperature = calibration.fit_temperature(logits[known], own)
        return float(temperature), typical

    def evaluate(
        self, params: Any, temperature: float = 1.0, indices: np.ndarray | None = None
    ) -> evaluate.Evaluation:
        """Scores parameters, on one device, on the images `indices`, by default `scored`.

        The loss leaves out symbols outside the alphabet. Only test and validation images can have
        such symbols.
        """
        reader = evaluate.Reader(self.model, params, self.charset, temperature, self.decoder)
        images, labels = self.in_memory
        data = evaluate.LabeledImages(images, labels, self.data.files, self.data.texts)
        batch_size = self.config.train.eval_batch_size
        indices = self.scored if indices is None else indices
        return evaluate.evaluate(reader, data, indices, batch_size)


_energy = program_store.jit(typicality.energy)


def _passes(config: Config, num_train: int) -> int:
    """Returns the number of passes over the training images in an epoch."""
    # The fewest passes with ceil(passes * num_train / batch_size) >= min_steps_per_epoch.
    most = (config.train.min_steps_per_epoch - 1) * config.train.batch_size
    return max(max(0, most) // num_train + 1, config.train.passes_per_epoch)


def _steps_per_epoch(config: Config, source: sources.Source) -> int:
    num_train, num_unlabeled = len(source.split.train), len(source.split.unlabeled)
    passes = 1 if source.endless or not num_train else _passes(config, num_train)
    steps = -(-num_train * passes // config.train.batch_size)
    if num_unlabeled:
        # Bounded, so that the model labels the images again before it has learned its mistakes.
        whole = -(-(num_train + num_unlabeled) // config.train.batch_size)
        return max(steps, min(whole, _MOST_STEPS), config.train.min_steps_per_epoch)
    return steps


def _encoded(source: sources.Source) -> np.ndarray:
    """Returns labels i32 [N, L], with room for pseudo-labels if there are unlabeled images."""
    known = not len(source.split.test) and not len(source.split.unlabeled)
    labels = source.charset.encode(source.data.texts, skip_unknown=not known)
    room = _ROOM - labels.shape[1] if len(source.split.unlabeled) else 0
    return np.pad(labels, ((0, 0), (0, max(room, 0))), constant_values=PAD)


def prepare(config: Config) -> TrainContext:
    """Loads the data and builds model and optimizer. DataError if the data cannot be used."""
    source = sources.load(config.data, config_lib.num_steps(config))
    data, split, charset = source.data, source.split, source.charset
    moments = normalization.fit(data.images[source.sample], config.data.normalize)
    steps_per_epoch = _steps_per_epoch(config, source)
    train = config.train
    origin = warm_start.Origin(train.init_from)
    known = split.train[split.train < len(data.images)][: warm_start.MOST_READ]  # a stream has more
    if train.init_from and train.detect_case and len(known):
        charset = warm_start.with_other_cases(
            charset,
            data.images[known],
            [data.texts[i] for i in known.tolist()],
            origin,
            train.eval_batch_size,
        )
    adjusted = few_labels.adjust(config, source, charset, origin)
    num_epochs = max(adjusted.epochs, -(-train.min_steps // steps_per_epoch))
    devices = data_parallel.for_batches(config.train.batch_size)
    texts = [charset.split(data.texts[i]) for i in source.sample]
    return TrainContext(
        config=config,
        data=data,
        split=split,
        charset=charset,
        model=crnn.build(config.model, charset, *moments),
        origin=origin,
        trained_share=adjusted.trained_share,
        pace=optimizer_lib.pace(adjusted.optimizer, num_epochs * steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        num_epochs=num_epochs,
        plateau_loss=ctc_loss.plateau_loss(
            texts if any(texts) else [_SOME_TEXT[: config_lib.num_steps(config)]],
            config_lib.num_steps(config),
            len(charset.symbols),
        ),
        devices=devices,
        images=devices.replicate(data.images),
        labels=devices.replicate(_encoded(source)),
        start_sha256=warm_start.digest(origin) if adjusted.trained_share < 1 else "",
        stream=generated.stream(config.data, charset) if source.endless else None,
        records=source.records,
    )
