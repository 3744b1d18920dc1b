"""Losses, one entry each: what it computes, from which paper, on which data, with which options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import torch

from embedft.encoder import embed
from embedft.errors import ConfigError, DataError
from embedft.training import objectives
from embedft.training.cache import cached_loss
from embedft.training.masks import false_negative_mask

Features = dict[str, torch.Tensor]
Objective = Callable[..., torch.Tensor]
MIN_ROWS = 2


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


class TripletRanking(torch.nn.Module):
    """`objectives.triplet` on rows of anchor, positive and one negative."""

    def __init__(self, model: Any, *, truncate_dim: int | None = None, margin: float = 0.2) -> None:
        super().__init__()
        self.model = model
        self.truncate_dim = truncate_dim
        self.margin = margin

    def forward(self, features: list[Features], _labels: torch.Tensor) -> torch.Tensor:
        """The loss of one batch, a scalar."""
        anchors, positives, negatives = (embed(self.model, column)[:, : self.truncate_dim] for column in features)
        return objectives.triplet(anchors, positives, negatives, margin=self.margin)


class ScoredPairs(torch.nn.Module):
    """A function of `embedft.training.objectives` on the vectors of two texts and the scores of the pairs."""

    def __init__(self, objective: Objective, model: Any, *, truncate_dim: int | None = None, **options: float) -> None:
        super().__init__()
        self.objective = partial(objective, **options)
        self.model = model
        self.truncate_dim = truncate_dim

    def forward(self, features: list[Features], labels: torch.Tensor) -> torch.Tensor:
        """The loss of one batch, a scalar; ``labels`` are the scores, 0..1."""
        left, right = (embed(self.model, column)[:, : self.truncate_dim] for column in features)
        return self.objective(left, right, labels)


Needs = Literal["pairs", "triplets", "scored pairs", "scored pairs of 0 and 1"]


@dataclass(frozen=True)
class Loss:
    """How a loss is made, which rows it needs, and which options it has, with their defaults."""

    build: Callable[..., torch.nn.Module]
    needs: Needs
    options: Mapping[str, float] = field(default_factory=dict)
    cached: bool = False


LOSSES: dict[str, Loss] = {
    "mnrl": Loss(MultipleNegativesRanking, "pairs", {"scale": 20.0}, cached=True),
    "triplet": Loss(TripletRanking, "triplets", {"margin": 0.2}),
    "cosent": Loss(partial(ScoredPairs, objectives.cosent), "scored pairs", {"scale": 20.0}),
    "angle": Loss(partial(ScoredPairs, objectives.angle), "scored pairs", {"scale": 20.0}),
    "cosine": Loss(partial(ScoredPairs, objectives.cosine), "scored pairs"),
    "contrastive": Loss(partial(ScoredPairs, objectives.contrastive), "scored pairs of 0 and 1", {"margin": 0.5}),
    "online_contrastive": Loss(
        partial(ScoredPairs, objectives.online_contrastive), "scored pairs of 0 and 1", {"margin": 0.5}
    ),
}


def rows_for(name: str, rows: pa.Table) -> pa.Table:
    """The rows as a loss takes them: for ``triplet`` one for each negative, else as they are.

    Raises:
        DataError: the rows lack what the loss needs.
    """
    needs = LOSSES[name].needs
    if needs == "triplets":
        found = [{**row, "negatives": [negative]} for row in rows.to_pylist() for negative in row["negatives"]]
        if len(found) < MIN_ROWS:
            raise DataError(f"loss {name}: the training rows have no negatives.", hint="add negatives, or use mnrl.")
        return pa.Table.from_pylist(found, schema=rows.schema)
    if needs == "scored pairs of 0 and 1":
        odd = [score for score in rows["score"].to_pylist() if score not in (0, 1)]
        if odd:
            raise DataError(
                f"loss {name}: {len(odd)} of {rows.num_rows} scores are neither 0 nor 1, for example {odd[0]:g}.",
                hint="use cosent, which takes graded scores.",
            )
    return rows


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
    loss = LOSSES[name]
    settings: dict[str, Any] = {**loss.options, **options}
    if loss.cached:
        settings["gradient_cache"] = gradient_cache
    return loss.build(model, truncate_dim=truncate_dim, **settings)


def check_loss(
    name: str, options: Mapping[str, float], allowed: tuple[str, ...], *, gradient_cache: bool = False
) -> None:
    """Raise ConfigError if the task has no such loss, or the loss no such option or no gradient cache."""
    if name not in LOSSES or name not in allowed:
        raise ConfigError(f"training.loss is {name!r}.", hint=f"this task can use {', '.join(allowed)}.")
    unknown = set(options) - set(LOSSES[name].options)
    if unknown:
        known = ", ".join(LOSSES[name].options) or "none"
        raise ConfigError(f"training.loss_options has {', '.join(sorted(unknown))}.", hint=f"{name} has: {known}.")
    if gradient_cache and not LOSSES[name].cached:
        able = ", ".join(other for other, loss in LOSSES.items() if loss.cached)
        raise ConfigError(
            f"training.gradient_cache: there is none for the loss {name}.", hint=f"leave it out, or use {able}."
        )
