"""Losses that teach an encoder the scores of a better model: margins, or distributions over candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import kl_div, log_softmax, mse_loss, softmax

from embedft.training.losses.guide import Guide
from embedft.training.losses.objectives import cosines
from embedft.training.losses.ranking import cosine_matrix
from embedft.training.losses.vectorloss import FromVectors, Objective


def margin_mse(
    anchors: torch.Tensor,
    positives: torch.Tensor,
    negatives: torch.Tensor,
    margins: torch.Tensor,
    *,
    scale: float = 1.0,
) -> torch.Tensor:
    """Mean of (scale * (cos(anchor, positive) - cos(anchor, negative)) - margin)^2.

    Hofstätter et al. 2020, arXiv:2010.02666; equal to sentence-transformers' ``MarginMSELoss`` with
    ``pairwise_cos_sim`` at a scale of 1.

    Args:
        anchors: (batch, dim).
        positives: (batch, dim).
        negatives: (batch, dim), one for each row.
        margins: (batch,), the teacher's score of the positive less that of the negative.
        scale: what cosines are multiplied by, where the teacher's scores are not cosines.
    """
    return mse_loss(scale * (cosines(anchors, positives) - cosines(anchors, negatives)), margins)


def divergence(
    scores: torch.Tensor,
    teacher_scores: torch.Tensor,
    mask: torch.Tensor,
    *,
    student_temperature: float = 0.05,
    teacher_temperature: float = 0.05,
) -> torch.Tensor:
    """Mean over rows of KL(softmax(teacher / its temperature) || softmax(scores / temperature)) * temperature^2.

    Lin, Yang & Lin 2020, arXiv:2010.11386, after Hinton et al. 2015, arXiv:1503.02531; equal to
    sentence-transformers' ``DistillKLDivLoss``.

    Args:
        scores: (batch, candidates), of the student.
        teacher_scores: (batch, candidates); what stands where ``mask`` is True does not count.
        mask: (batch, candidates), True where a candidate is none of that row.
        student_temperature: what the student's scores are divided by.
        teacher_temperature: what the teacher's scores are divided by.
    """
    expected = softmax((teacher_scores / teacher_temperature).masked_fill(mask, -torch.inf), dim=1)
    # Not -inf where masked: the divergence multiplies it by an expectation of 0.
    found = log_softmax((scores / student_temperature).masked_fill(mask, -torch.inf), dim=1).masked_fill(mask, 0.0)
    return kl_div(found, expected, reduction="batchmean") * student_temperature**2


class MarginMSE(Objective):
    """`margin_mse` of anchors, positives and one negative for each, with the scores of a guide."""

    columns = 3

    def __init__(self, *, guide: Guide, scale: float = 1.0) -> None:
        super().__init__()
        self.guide, self.scale = guide, scale

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of ids of anchors, positives, negatives."""
        anchor_ids, positive_ids, negative_ids = labels
        margins = self.guide.scores_of(anchor_ids, positive_ids) - self.guide.scores_of(anchor_ids, negative_ids)
        return lambda columns: margin_mse(columns[0], columns[1], columns[2], margins, scale=self.scale)


class Divergence(Objective):
    """`divergence` of anchors over candidates: all texts of the batch, or those that the rows list with the anchor.

    A text that stands in the batch several times is one candidate.
    """

    columns = 3

    def __init__(
        self,
        *,
        guide: Guide,
        in_batch: bool = True,
        student_temperature: float = 0.05,
        teacher_temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.guide, self.in_batch = guide, in_batch
        self.temperatures = {
            "student_temperature": student_temperature,
            "teacher_temperature": guide.temperature if teacher_temperature is None else teacher_temperature,
        }

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of ids of anchors, positives, negatives."""
        anchor_ids, positive_ids, negative_ids = labels
        every = torch.cat([positive_ids, negative_ids])
        first = np.sort(np.unique(every.cpu().numpy(), return_index=True)[1])
        distinct = torch.from_numpy(first).to(every.device)
        mask = torch.zeros((len(anchor_ids), len(distinct)), dtype=torch.bool, device=every.device)
        if not self.in_batch:
            mask = ~self.guide.listed(anchor_ids, every[distinct])
        expected = self.guide.scores(anchor_ids, every[distinct])

        def loss(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            anchors, positives, negatives = columns
            candidates = torch.cat([positives, negatives])[distinct]
            return divergence(cosine_matrix(anchors, candidates), expected, mask, **self.temperatures)

        return loss
