"""The messages and records of a run during training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from crnn_jax.data import aspects, batching, folder, folder_report, split_report
from crnn_jax.errors import TrainingError, one_line
from crnn_jax.inference import evaluate
from crnn_jax.models import crnn
from crnn_jax.training import samples
from crnn_jax.training.context import TrainContext
from crnn_jax.training.early_stopping import OFF_PLATEAU
from crnn_jax.training.run import Run


def log_step(run: Run, step: int, loss: float) -> None:
    """Writes the line of a step to `metrics.jsonl`. TrainingError: the loss is not finite."""
    if not math.isfinite(loss):
        raise report_not_finite(run)
    run.dir.append_metrics({"epoch": run.epoch + 1, "step": step, "step_loss": loss})


def log_epoch(run: Run, evaluation: evaluate.Evaluation) -> dict[str, Any]:
    """Writes the line of an epoch to `metrics.jsonl` and returns it. `loss` is the mean over steps.

    Raises:
      TrainingError: the loss of a step or of the evaluation is not finite.
    """
    loss = float(np.mean(np.concatenate(run.losses)))
    if not math.isfinite(loss + evaluation.loss):
        raise report_not_finite(run)
    scores = evaluation.scores
    values = {
        "epoch": run.epoch + 1,
        "step": run.step,
        "loss": loss,
        "val_loss": evaluation.loss,
        "exact_match": scores.exact_match,
        "cer": scores.cer,
        "seconds": round(run.seconds, 3),
    }
    run.dir.append_metrics(values)
    return values


def report_not_finite(run: Run) -> TrainingError:
    """Returns the error for a loss that is not finite, and writes `not_finite.csv`.

    The file lists the images of the first step whose loss is not finite and of the step before it,
    whose gradient may have corrupted the parameters.
    """
    context, epoch = run.context, run.epoch + 1
    values = np.concatenate(run.losses)
    bad = np.flatnonzero(~np.isfinite(values))
    place = int(bad[0]) if len(bad) else len(values)  # the last update, found by the evaluation
    chunks = batching.batches(context.order(epoch), run.config.train.batch_size)
    batches = [chunk[mask] for chunk, mask in chunks]
    first = run.epoch * context.steps_per_epoch + 1
    suspects = range(max(place - 1, 0), min(place + 1, len(values)))
    run.dir.write_csv(
        "not_finite.csv",
        ("step", "file", "text"),
        [(first + i, *context.source_of(n)) for i in suspects for n in batches[i].tolist()],
    )
    what = f"of training at step {first + place}" if len(bad) else f"of validation in epoch {epoch}"
    # Trust ratios rescale gradients after they are clipped.
    clip = "" if run.config.optimizer.trust_ratio else " or a smaller optimizer.clip_norm"
    return TrainingError(
        f"the loss {what} is not finite; checkpoints of earlier epochs are kept, and the images "
        f"of steps {first + suspects[0]} to {first + suspects[-1]} are in "
        f"{run.dir.workdir / 'not_finite.csv'}. Try a smaller optimizer.learning_rate, or a longer "
        f"optimizer.warmup_steps{clip}, in a new --workdir"
    )


def warn_of_plateau(run: Run, loss: float, train_loss: float | None = None) -> None:
    """Prints a note if a run ends on the plateau, or if it fails on the validation part only.

    Args:
      run: a run that has ended.
      loss: the validation loss of its best epoch.
      train_loss: the loss of its last epoch on training images.
    """
    if run.stopping.left_plateau:
        return
    plateau = run.context.plateau_loss
    if train_loss is not None and train_loss < OFF_PLATEAU * plateau:
        print(
            f"note: at the end the model reads its training images (loss {train_loss:.2f}), but "
            f"the best validation loss, {loss:.2f}, is not well below that of the best constant "
            f"predictor, {plateau:.2f}: there are too few training images, or the validation "
            "images differ from them. Add labeled images"
        )
        return
    config, advice = run.config, []
    is_from_reader = bool(config.train.init_from)  # without a flat start
    if not is_from_reader and not config.flat_start.until:
        advice.append("flat_start.until=0.85")
    if config.data.normalize != "auto":
        advice.append("data.normalize=auto")
    advice += ["a smaller optimizer.learning_rate", "more train.epochs", "more images"]
    if not is_from_reader:
        advice.append("the general reader as a start: experiments/adapt.py")
    print(
        f"note: the model has not left the plateau: its loss is {loss:.2f}, and that of the best "
        f"constant predictor {plateau:.2f}. Check that the labels match the images, or try "
        f"{', '.join(advice[:-1])}, or {advice[-1]}"
    )


def announce(context: TrainContext) -> None:
    """Prints what was understood of the data, and what may be wrong with it."""
    split, section = context.split, context.config.data
    if folder.uses_folder(section):
        _describe_labels(context)
    unlabeled = f"{len(split.unlabeled)} without labels, " if len(split.unlabeled) else ""
    test = f"{len(split.test)} for testing, " if len(split.test) else ""
    alphabet = one_line(context.charset.alphabet[:200])
    if " " in alphabet:
        alphabet = f"'{alphabet}'"  # so that a space can be seen
    plural = "s" * (section.length != "1")
    print(
        f"{one_line(context.data.name)}: {len(split.train)} training images, {unlabeled}"
        f"{len(split.val)} for validation, {test}{len(context.charset.symbols)} symbols "
        f"{alphabet}, "
        f"fingerprint {context.data.fingerprint[:12]}, "
        f"read at {section.width}x{section.height} pixels"
        + (f" as texts of {section.length} character{plural}" if section.length else "")
    )
    if others := context.charset.other_cases:
        print(
            f"note: labels seem to ignore case, so {one_line(others)} are recognized, too, and "
            "read as labeled (train.detect_case)"
        )
    if context.pace.peak < 0.99 * context.config.optimizer.learning_rate:
        print(
            f"note: the learning rate is {context.pace.peak:.2g}, because there are few labels "
            "(train.half_rate_labels)"
        )
    if context.trained_share < 0.995:  # else it would be printed as 100 %
        print(
            f"note: the weights are {context.trained_share:.0%} of the way from the reader's to "
            "the trained ones, because there are few labels (train.half_way_labels)"
        )
    if not len(split.val):
        what = (
            "are those of training images"
            if len(split.train)
            else ("count agreement with the reader's own labels, which may be wrong")
        )
        print(f"note: there is no validation part, so the scores {what}")
    if not folder.uses_folder(context.config.data):
        print(
            "note: all images are generated, including those of the validation part. Scores on "
            "generated images do not predict accuracy on real ones. `crnn-jax fetch` downloads the "
            "default real data set; with --config.data.source=folder, a missing folder is an error"
        )


def _describe_labels(context: TrainContext) -> None:
    """Prints the origin of the labels, a summary, and warnings."""
    data, split, section = context.data, context.split, context.config.data
    # Generated images of a mixture follow those of the folder; unlabeled images have no text.
    hidden = set(split.unlabeled.tolist())
    shown = [i for i, file in enumerate(data.files) if i not in hidden and data.labels[i]]
    shown = shown[: len(shown) - data.num_generated]
    files, labels = [data.files[i] for i in shown], [data.labels[i] for i in shown]
    for line in folder_report.of_labels(
        data.origin, data.notes, data.warnings, files, labels, section
    ):
        print(line)
    if not section.use_labels:
        return
    for line in split_report.notes(data, split, section) + aspects.notes(data, split, section):
        print(f"note: {line}")


def describe(run: Run, place: Mapping[str, Any]) -> None:
    """Writes the records that are known before the first step, and prints the parameter table."""
    context = run.context
    table = crnn.parameter_table(run.state.params)
    print(table, end="", flush=True)
    run.dir.write_text("params.txt", table)
    if context.config.augment.is_on:
        run.dir.write_image("augmented.png", samples.sheet(context))
    data = {
        "name": context.data.name,
        "num_examples": len(context.data),
        "num_train": len(context.split.train),
        "num_val": len(context.split.val),
        "plateau_loss": context.plateau_loss,
        **context.identity(),
    }
    run.dir.write_json("environment.json", {**place, "data": data})
