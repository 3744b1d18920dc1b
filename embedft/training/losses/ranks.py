"""Rows gathered across training processes, so that a loss sees the batches of all of them as one.

Every process computes the loss of the joint batch, and its gradients flow into its own rows alone. A trainer that
averages gradients over processes (as ``DistributedDataParallel`` and `embedft.training.processes` do) divides what
each of them adds by their number, so these gradients are multiplied by it. The mean is then the gradient of the joint
loss, for weights of the encoder (each process has a share of it) and of the loss (each process has all of it) alike,
and nothing has to be sent on the way back. The price is that scores between all rows are computed in each process:
little beside embedding them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed


def processes() -> int:
    """How many processes train together; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, those of rank 0 first, (sum of rows, ...); the same tensor if there is one process.

    Every process must call it, with the same shape but for the number of rows, which may differ and be 0.
    Gradients flow to the own rows, times the number of processes.
    """
    if processes() == 1:
        return rows
    gathered: torch.Tensor = _Gather.apply(rows)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        world, rank = distributed.get_world_size(), distributed.get_rank()
        own = torch.tensor([len(rows)], device=rows.device)
        found = [torch.empty_like(own) for _ in range(world)]
        distributed.all_gather(found, own)
        counts = [int(count) for count in found]
        # Collectives want equal shapes: shorter ones are filled up, and cut again.
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in range(world)]
        distributed.all_gather(parts, padded)
        ctx.start, ctx.rows, ctx.world = sum(counts[:rank]), len(rows), world
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = gradients
        own: torch.Tensor = gradient[ctx.start : ctx.start + ctx.rows] * ctx.world
        return own
