"""Which of several training processes this is, as ``torchrun`` and ``accelerate launch`` say it in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta

import torch

from embedft.errors import ConfigError

# How long a process waits for the others. While the first one mines or judges they have nothing to do; torch would end
# them after 10 minutes on GPUs, after 30 on processors.
LONGEST_WAIT = timedelta(days=1)


def world_size() -> int:
    """How many processes train together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes and reports; the others only compute."""
    return int(os.environ.get("RANK", "0")) == 0


def check_device(device: str | None, *, stepped: bool) -> None:
    """Raise ConfigError if ``model.device`` names a GPU by its number, and training would take another one.

    Args:
        device: the setting.
        stepped: whether the trainer takes steps, which it does on the first GPU that it sees.
    """
    kind, _, number = (device or "").partition(":")
    if kind != "cuda" or not number:
        return
    if world_size() > 1:
        raise ConfigError(
            f"model.device is {device}, and each of {world_size()} processes takes a GPU of its own.",
            hint="use cuda, or leave it out; CUDA_VISIBLE_DEVICES says which GPUs there are.",
        )
    if stepped and number != "0":
        raise ConfigError(
            f"model.device is {device}, and training takes the first GPU that it sees.",
            hint=f"use cuda, or leave it out, and set the environment variable CUDA_VISIBLE_DEVICES={number}.",
        )


def join(device: str | None) -> None:
    """Meet the other processes: gloo between processors, nccl between GPUs. Nothing to do for one process alone.

    From here on ``cuda`` means the GPU of this process.

    Args:
        device: of the encoder, as `embedft.encoder.Encoder.load` takes it.
    """
    if world_size() > 1:
        from accelerate import PartialState

        on_cpu = device == "cpu" or (device is None and not torch.cuda.is_available())
        PartialState(cpu=on_cpu, timeout=LONGEST_WAIT)


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
