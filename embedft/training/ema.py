"""A running mean of the weights, which is judged and kept in place of those of the last step.

Polyak & Juditsky 1992 (Acceleration of stochastic approximation by averaging); the exponential form with the early
steps corrected as in TensorFlow's ExponentialMovingAverage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback, TrainerState


class MeanWeights(TrainerCallback):
    """After each step: mean = d * mean + (1 - d) * weights, with d = min(decay, (1 + step) / (10 + step)).

    It costs one copy of the weights that are trained. A mean of adapters is the mean of each of their two factors.

    Args:
        parameters: those that are trained, by name.
        decay: of the mean; 0.99 averages over about the last 100 steps.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.mean = {name: parameter.detach().clone() for name, parameter in parameters.items()}

    def on_step_end(self, _args: Any, state: TrainerState, _control: Any, **_: Any) -> None:
        """Take the weights of the step into the mean."""
        self.update(state.global_step)

    def update(self, step: int) -> None:
        """Take the weights as they are now into the mean; ``step`` counts from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self.parameters.items():
            self.mean[name].lerp_(parameter.detach(), 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the mean as its weights, and has its own again afterwards; nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.data, self.mean[name] = self.mean[name], parameter.data
