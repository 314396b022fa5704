"""The model in PyTorch, channels last, as users would write it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
import worker
from torch import nn
from torch.nn import functional as F


class CRNN(nn.Module):
    """Pixels u8 [B, W, H, C] to logits [B, T, K]."""

    def __init__(self, job: worker.Job, height: int, num_classes: int):
        super().__init__()
        (first, second), dense, units = job.widths()
        self.conv1 = nn.Conv2d(1, first, 3, padding=1)
        self.conv2 = nn.Conv2d(first, second, 3, padding=1)
        self.dense1 = nn.Linear(height // 4 * second, dense)
        self.dropout = nn.Dropout(0.2)
        inputs = (dense, 2 * units[0])
        self.lstms = nn.ModuleList(
            nn.LSTM(i, u, batch_first=True, bidirectional=True)
            for i, u in zip(inputs, units, strict=True)
        )
        self.lstm_dropout = nn.Dropout(0.25)
        self.dense2 = nn.Linear(2 * units[1], num_classes)
        for lstm in self.lstms:
            # PyTorch has two biases, the model has one.
            for name, parameter in lstm.named_parameters():
                if name.startswith("bias_hh"):
                    nn.init.zeros_(parameter)
                    parameter.requires_grad_(False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = images.permute(0, 3, 1, 2).float() / 255  # [B, C, W, H], channels last in memory
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.permute(0, 2, 3, 1).flatten(2)  # [B, T, H C]
        x = self.dropout(F.relu(self.dense1(x)))
        for lstm in self.lstms:
            x, _ = lstm(self.lstm_dropout(x))
        return self.dense2(x)

    def load(self, values: dict[str, np.ndarray]) -> None:
        """Loads parameters in the names and layout of the package."""

        def put(parameter: nn.Parameter, name: str, *axes: int) -> None:
            value = torch.from_numpy(values[name].copy())
            parameter.data.copy_(value.permute(axes) if axes else value)

        for i, conv in enumerate((self.conv1, self.conv2), 1):
            put(conv.weight, f"Conv{i}/kernel", 3, 2, 0, 1)  # from [W, H, in, out]
            put(conv.bias, f"Conv{i}/bias")
        for name in ("dense1", "dense2"):
            put(getattr(self, name).weight, f"{name}/kernel", 1, 0)
            put(getattr(self, name).bias, f"{name}/bias")
        for layer, lstm in zip(("bidirectional", "bidirectional_1"), self.lstms, strict=True):
            for way, suffix in (("forward", "l0"), ("backward", "l0_reverse")):
                put(getattr(lstm, f"weight_ih_{suffix}"), f"{layer}/{way}_kernel", 1, 0)
                put(getattr(lstm, f"weight_hh_{suffix}"), f"{layer}/{way}_recurrent_kernel", 1, 0)
                put(getattr(lstm, f"bias_ih_{suffix}"), f"{layer}/{way}_bias")


def loss_of(
    logits: torch.Tensor, labels: torch.Tensor, lengths: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean CTC loss: logits [B, T, K], labels [B, L] padded with -1.

    Pass the `lengths` [B] of the labels if they are known: on a GPU, computing them would block.
    """
    batch, steps, classes = logits.shape
    return F.ctc_loss(
        F.log_softmax(logits, -1).transpose(0, 1),
        labels.clamp(min=0),
        torch.full((batch,), steps),
        (labels >= 0).sum(1) if lengths is None else lengths,
        blank=classes - 1,
        reduction="sum",
    ) / batch  # fmt: skip


def build(job: worker.Job, arrays: dict[str, np.ndarray]) -> CRNN:
    torch.set_num_threads(job.threads)
    num_classes = arrays["dense2/bias"].size
    model = CRNN(job, arrays["images"].shape[2], num_classes)
    model.load(arrays)
    return model.to(memory_format=torch.channels_last)


def updates(model: CRNN) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad],
        0.04, momentum=0.9, nesterov=True, fused=True,
    )  # fmt: skip


def update(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: torch.Tensor,
    labels: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """Makes a training step and returns the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(model(images), labels, lengths)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
    optimizer.step()
    return loss.detach()


def prepare(job: worker.Job) -> worker.Work:
    torch.manual_seed(0)
    arrays = job.load()
    model = build(job, arrays)
    images = torch.from_numpy(arrays["images"])
    labels = torch.from_numpy(arrays["labels"].astype(np.int64))
    model.eval()
    with torch.inference_mode():
        logits = model(images[: worker.CHECKED]).numpy()
        loss = loss_of(model(images[: job.batch]), labels[: job.batch]).item()
    forward = torch.compile(model) if job.variant == "compile" else model
    if job.work == "train":
        model.train()
        optimizer = updates(model)
        batches = itertools.cycle([torch.from_numpy(b) for b in job.batches(8, len(images))])

        def call() -> Any:
            indices = next(batches)
            return update(forward, optimizer, images[indices], labels[indices]).item()
    else:
        pixels = arrays["images"][: job.batch]

        def call() -> Any:
            with torch.inference_mode():
                return forward(torch.from_numpy(pixels)).numpy()

    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return worker.Work(worker.timed(call), count, ("torch",), logits, loss)


if __name__ == "__main__":
    worker.serve(prepare)
