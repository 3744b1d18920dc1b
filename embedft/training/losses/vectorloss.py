"""Losses under sentence-transformers' trainer: features in, vectors, an objective on them.

`VectorLoss` does what every loss needs done: it embeds the columns of a batch, with or without the gradient cache,
gathers the vectors of all processes, and cuts them to the dimensions that count. What is left of a loss is its
`Objective`, a function of vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from embedft.encoder import embed
from embedft.training.losses.cache import cached_loss
from embedft.training.losses.ranks import gather

Features = dict[str, torch.Tensor]
FromVectors = Callable[[Sequence[torch.Tensor]], torch.Tensor]


class Objective(torch.nn.Module):
    """A loss as a function of vectors; it may have weights of its own.

    Attributes:
        columns: how many columns of texts it takes, of which the last may be missing from a batch, whose labels are
            the ids of all texts, one column after the other; None if the labels are one value a row.
    """

    columns: int | None = None

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """The function from the columns' vectors, each (rows, dim), to the loss of the batch, a scalar.

        What does not depend on vectors is computed here, once; the function is called for every number of dimensions.

        Args:
            labels: the text ids of each column, or one tensor of values.
        """
        raise NotImplementedError


class VectorLoss(torch.nn.Module):
    """The sum of an objective on the first ``dims`` dimensions of the vectors of a batch.

    With more than one number it is Matryoshka representation learning (Kusupati et al. 2022, arXiv:2205.13147, eq. 1),
    equal to sentence-transformers' ``MatryoshkaLoss`` with weights of 1, from one forward pass of the encoder.
    """

    def __init__(
        self, objective: Objective, model: Any, *, dims: Sequence[int | None] = (None,), gradient_cache: bool = False
    ) -> None:
        """Around a model.

        Args:
            objective: what is minimised.
            model: a SentenceTransformer.
            dims: numbers of leading dimensions; None for all.
            gradient_cache: keep one chunk's activations at a time, see `embedft.training.losses.cache`.
        """
        super().__init__()
        self.objective = objective
        self.model = model
        self.dims = tuple(dims)
        self.gradient_cache = gradient_cache

    def forward(self, features: list[Features], labels: torch.Tensor) -> torch.Tensor:
        """The loss of one batch, of all processes together, a scalar."""
        of_vectors = self.objective.of([gather(part) for part in self._labels(features, labels)])

        def loss_of(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            missing = [columns[0][:0]] * ((self.objective.columns or 0) - len(columns))
            joint = [gather(column) for column in (*columns, *missing)]
            # Outside any autocast: in bf16 scores near a scale of 20 would be steps of 0.125 apart.
            with torch.autocast(joint[0].device.type, enabled=False):
                whole = [column.float() for column in joint]
                return torch.stack([of_vectors([column[:, :dim] for column in whole]) for dim in self.dims]).sum()

        if self.gradient_cache:
            return cached_loss(self.model, features, loss_of, weights=list(self.objective.parameters()))
        return loss_of([embed(self.model, column) for column in features])

    def _labels(self, features: list[Features], labels: torch.Tensor) -> list[torch.Tensor]:
        if self.objective.columns is None:
            return [labels]
        sizes = [len(column["input_ids"]) for column in features]
        return list(torch.split(labels, sizes + [0] * (self.objective.columns - len(sizes))))
