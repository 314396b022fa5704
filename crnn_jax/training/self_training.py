"""Self-training: before each epoch, the model labels the images that have no labels.

The EMA of the parameters is the teacher. It reads the images without augmentation, and its
confident readings become labels for training on augmented images. The labels are renewed once per
epoch. This is the self-training with weak and strong views of FixMatch (Sohn et al. 2020, arXiv
2001.07685), with the mean teacher of Tarvainen and Valpola 2017 (arXiv 1703.01780); both renew the
labels in every step.

With no labels at all, the teacher of the first epoch is the model of train.init_from.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from crnn_jax import config as config_lib
from crnn_jax.charset import PAD
from crnn_jax.errors import ConfigError, RunError, TrainingError
from crnn_jax.inference import evaluate, scheme_form
from crnn_jax.models import decoding
from crnn_jax.models.decoding import Decoder
from crnn_jax.runs import record_types
from crnn_jax.runtime import data_parallel
from crnn_jax.runtime.signals import SignalWatcher
from crnn_jax.schema import Epoch, Share, Text
from crnn_jax.training.context import TrainContext
from crnn_jax.training.run import Run

FILE = "pseudo_labels.csv"
_NO_FILE = ""  # file in the only row of an epoch without a confident reading
_RARE = 20  # a symbol this many times rarer than the average symbol is a misreading
_BALANCE = 0.5  # least share of a symbol's readings that is used, relative to that of all readings
_COMMON = 0.5  # least weight of such a symbol, relative to the mean weight of a symbol
_LEAST_SHARE = 0.1  # share of the plausible readings that is used at any confidence


class PseudoLabel(NamedTuple):
    """A row of `pseudo_labels.csv`: the label that the model gave to an image for an epoch."""

    epoch: Epoch
    file: Text
    reading: Text
    confidence: Share


def renew(run: Run, watcher: SignalWatcher) -> None:
    """Labels the unlabeled images of a run for its next epoch, with the EMA of the parameters.

    If the run has labeled images, its first epoch has no pseudo-labels. The pseudo-labels are
    written to `pseudo_labels.csv`, from which a resumed run reads those of its epoch.

    Raises:
      RunError: the file of an interrupted epoch is missing or damaged.
      TrainingError: no image has a label, and the reader finds no text in any.
      Interrupted: a signal was received while the images were read.
    """
    context, epoch = run.context, run.epoch + 1
    if not len(context.split.unlabeled) or (epoch == 1 and len(context.split.train)):
        return
    if stored(run, epoch):
        return
    if run.steps_since:
        raise RunError(
            f"{run.dir.workdir / FILE} does not contain the labels of epoch {epoch}, in which the "
            "run was interrupted; start the run again in another --workdir"
        )

    def check() -> None:
        if watcher.number:  # reading can take minutes, and nothing has to be saved
            raise watcher.stop(f"after epoch {run.epoch}")

    read = functools.partial(_read, context, run.ema, check)
    readings = read(_decoder(context, read), context.split.unlabeled)
    known = [context.data.texts[i] for i in context.split.train.tolist()]
    chosen = choose(readings, known, context.config.train.min_confidence, context.charset.split)
    if not chosen and not known:
        raise TrainingError(
            f"the reader finds no text in any of the {len(readings)} images without labels; label "
            "some of them"
        )
    files = [context.data.files[i] for i in context.split.unlabeled.tolist()]
    rows = [PseudoLabel(epoch, files[i], *readings[i]) for i in chosen]
    rows = rows or [PseudoLabel(epoch, _NO_FILE, "", 0.0)]
    run.dir.write_csv(FILE, PseudoLabel._fields, rows)
    adopt(run, rows)
    print(f"epoch {epoch}: the reader labels {len(chosen)} of {len(readings)} images", flush=True)


def stored(run: Run, epoch: int) -> bool:
    """Adopts the labels of `pseudo_labels.csv` if they are those of `epoch`."""
    path = run.dir.workdir / FILE
    if not path.exists():
        return False
    rows = record_types.read_csv(path, PseudoLabel)
    if not rows or rows[0].epoch != epoch:
        return False
    adopt(run, rows)
    return True


def adopt(run: Run, rows: Sequence[PseudoLabel]) -> None:
    """Sets these labels, and removes the labels of all other unlabeled images.

    Raises:
      RunError: the data set does not have one of the images.
    """
    context = run.context
    places = {context.data.files[i]: i for i in context.split.unlabeled.tolist()}
    texts = list(context.data.texts)
    for place in places.values():
        texts[place] = ""
    try:
        chosen = [(places[row.file], row.reading) for row in rows if row.file != _NO_FILE]
    except KeyError as error:
        raise RunError(f"{run.dir.workdir / FILE}: the data set has no image {error}") from error
    for place, reading in chosen:
        texts[place] = reading
    labels = context.charset.encode(texts, skip_unknown=True)
    # As wide as before, if that is enough, so that all epochs use one compiled program.
    room = max(context.labels.shape[1] - labels.shape[1], 0)
    labels = np.pad(labels, ((0, 0), (0, room)), constant_values=PAD)
    run.context = context._replace(
        data=dataclasses.replace(context.data, texts=tuple(texts)),
        labels=context.devices.replicate(labels),
        pseudo_labeled=np.array([place for place, _ in chosen], np.int32),
    )


def choose(
    readings: Sequence[evaluate.Reading],
    known: Sequence[str],
    min_confidence: float,
    split: scheme_form.Split = list,
) -> list[int]:
    """Returns the indices of the readings to train on.

    With labels, a reading is plausible if some label has the same length. Without labels, its
    length must be at least half as common as the most common one, and it must have no symbol that
    is rare among readings. The confident plausible readings are chosen, and at least the most
    confident tenth of the plausible ones. Without labels, more are chosen with symbols that too few
    of these have, see `neglected`; labels have all symbols, so that none is unlearned.

    Args:
      readings: the readings of the images without labels.
      known: the labels of the other images.
      min_confidence: the least confidence of a confident reading.
      split: splits a text into symbols, as `Charset.split` does.
    """
    able = [i for i, reading in enumerate(readings) if reading.text]
    able.sort(key=lambda i: -readings[i].confidence)
    symbols_of = {i: split(readings[i].text) for i in able}
    # The lengths of the scheme are those of the more confident half. All readings count for its
    # symbols, because one that is confused with others is rare among the confident readings.
    surer = [symbols_of[i] for i in able[: (len(able) + 1) // 2]]
    lengths = Counter(map(len, map(split, known) if known else surer))
    least = 1 if known else max(lengths.values(), default=0) / 2
    symbols = Counter(itertools.chain.from_iterable(symbols_of.values()))
    rare = sum(symbols.values()) / max(len(symbols), 1) / _RARE
    plausible = [
        i
        for i in able
        if lengths[len(symbols_of[i])] >= least
        and (known or all(symbols[s] >= rare for s in symbols_of[i]))
    ]
    confident = sum(readings[i].confidence >= min_confidence for i in plausible)
    at_least = -(-len(plausible) * _LEAST_SHARE // 1)
    chosen = plausible[: max(confident, int(at_least))]
    if known:
        return sorted(chosen)
    more = neglected([(symbols_of[i], readings[i].confidence) for i in plausible], len(chosen))
    return sorted({*chosen, *(plausible[place] for place in more)})


def neglected(readings: Sequence[tuple[Sequence[str], float]], count: int) -> set[int]:
    """Returns the places of readings to choose for symbols that the first `count` have too rarely.

    Of the readings with a symbol, at least half the share is chosen that is chosen of all readings.
    Otherwise a symbol that is never read with confidence, such as l beside 1, is unlearned. A
    symbol that is rare altogether may be a misreading, and is left alone. Class-balanced
    self-training (Zou et al. 2018, arXiv 1810.07911) has a threshold for each class.

    Args:
      readings: symbols and confidence of each plausible reading, the most confident first.
      count: how many of them are chosen anyway.
    """
    holders: dict[str, list[int]] = {}  # places of the readings with a symbol
    for place, (symbols, _) in enumerate(readings):
        for symbol in dict.fromkeys(symbols):
            holders.setdefault(symbol, []).append(place)
    weights = {s: sum(readings[i][1] for i in places) for s, places in holders.items()}
    mean = sum(weights.values()) / max(len(weights), 1)
    share = _BALANCE * count / max(len(readings), 1)
    return {
        place
        for symbol, places in holders.items()
        if weights[symbol] >= _COMMON * mean
        for place in places[: math.ceil(share * len(places))]
    }


_Read = Callable[[Decoder, np.ndarray], list[evaluate.Reading]]  # reads images by number


def _decoder(context: TrainContext, read: _Read) -> Decoder:
    """Returns the decoder for the teacher.

    Without labels, it reads texts of the form that most readings of the unlabeled images have, or
    any text if hardly any image is read.
    """
    if len(context.split.train):
        return context.decoder
    section, steps = context.config.data, config_lib.num_steps(context.config)
    unlabeled = context.split.unlabeled
    sample = unlabeled[scheme_form.sample(len(unlabeled))]

    def make(**options: Any) -> Decoder:
        return decoding.decoder(context.charset, steps, **{"length": section.lengths, **options})

    try:
        return scheme_form.find(lambda decoder: read(decoder, sample), make, context.charset.split)
    except ConfigError:
        return context.decoder


def _read(
    context: TrainContext,
    params: Any,
    before_batch: Callable[[], None],
    decoder: Decoder,
    indices: np.ndarray,
) -> list[evaluate.Reading]:
    """Reads the images `indices`, in their order."""
    reader = evaluate.Reader(context.model, params, context.charset, decoder=decoder)
    images = data_parallel.first_shard(context.images)
    batch_size = context.config.train.eval_batch_size
    return evaluate.read_all(reader, images, indices, batch_size, before_batch)
