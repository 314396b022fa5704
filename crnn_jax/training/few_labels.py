"""How a run that starts from a reader adjusts to its labels: to their number and their symbols."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from crnn_jax.charset import Charset
from crnn_jax.config import Config, OptimizerConfig
from crnn_jax.data.sources import Source
from crnn_jax.training import warm_start


class Adjusted(NamedTuple):
    """The settings that depend on the labels."""

    epochs: int
    optimizer: OptimizerConfig
    trained_share: float = 1.0  # share of the trained weights in the EMA; the rest is the reader's


def adjust(config: Config, source: Source, charset: Charset, origin: warm_start.Origin) -> Adjusted:
    """Returns the settings of a run. Without train.init_from they are those of its config.

    Labels with symbols that the reader does not know get `epochs_for_new_symbols`. Otherwise, the
    fewer labels there are, the closer the weights stay to those of the reader (`half_rate_labels`,
    `half_way_labels`), unless unlabeled images make up for them.
    """
    train, plain = config.train, Adjusted(config.train.epochs, config.optimizer)
    rules = train.epochs_for_new_symbols, train.half_rate_labels, train.half_way_labels
    if not (train.init_from and any(rules)):
        return plain
    count, symbols = _labels(source, charset)
    if warm_start.unknown(symbols, origin):
        return plain._replace(epochs=train.epochs_for_new_symbols or train.epochs)
    if len(source.split.unlabeled):
        return plain
    optimizer = config.optimizer
    if train.half_rate_labels:
        share = count**2 / (count**2 + train.half_rate_labels**2)
        rate = optimizer.learning_rate * share
        optimizer = dataclasses.replace(optimizer, learning_rate=rate)
    return Adjusted(train.epochs, optimizer, count / (count + train.half_way_labels))


def _labels(source: Source, charset: Charset) -> tuple[int, set[str]]:
    """Returns the number of training labels and their symbols.

    The generated images of a mixture do not count, and neither do symbols of the charset that occur
    in no label. A stream has only generated labels, which can have every symbol.
    """
    train, data = source.split.train, source.data
    if source.endless:
        return len(train), set(charset.symbols)
    real = train[train < len(data) - data.num_generated].tolist()
    return len(real), {symbol for i in real for symbol in charset.split(data.texts[i])}
