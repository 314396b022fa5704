"""The recipe of experiments/fast.py in PyTorch, up to the epoch that reads enough.

    python torch_recipe.py SPLIT REPORT SEED REACH

Model, flat start, learning rates, clipping, dropout rates, and moving average of the weights are
those of the package. Random numbers and dropout masks are those of PyTorch, initial kernels of the
convolutions are from a normal distribution that is not truncated, and the last batch of an epoch is
left out if it is not full. The split is that of SPLIT (JSON). A JSON line is appended to REPORT
after each epoch. As in the package, evaluations count as time.
"""

from __future__ import annotations

import copy
import json
import math
import os
import sys

import numpy as np
import torch
import torch_
import worker
from PIL import Image
from torch import nn
from torch.nn import functional as F

WIDTH, HEIGHT, BATCH, EPOCHS = 144, 36, 8, 10
RATE, WARMUP, CLIP, EMA = 0.04, 100, 5.0, 0.98
DROPOUT, TRIM, UNTIL, MAX_STEPS, FADE_STEPS = 0.1, 0.02, 0.85, 500, 20


def read(pairs: list[list[str]], symbols: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns pixels f32 [N, W, H, 1] from 0 to 255, and labels i64 [N, L] padded with -1."""
    size = (WIDTH, HEIGHT)
    images = [
        Image.open(file).convert("L").resize(size, Image.Resampling.BILINEAR) for file, _ in pairs
    ]
    pixels = np.stack([np.asarray(image, np.float32).T[..., None] for image in images])
    longest = max(len(text) for _, text in pairs)
    labels = np.full((len(pairs), longest), -1)
    for row, (_, text) in zip(labels, pairs, strict=True):
        row[: len(text)] = [symbols.index(symbol) for symbol in text]
    return torch.from_numpy(pixels), torch.from_numpy(labels)


def segmentation(images: torch.Tensor, labels: torch.Tensor, steps: int) -> torch.Tensor:
    """Returns the target i64 [N, T] of each step in the flat start; -1 for none."""
    x = F.pad(images.permute(0, 3, 1, 2), (2, 2, 2, 2), mode="replicate")
    x = F.avg_pool2d(x, 5, stride=1)[:, 0]  # [N, W, H]
    ink = (x[:, 1:] - x[:, :-1]).abs().sum(2)
    ink = (ink - ink.quantile(0.1, dim=1, keepdim=True)).clamp(min=0).sqrt() + 1e-6
    left = ink.cumsum(1) / ink.sum(1, keepdim=True)
    middles = ((torch.arange(steps) + 0.5) * WIDTH / steps).long().clamp(max=WIDTH - 2)
    lengths = (labels >= 0).sum(1, keepdim=True)
    symbol = (lengths * (left[:, middles] - TRIM) / (1 - 2 * TRIM)).floor().long()
    inside = (symbol >= 0) & (symbol < lengths)
    targets = labels.gather(1, symbol.clamp(0, labels.shape[1] - 1))
    return targets.where(inside, torch.tensor(-1))


def initialize(model: torch_.CRNN) -> None:
    """Draws parameters as Keras' layers do."""
    for name, parameter in model.named_parameters():
        if "bias" in name:
            nn.init.zeros_(parameter)
            if "bias_ih" in name:  # the forget gate, second of four
                parameter.data[parameter.numel() // 4 : parameter.numel() // 2] = 1
        elif "conv" in name:
            nn.init.kaiming_normal_(parameter)
        elif "weight_hh" in name:
            nn.init.orthogonal_(parameter)
        else:
            nn.init.xavier_uniform_(parameter)


def learning_rate(step: int, steps: int) -> float:
    """Returns the rate of update `step`, from 0: linear warm-up, then a cosine."""
    if step < WARMUP:
        return RATE * (step + 1) / (WARMUP + 1)
    return RATE * (1 + math.cos(math.pi * (step - WARMUP) / (steps - WARMUP))) / 2


def exact_match(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Returns the share of images whose greedy reading is the label."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for some, truths in zip(images.split(64), labels.split(64), strict=True):
            logits = model(some)
            for row, truth in zip(logits.argmax(-1).tolist(), truths.tolist(), strict=True):
                kept = [k for i, k in enumerate(row) if i == 0 or k != row[i - 1]]
                found = [k for k in kept if k < logits.shape[-1] - 1]
                right += found == [k for k in truth if k >= 0]
    return right / len(images)


def main(split: str, report: str, seed: str, reach: str) -> None:
    torch.manual_seed(int(seed))
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with open(split) as file:
        parts = json.load(file)  # {"train": [[file, text], ...], "val": ...}
    symbols = "".join(sorted({s for part in parts.values() for _, text in part for s in text}))
    pixels, labels = read(parts["train"], symbols)
    val_pixels, val_labels = read(parts["val"], symbols)
    std, mean = torch.std_mean(pixels, correction=0)
    # The model divides pixels by 255.
    images, val_images = (255 * (some - mean) / std for some in (pixels, val_pixels))
    targets = segmentation(pixels, labels, WIDTH // 4)

    job = worker.Job("train", BATCH, torch.get_num_threads(), 1.0, "", "", {})
    model = torch_.CRNN(job, HEIGHT, len(symbols) + 1).to(memory_format=torch.channels_last)
    initialize(model)
    averaged = copy.deepcopy(model)
    optimizer = torch_.updates(model)
    per_epoch = len(images) // BATCH
    steps, step = EPOCHS * per_epoch, 0
    flat_loss, weight = 1.0, 1.0  # running mean of the flat-start loss, and its weight

    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(images))[: per_epoch * BATCH].split(BATCH):
            for dropout in (model.dropout, model.lstm_dropout):
                dropout.p = 0.0 if weight else DROPOUT
            optimizer.param_groups[0]["lr"] = learning_rate(step, steps)
            logits = model(images[rows])
            loss = torch_.loss_of(logits, labels[rows])
            if weight:
                some = targets[rows]
                losses = F.cross_entropy(
                    logits.transpose(1, 2), some, ignore_index=-1, reduction="none"
                )
                flat = (losses.sum(1) / (some >= 0).sum(1)).mean()
                loss = (1 - weight) * loss + weight * logits.shape[1] * flat
                flat_loss = 0.9 * flat_loss + 0.1 * flat.item() / math.log(len(symbols))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            decay = min(EMA, (1 + step) / (25 + step))
            with torch.no_grad():
                for kept, new in zip(averaged.parameters(), model.parameters(), strict=True):
                    kept.lerp_(new, 1 - decay)
            if weight < 1 or flat_loss < UNTIL or step >= min(MAX_STEPS, steps // 3):
                weight *= 1 - 1 / max(1.0, min(FADE_STEPS, steps / 6 / math.log(100)))
                weight = weight if weight >= 0.01 else 0.0
            step += 1
        share = exact_match(averaged, val_images, val_labels)
        with open(report, "a") as file:
            file.write(json.dumps({"epoch": epoch + 1, "exact_match": share}) + "\n")
        if share >= float(reach):
            break


if __name__ == "__main__":
    main(*sys.argv[1:])
