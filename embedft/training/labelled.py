"""Training on labelled texts: batches with several texts of a class, and the supervised contrastive loss on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from embedft.encoder import Encoder
from embedft.training.batches import SeededBatchSampler, features_of
from embedft.training.losses.vectorloss import FromVectors, Objective

# Texts of a class that stand side by side in a batch: one positive is little, more leave room for few classes.
TEXTS_A_CLASS = 4


class LabelledCollator:
    """Rows of text and label into features, and the labels as they are needed by a loss.

    The label of a row is the number of its class, or, where texts may have several, a list of 0 and 1 for all classes.
    """

    valid_label_columns = ("label",)

    def __init__(self, encoder: Encoder, max_length: int) -> None:
        self.encoder = encoder
        self.max_length = max_length

    def __call__(self, rows: list[dict[str, Any]], _step: int = 0) -> dict[str, Any]:
        """Keys ``text_input_ids``, ``text_attention_mask`` and ``label``: (n,) int64, or (n, classes) float32."""
        texts = [row["text"] for row in rows]
        prompt = self.encoder.prompts["document"]
        labels = [row["label"] for row in rows]
        kind = torch.float32 if isinstance(labels[0], Sequence) else torch.int64
        return features_of("text", texts, prompt, self.encoder, self.max_length) | {
            "label": torch.tensor(labels, dtype=kind)
        }


class ClassBatchSampler(SeededBatchSampler):
    """Batches in which texts of one class stand together, drawn from (seed, epoch) alone.

    The texts of each class are shuffled and cut into runs of `TEXTS_A_CLASS`; the runs of all classes are shuffled and
    strung together. So each text comes once an epoch, memory is O(texts), and a batch of 32 holds some 8 classes with
    4 texts each. Where classes are few, runs of one class meet by chance, which is as it should be.
    """

    def __init__(self, dataset: Any, batch_size: int, *, seed: int) -> None:
        super().__init__(dataset, batch_size, seed=seed)
        self.classes = class_numbers(dataset["label"])

    def draw(self, epoch: int) -> np.ndarray:
        """The order of the rows in an epoch, (rows,)."""
        rng = np.random.default_rng([self.seed, epoch])
        shuffled = rng.permutation(self.rows)
        by_class = shuffled[np.argsort(self.classes[shuffled], kind="stable")]
        counts = np.bincount(self.classes)
        runs = -(-counts // TEXTS_A_CLASS)  # of each class, the last one may be short
        place = np.arange(self.rows) - np.repeat(np.cumsum(counts) - counts, counts)
        run = np.repeat(np.cumsum(runs) - runs, counts) + place // TEXTS_A_CLASS
        rank = rng.permutation(int(runs.sum()))
        return np.asarray(by_class[np.argsort(rank[run], kind="stable")])


def class_numbers(labels: Sequence[Any]) -> np.ndarray:
    """The class of each row, (rows,) int64; rows with several classes are of the class of their combination."""
    if len(labels) and isinstance(labels[0], Sequence):
        numbers: dict[tuple[float, ...], int] = {}
        return np.array([numbers.setdefault(tuple(row), len(numbers)) for row in labels], np.int64)
    _, numbered = np.unique(np.asarray(labels, np.int64), return_inverse=True)
    return np.asarray(numbered, np.int64)


class SupervisedContrastive(Objective):
    """The mean over texts of -log softmax(scale * cos) at the texts of the same class, averaged over these.

    All other texts of the batch are the candidates. Texts without another of their class in the batch are left out.
    Where texts may have several classes, those that share one are of the same.

    Source: Khosla et al. 2020, arXiv:2004.11362, eq. 2 (L_out), with temperature 1 / scale.
    """

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of classes (n,), or of 0 and 1 (n, classes)."""
        classes = labels[0]
        same = (classes @ classes.T) > 0 if classes.ndim == 2 else classes[:, None] == classes[None]
        own = torch.eye(len(classes), dtype=torch.bool, device=classes.device)
        positive = same & ~own
        counts = positive.sum(1)
        used = counts > 0

        def loss(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            vectors = torch.nn.functional.normalize(columns[0], dim=1)
            if not used.any():
                return (vectors * 0).sum()  # no pair to learn from, but a gradient all the same
            scores = (self.scale * vectors @ vectors.T).masked_fill(own, -torch.inf)  # (n, n)
            log_p = scores - torch.logsumexp(scores, 1, keepdim=True)
            each = -log_p.masked_fill(~positive, 0.0).sum(1)[used] / counts[used]
            return each.mean()

        return loss


class PairedClasses(Objective):
    """The mean over pairs of the batch of (cos - same)^2, pairs of one class and of two counted alike.

    What SetFit trains on pairs drawn beforehand (Tunstall et al. 2022, arXiv:2209.11055, section 3.1, with
    sentence-transformers' ``CosineSimilarityLoss``), here on all pairs that a batch holds.
    """

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of classes (n,), or of 0 and 1 (n, classes)."""
        classes = labels[0]
        same = (classes @ classes.T) > 0 if classes.ndim == 2 else classes[:, None] == classes[None]
        upper = torch.ones_like(same).triu(1)
        alike, unlike = same & upper, ~same & upper

        def loss(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            vectors = torch.nn.functional.normalize(columns[0], dim=1)
            cosines = vectors @ vectors.T
            parts = [((cosines - goal) ** 2)[mask].mean() for mask, goal in ((alike, 1.0), (unlike, 0.0)) if mask.any()]
            return torch.stack(parts).mean() if parts else (vectors * 0).sum()

        return loss
