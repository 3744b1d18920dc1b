"""Losses that rank a row's positive above the other candidates of the batch, with or without a guide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn.functional import cross_entropy, normalize

from embedft.training.losses.guide import GuideVectors
from embedft.training.losses.masks import PairSet, Relations
from embedft.training.losses.vectorloss import FromVectors, Objective

# Of a learned scale, as in CLIP (Radford et al. 2021, arXiv:2103.00020, section 2.5): above it training is unstable.
MOST_SCALE = 100.0


def cosine_matrix(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Cosines of all rows of ``left`` and of ``right``, (left, right), in fp32 under any autocast."""
    with torch.autocast(left.device.type, enabled=False):
        return normalize(left.float(), dim=1) @ normalize(right.float(), dim=1).T


def multiple_negatives_ranking(
    anchors: torch.Tensor, candidates: torch.Tensor, mask: torch.Tensor, *, scale: float | torch.Tensor = 20.0
) -> torch.Tensor:
    """The mean over rows of -log softmax(scale * cos(anchor, candidates)) at the row's own positive.

    In-batch negatives by Henderson et al. 2017 (arXiv:1705.00652, section 4.4), the InfoNCE of van den Oord et al.
    2018 (arXiv:1807.03748, eq. 4) with temperature 1 / scale; equal to sentence-transformers'
    ``MultipleNegativesRankingLoss`` where the mask is empty. With anchors and positives exchanged it is the other
    half of ``MultipleNegativesSymmetricRankingLoss``.

    Args:
        anchors: (batch, dim).
        candidates: (batch + negatives, dim); row i's positive is candidate i.
        mask: (batch, batch + negatives), True where a candidate is not to be a negative of that row.
        scale: inverse temperature.
    """
    return _at_own(cosine_matrix(anchors, candidates) * scale, mask)


def gist(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    mask: torch.Tensor,
    *,
    temperature: float = 0.01,
    contrast_anchors: bool = True,
    contrast_positives: bool = True,
) -> torch.Tensor:
    """`multiple_negatives_ranking` whose negatives are also the other anchors and, for the positive, the others.

    Solatorio 2024, GISTEmbed, arXiv:2402.16829; equal to sentence-transformers' ``GISTEmbedLoss``.

    Args:
        anchors: (batch, dim).
        candidates: (batch + negatives, dim); row i's positive is candidate i.
        mask: (batch, columns), see `gist_mask`; True where something is not to be a negative of that row.
        temperature: what cosines are divided by.
        contrast_anchors: the anchor against the other anchors.
        contrast_positives: the positive against the other positives.
    """
    return _at_own(_gist_cosines(anchors, candidates, contrast_anchors, contrast_positives) / temperature, mask)


def gist_mask(
    anchors: torch.Tensor,
    candidates: torch.Tensor,
    relations: Relations,
    *,
    margin: float = 0.0,
    margin_strategy: str = "absolute",
    contrast_anchors: bool = True,
    contrast_positives: bool = True,
) -> torch.Tensor:
    """What is no negative of a row, (batch, columns): what the guide finds more similar than the row's own pair.

    Columns: all candidates, then, if contrasted, all anchors, then all positives. Also masked, whatever the guide
    says, are texts that are known to belong together.

    Args:
        anchors: (batch, dim), the guide's vectors.
        candidates: (batch + negatives, dim), the guide's vectors.
        relations: of the texts of the batch.
        margin: by how much less similar a negative has to be than the positive.
        margin_strategy: ``"absolute"``, or ``"relative"``: a share of the positive's similarity.
        contrast_anchors: as in `gist`.
        contrast_positives: as in `gist`.
    """
    batch = len(anchors)
    found = _gist_cosines(anchors, candidates, contrast_anchors, contrast_positives)
    own = found.diagonal()[:, None]  # (batch, 1)
    margins = own.abs() * margin if margin_strategy == "relative" else margin
    itself = torch.eye(batch, dtype=torch.bool, device=found.device)
    of_candidates = relations.candidates()
    known = [of_candidates]
    if contrast_anchors:
        known.append(relations.anchors() | itself)
    if contrast_positives:
        known.append(of_candidates[:, :batch] | itself)
    mask = torch.cat(known, dim=1) | (found > own - margins)
    mask[:, :batch] &= ~itself
    return mask


