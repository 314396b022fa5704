"""Part `lstm`, in PyTorch: two bidirectional nn.LSTM with cuDNN, forward and backward pass."""

from __future__ import annotations

from typing import Any

import record
import torch
import torch_steps
import worker
from torch import nn

BATCHES = record.pick((16, 64, 256, 1024), (2,))


class Layers(nn.Module):
    """[B, 50, 64] to 256 to 128 features."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.LSTM(64, 128, batch_first=True, bidirectional=True)
        self.second = nn.LSTM(256, 64, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x)[0])[0]


def main() -> None:
    found = record.Record("lstm", ["torch"])
    for name, is_graphed, with_tf32 in (
        ("nn.LSTM", False, True),
        ("nn.LSTM, CUDA graphs", True, True),
        ("nn.LSTM, float32", False, False),
    ):
        for batch in BATCHES if torch_steps.IS_GPU or not is_graphed else ():
            with torch_steps.tf32(with_tf32):
                found.add("torch", f"batch {batch}, {name}", measure(batch, is_graphed))


def measure(batch: int, is_graphed: bool) -> Any:
    try:
        torch.manual_seed(0)
        layers = Layers().to(torch_steps.DEVICE)
        x = torch.randn(batch, 50, 64, device=torch_steps.DEVICE, requires_grad=True)
        forward = torch.cuda.make_graphed_callables(layers, (x,)) if is_graphed else layers

        def call() -> torch.Tensor:
            layers.zero_grad(set_to_none=True)
            x.grad = None
            total = forward(x).square().sum()
            total.backward()
            return total

        turn = worker.timed(call, torch_steps.wait)
        turn(record.pick(3, 0), 1)
        calls = max(1, min(1000, int(record.pick(0.1, 0) / turn(0, record.pick(3, 1)) * 3)))
        return record.times([1000 * turn(1, calls) / calls for _ in range(record.pick(3, 1))])
    except Exception as error:
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"


if __name__ == "__main__":
    main()
