"""Losses of scored pairs and triplets: formula, paper, and the module of sentence-transformers each is equal to.

All of them take vectors of any length and compare them by cosine, in float32: in bf16 scores near a scale of 20 would
be steps of 0.125 apart. They have no product of matrices, the only thing here that an autocast would bring to bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch.nn.functional import mse_loss, normalize, pad, relu

from embedft.errors import ConfigError
from embedft.training.losses.vectorloss import FromVectors, Objective


def cosines(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Cosine of each row of ``left`` with the same row of ``right``, both (batch, dim), as (batch,)."""
    return (normalize(left.float(), dim=1) * normalize(right.float(), dim=1)).sum(1)


def _in_order(similarities: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """log(1 + sum of exp(s_i - s_j) over all i, j with score i < score j): pairs in the wrong order cost.

    Sorted by score, the j of an i are the first ones: O(n log n), without a matrix of all pairs.
    """
    descending, order = (-scores).sort()
    ordered = similarities.index_select(0, order)
    # (batch + 1,): over the first n in the order, from n = 0.
    of_first = pad(torch.logcumsumexp(-ordered, 0), (1, 0), value=-torch.inf)
    higher = torch.searchsorted(descending, descending)  # rows with a higher score; equal ones are none
    return torch.logsumexp(pad(ordered + of_first[higher], (1, 0)), 0)


def cosent(left: torch.Tensor, right: torch.Tensor, scores: torch.Tensor, *, scale: float = 20.0) -> torch.Tensor:
    """log(1 + sum exp(scale * (cos_i - cos_j))) over all i, j of the batch with score i < score j.

    Only the order of the scores counts. Su 2022, CoSENT (kexue.fm/archives/8847); equal to ``CoSENTLoss``.

    Args:
        left: (batch, dim).
        right: (batch, dim).
        scores: (batch,).
        scale: inverse temperature.
    """
    return _in_order(scale * cosines(left, right), scores)


def angle(left: torch.Tensor, right: torch.Tensor, scores: torch.Tensor, *, scale: float = 20.0) -> torch.Tensor:
    """`cosent` of the angles between the vectors read as complex numbers, whose slope does not vanish near cos = 1.

    Li & Li 2023, AnglE, arXiv:2309.12871, section 3; equal to ``AnglELoss``. Needs an even number of dimensions.

    Args:
        left: (batch, dim).
        right: (batch, dim).
        scores: (batch,).
        scale: inverse temperature.

    Raises:
        ConfigError: an odd number of dimensions.
    """
    if left.shape[1] % 2:
        raise ConfigError(
            f"the loss angle needs an even number of dimensions, not {left.shape[1]}.", hint="set model.truncate_dim."
        )
    a, b = left.float().chunk(2, dim=1)
    c, d = right.float().chunk(2, dim=1)
    size = (c**2 + d**2).sum(1, keepdim=True)
    real, imaginary = (a * c + b * d) / size, (b * c - a * d) / size
    ratio = (a**2 + b**2).sum(1, keepdim=True).sqrt() / size.sqrt()
    return _in_order(scale * (torch.cat([real, imaginary], 1) / ratio).sum(1).abs(), scores)


def cosine(left: torch.Tensor, right: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Mean of (cos - score)^2. Reimers & Gurevych 2019, arXiv:1908.10084; equal to ``CosineSimilarityLoss``.

    Args:
        left: (batch, dim).
        right: (batch, dim).
        scores: (batch,), 0..1.
    """
    return mse_loss(cosines(left, right), scores.float())


def contrastive(left: torch.Tensor, right: torch.Tensor, scores: torch.Tensor, *, margin: float = 0.5) -> torch.Tensor:
    """Mean of (y * d^2 + (1 - y) * max(0, margin - d)^2) / 2 with d = 1 - cos, y = 1 for similar pairs, else 0.

    Hadsell, Chopra & LeCun 2006, eq. 4; equal to ``ContrastiveLoss``.

    Args:
        left: (batch, dim).
        right: (batch, dim).
        scores: (batch,), 0 or 1.
        margin: distance from which a dissimilar pair costs nothing.
    """
    distances = 1 - cosines(left, right)
    return ((scores * distances**2 + (1 - scores) * relu(margin - distances) ** 2) / 2).mean()


def online_contrastive(
    left: torch.Tensor, right: torch.Tensor, scores: torch.Tensor, *, margin: float = 0.5
) -> torch.Tensor:
    """`contrastive` of the hard pairs alone, summed: similar ones farther apart than the closest dissimilar pair of the
    batch, dissimilar ones closer than the farthest similar pair; of a batch of one kind alone those beyond their mean.

    Equal to sentence-transformers' ``OnlineContrastiveLoss``.

    Args:
        left: (batch, dim).
        right: (batch, dim).
        scores: (batch,), 0 or 1.
        margin: distance from which a dissimilar pair costs nothing.
    """
    distances = 1 - cosines(left, right)
    similar, dissimilar = distances[scores > 0.5], distances[scores <= 0.5]
    farthest = similar.max() if len(similar) else dissimilar.mean()
    closest = dissimilar.min() if len(dissimilar) else similar.mean()
    hard = relu(margin - dissimilar[dissimilar < farthest])
    return (similar[similar > closest] ** 2).sum() + (hard**2).sum()


def triplet(
    anchors: torch.Tensor, positives: torch.Tensor, negatives: torch.Tensor, *, margin: float = 0.2
) -> torch.Tensor:
    """Mean of max(0, d(anchor, positive) - d(anchor, negative) + margin) with d = 1 - cos.

    Schroff, Kalenichenko & Philbin 2015, arXiv:1503.03832, eq. 1; equal to ``TripletLoss`` with the cosine distance.

    Args:
        anchors: (batch, dim).
        positives: (batch, dim).
        negatives: (batch, dim), one for each row.
        margin: how much farther the negative shall be.
    """
    return relu(cosines(anchors, negatives) - cosines(anchors, positives) + margin).mean()


class OfValues(Objective):
    """A function of two columns of vectors and one value a row."""

    def __init__(self, function: Callable[..., torch.Tensor], **options: float) -> None:
        super().__init__()
        self.function = partial(function, **options)

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of the scores, 0..1."""
        (scores,) = labels
        return lambda columns: self.function(columns[0], columns[1], scores)


class Triplets(Objective):
    """`triplet` of anchors, positives and one negative for each."""

    columns = 3

    def __init__(self, *, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:  # noqa: ARG002 - it is a matter of vectors alone
        """Of any ids."""
        return lambda columns: triplet(columns[0], columns[1], columns[2], margin=self.margin)
