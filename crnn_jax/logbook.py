"""What a run says and writes down while it trains."""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from crnn_jax import evaluate, record, samples
from crnn_jax import model as model_lib
from crnn_jax.config import Config
from crnn_jax.errors import TrainingError
from crnn_jax.task import Task


def log_step(run: record.Record, epoch: int, step: int, loss: jax.Array) -> float:
    """Writes a step's line of `metrics.jsonl` and returns the loss."""
    value = float(loss)
    require_finite(value, f"of training at step {step}")
    run.append_metrics({"epoch": epoch, "step": step, "step_loss": value})
    return value


def log_epoch(
    run: record.Record,
    epoch: int,
    step: int,
    losses: list[jax.Array],
    evaluation: evaluate.Evaluation,
    seconds: float,
) -> dict[str, Any]:
    """Writes an epoch's line of `metrics.jsonl` and returns it; `loss` is the mean over steps."""
    loss = float(np.mean(jax.device_get(losses)))
    require_finite(loss, f"of training in epoch {epoch}")
    require_finite(evaluation.loss, f"of validation in epoch {epoch}")
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


def require_finite(loss: float, what: str) -> None:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss {what} is {loss}; checkpoints of earlier epochs are kept. Try a smaller "
            "optimizer.learning_rate, a longer optimizer.warmup_steps or a smaller "
            "optimizer.clip_norm, in a --workdir of its own"
        )


def announce(task: Task) -> None:
    print(
        f"{task.data.name}: {len(task.split.train)} images to train on, {len(task.split.val)} to "
        f"validate on, {len(task.charset.alphabet)} symbols {task.charset.alphabet}, "
        f"fingerprint {task.data.fingerprint[:12]}"
    )


def describe(run: record.Record, task: Task, config: Config, params: Any) -> None:
    """Writes what is known before the first step, and prints the parameter table."""
    table = model_lib.parameter_table(params)
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
    devices = [f"{d.platform} {d.device_kind}" for d in jax.devices()]
    run.write_json("environment.json", {**record.environment(devices), "data": data})
