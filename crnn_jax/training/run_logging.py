"""What a run says and writes down while it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from crnn_jax.config import Config
from crnn_jax.data import batching, folder
from crnn_jax.errors import TrainingError, one_line
from crnn_jax.inference import evaluate
from crnn_jax.models import crnn
from crnn_jax.runs import run_dir
from crnn_jax.training import samples
from crnn_jax.training.context import TrainContext


def log_step(
    run: run_dir.RunDir,
    task: TrainContext,
    config: Config,
    epoch: int,
    losses: Sequence[jax.Array | np.ndarray],
    step: int,
    loss: jax.Array | np.ndarray,
) -> float:
    """Writes a step's line of `metrics.jsonl` and returns its loss.

    `losses` are the epoch's so far, [S] for each call.
    """
    value = float(loss)
    if not math.isfinite(value):
        raise not_finite(run, task, config, epoch, losses)
    run.append_metrics({"epoch": epoch, "step": step, "step_loss": value})
    return value


def log_epoch(
    run: run_dir.RunDir,
    task: TrainContext,
    config: Config,
    epoch: int,
    step: int,
    losses: Sequence[jax.Array | np.ndarray],
    evaluation: evaluate.Evaluation,
    seconds: float,
) -> dict[str, Any]:
    """Writes an epoch's line of `metrics.jsonl` and returns it; `loss` is the mean over steps."""
    loss = float(np.mean(np.concatenate(jax.device_get(list(losses)))))
    if not math.isfinite(loss + evaluation.loss):
        raise not_finite(run, task, config, epoch, losses)
    scores = evaluation.scores
    values = {
        "epoch": epoch,
        "step": step,
        "loss": loss,
        "val_loss": evaluation.loss,
        "exact_match": scores.exact_match,
        "cer": scores.cer,
        "seconds": round(seconds, 3),
    }
    run.append_metrics(values)
    return values


def not_finite(
    run: run_dir.RunDir, task: TrainContext, config: Config, epoch: int, losses: Sequence[Any]
) -> TrainingError:
    """The error of a run whose loss is no number; the pictures at fault go to `not_finite.csv`.

    They are those of the first step whose loss is not finite, and of the step before it, whose
    gradient may have spoilt the parameters.
    """
    values = np.concatenate(jax.device_get(list(losses)))
    bad = np.flatnonzero(~np.isfinite(values))
    place = int(bad[0]) if len(bad) else len(values)  # the last update, seen by the evaluation
    order = task.order(config.seed, epoch)
    batches = [chunk[mask] for chunk, mask in batching.batches(order, config.train.batch_size)]
    first = (epoch - 1) * task.steps_per_epoch + 1
    suspects = range(max(place - 1, 0), min(place + 1, len(values)))
    run.write_csv(
        "not_finite.csv",
        ("step", "file", "text"),
        [(first + i, *task.source_of(n)) for i in suspects for n in batches[i].tolist()],
    )
    what = f"of training at step {first + place}" if len(bad) else f"of validation in epoch {epoch}"
    return TrainingError(
        f"the loss {what} is not finite; checkpoints of earlier epochs are kept, and the pictures "
        f"of steps {first + suspects[0]} to {first + suspects[-1]} are in "
        f"{run.workdir / 'not_finite.csv'}. Try a smaller optimizer.learning_rate, a longer "
        "optimizer.warmup_steps or a smaller optimizer.clip_norm, in a --workdir of its own"
    )


def warn_of_plateau(task: TrainContext, left: int, loss: float) -> None:
    """Prints a note if the model predicts only blanks."""
    if not left:
        print(
            f"note: it has not left the plateau: its loss of {loss:.2f} is about that of the best "
            f"constant predictor, {task.plateau_loss:.2f}, which reads nothing. Try "
            "flat_start.until=0.85 if it is off, data.standardise=auto, a smaller "
            "optimizer.learning_rate, more train.epochs, or more pictures"
        )


def announce(task: TrainContext, config: Config) -> None:
    print(
        f"{one_line(task.data.name)}: {len(task.split.train)} images to train on, "
        f"{len(task.split.val)} to validate on, {len(task.charset.alphabet)} symbols "
        f"{one_line(task.charset.alphabet[:200])}, "
        f"fingerprint {task.data.fingerprint[:12]}"
    )
    if not folder.uses_folder(config.data):
        print(
            "note: these pictures are generated, those of the validation part too: what the run "
            "scores is not what it would on real ones. `python -m crnn_jax fetch` gets the default "
            "real set; --config.data.source=folder insists on one"
        )


def describe(
    run: run_dir.RunDir, task: TrainContext, config: Config, params: Any, place: Mapping[str, Any]
) -> None:
    """Writes what is known before the first step, and prints the parameter table."""
    table = crnn.parameter_table(params)
    print(table, end="", flush=True)
    run.write_text("params.txt", table)
    if config.augment.is_on:
        run.write_image("augmented.png", samples.sheet(task, config))
    data = {
        "name": task.data.name,
        "num_examples": len(task.data),
        "num_train": len(task.split.train),
        "num_val": len(task.split.val),
        "plateau_loss": task.plateau_loss,
        **task.identity(),
    }
    run.write_json("environment.json", {**place, "data": data})
