"""Losses, one entry each: what it computes, from which paper, on which data, with which options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from embedft.encoder import embed
from embedft.errors import ConfigError
from embedft.training.cache import cached_loss
from embedft.training.masks import false_negative_mask

Features = dict[str, torch.Tensor]


def multiple_negatives_ranking(
    anchors: torch.Tensor, candidates: torch.Tensor, mask: torch.Tensor, *, scale: float = 20.0
) -> torch.Tensor:
    """The mean over rows of -log softmax(scale * cos(anchor, candidates)) at the row's own positive.

    In-batch negatives by Henderson et al. 2017 (arXiv:1705.00652, section 4.4), the InfoNCE of van den Oord et al.
    2018 (arXiv:1807.03748, eq. 4) with temperature 1 / scale; equal to sentence-transformers'
    ``MultipleNegativesRankingLoss`` where the mask is empty.

    Args:
        anchors: (batch, dim).
        candidates: (batch + negatives, dim); row i's positive is candidate i.
        mask: (batch, batch + negatives), True where a candidate is not to be a negative of that row.
        scale: inverse temperature.
    """
    # Outside any autocast: in bf16 scores near the scale of 20 would be steps of 0.125 apart.
    with torch.autocast(anchors.device.type, enabled=False):
        anchors = torch.nn.functional.normalize(anchors.float(), dim=1)
        candidates = torch.nn.functional.normalize(candidates.float(), dim=1)
        scores = scale * anchors @ candidates.T  # (batch, batch + negatives)
        scores = scores.masked_fill(mask, -torch.inf)
        return torch.nn.functional.cross_entropy(scores, torch.arange(len(anchors), device=scores.device))


class MultipleNegativesRanking(torch.nn.Module):
    """`multiple_negatives_ranking` under sentence-transformers' trainer.

    Takes the features of anchor, positive and, if the batch has some, negatives; ``labels`` are the text ids of all
    three, one after the other.
    """

    def __init__(
        self, model: Any, *, truncate_dim: int | None = None, gradient_cache: bool = False, scale: float = 20.0
    ) -> None:
        super().__init__()
        self.model = model
        self.truncate_dim = truncate_dim
        self.gradient_cache = gradient_cache
        self.scale = scale

    def forward(self, features: list[Features], labels: torch.Tensor) -> torch.Tensor:
        """The loss of one batch, a scalar."""
        sizes = [len(column["input_ids"]) for column in features]
        anchor_ids, positive_ids, *negative_ids = torch.split(labels, sizes)
        mask = false_negative_mask(anchor_ids, positive_ids, torch.cat([labels[:0], *negative_ids]))

        def loss_of(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            anchors, *candidates = (column[:, : self.truncate_dim] for column in columns)
            return multiple_negatives_ranking(anchors, torch.cat(candidates), mask, scale=self.scale)

        if self.gradient_cache:
            return cached_loss(self.model, features, loss_of)
        return loss_of([embed(self.model, column) for column in features])


@dataclass(frozen=True)
class Loss:
    """How a loss is made and which options it has, with their defaults."""

    build: Callable[..., torch.nn.Module]
    options: Mapping[str, float] = field(default_factory=dict)


LOSSES: dict[str, Loss] = {
    "mnrl": Loss(MultipleNegativesRanking, {"scale": 20.0}),
}


def build_loss(
    name: str,
    options: Mapping[str, float],
    model: Any,
    truncate_dim: int | None = None,
    *,
    gradient_cache: bool = False,
) -> torch.nn.Module:
    """The loss module around ``model``, on the first ``truncate_dim`` dimensions.

    Check the name and the options beforehand with `check_loss`.

    Args:
        name: of the loss.
        options: of the loss; its own defaults where missing.
        model: a SentenceTransformer.
        truncate_dim: dimensions that count; None for all.
        gradient_cache: keep one chunk's activations at a time, see `embedft.training.cache`.
    """
    settings = {**LOSSES[name].options, **options}
    return LOSSES[name].build(model, truncate_dim=truncate_dim, gradient_cache=gradient_cache, **settings)


def check_loss(name: str, options: Mapping[str, float], allowed: tuple[str, ...]) -> None:
    """Raise ConfigError if the task has no such loss, or the loss no such option."""
    if name not in LOSSES or name not in allowed:
        raise ConfigError(f"training.loss is {name!r}.", hint=f"this task can use {', '.join(allowed)}.")
    unknown = set(options) - set(LOSSES[name].options)
    if unknown:
        known = ", ".join(LOSSES[name].options) or "none"
        raise ConfigError(f"training.loss_options has {', '.join(sorted(unknown))}.", hint=f"{name} has: {known}.")