def _gist_cosines(
    anchors: torch.Tensor, candidates: torch.Tensor, contrast_anchors: bool, contrast_positives: bool
) -> torch.Tensor:
    positives = candidates[: len(anchors)]
    parts = [cosine_matrix(anchors, candidates)]
    if contrast_anchors:
        parts.append(cosine_matrix(anchors, anchors))
    if contrast_positives:
        parts.append(cosine_matrix(positives, positives))
    return torch.cat(parts, dim=1)


def _at_own(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of -log softmax of the unmasked scores at column i of row i."""
    own = torch.arange(len(scores), device=scores.device)
    return cross_entropy(scores.masked_fill(mask, -torch.inf), own)


class Ranking(Objective):
    """`multiple_negatives_ranking` of anchors, positives and, if the batch has some, negatives."""

    columns = 3

    def __init__(
        self,
        *,
        scale: float = 20.0,
        learn_scale: bool = False,
        symmetric: bool = False,
        mask: bool = True,
        known: PairSet | None = None,
    ) -> None:
        super().__init__()
        self.symmetric, self.mask, self.known = symmetric, mask, known
        self.scale = scale
        self.log_scale = torch.nn.Parameter(torch.tensor(math.log(scale))) if learn_scale else None

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of ids of anchors, positives, negatives."""
        anchor_ids, positive_ids, negative_ids = labels
        shape = (len(anchor_ids), len(positive_ids) + len(negative_ids))
        mask = torch.zeros(shape, dtype=torch.bool, device=anchor_ids.device)
        back = mask[:, : shape[0]]
        if self.mask:
            relations = Relations(anchor_ids, positive_ids, negative_ids, self.known)
            mask, back = relations.candidates(), relations.anchors()
        if self.log_scale is not None:
            with torch.no_grad():
                self.log_scale.clamp_(max=math.log(MOST_SCALE))

        def loss(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            anchors, positives, negatives = columns
            scale = self.scale if self.log_scale is None else self.log_scale.exp()
            value = multiple_negatives_ranking(anchors, torch.cat([positives, negatives]), mask, scale=scale)
            if self.symmetric:
                value = (value + multiple_negatives_ranking(positives, anchors, back, scale=scale)) / 2
            return value

        return loss


class Gist(Objective):
    """`gist` of anchors, positives and, if the batch has some, negatives, with the vectors of a guide."""

    columns = 3

    def __init__(
        self,
        *,
        guide: GuideVectors,
        known: PairSet | None = None,
        temperature: float = 0.01,
        margin: float = 0.0,
        margin_strategy: Literal["absolute", "relative"] = "absolute",
        contrast_anchors: bool = True,
        contrast_positives: bool = True,
    ) -> None:
        super().__init__()
        self.guide, self.known = guide, known
        self.temperature, self.margin, self.margin_strategy = temperature, margin, margin_strategy
        self.contrasts = {"contrast_anchors": contrast_anchors, "contrast_positives": contrast_positives}

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of ids of anchors, positives, negatives."""
        anchor_ids, positive_ids, negative_ids = labels
        mask = gist_mask(
            self.guide.queries(anchor_ids),
            self.guide.documents(torch.cat([positive_ids, negative_ids])),
            Relations(anchor_ids, positive_ids, negative_ids, self.known),
            margin=self.margin,
            margin_strategy=self.margin_strategy,
            **self.contrasts,
        )

        def loss(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            anchors, positives, negatives = columns
            candidates = torch.cat([positives, negatives])
            return gist(anchors, candidates, mask, temperature=self.temperature, **self.contrasts)

        return loss
