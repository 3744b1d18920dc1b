"""Which of several training processes this is, as ``torchrun`` and ``accelerate launch`` say it in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch


def world_size() -> int:
    """How many processes train together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes and reports; the others only compute."""
    return int(os.environ.get("RANK", "0")) == 0


def join(device: str) -> None:
    """Meet the other processes: gloo between processors, nccl between GPUs. Nothing to do for one process alone."""
    if world_size() > 1:
        from accelerate import PartialState

        PartialState(cpu=device == "cpu")


def wait() -> None:
    """Return when every process has come here."""
    if world_size() > 1:
        torch.distributed.barrier()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one message.

    In place of ``DistributedDataParallel``, which has to see one forward pass for each backward pass: the gradient
    cache makes two, and the losses call the encoder's modules, not its ``forward``.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        # A process whose batch did not touch it (a loss of its own data set) still takes part.
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.flatten() for parameter in trained if parameter.grad is not None])
    torch.distributed.all_reduce(flat)
    flat /= world_size()
    place = 0
    for parameter in trained:
        size = parameter.numel()
        parameter.grad = flat[place : place + size].view_as(parameter)
        place += size
