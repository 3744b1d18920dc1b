"""Texts whose vectors do not change while others are trained: computed once, kept on disk, compared with all.

Where documents are frozen a training step need not embed any, so that a query is compared with every document of the
training rows instead of those of its batch. (In-batch negatives are the expedient of those who must embed them.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch.nn.functional import cross_entropy, normalize

from embedft.encoder import Encoder
from embedft.training.losses.masks import Ids, PairSet, column_ids, negatives_of, text_ids
from embedft.training.losses.vectorloss import FromVectors, Objective

# Documents that a query is compared with at a time; of more, so many are drawn for each batch. The loss of 64 queries
# of 384 dimensions and its gradient take 16 to 20 ms with so many, on two cores that had other work too.
MOST_CANDIDATES = 16_384


class StoredVectors:
    """Vectors of distinct texts in a memory-mapped file, found by the ids of the texts.

    Attributes:
        vectors: (texts, dim) fp32, in the order in which the texts were given.
        ids: (texts,) text ids.
    """

    def __init__(self, vectors: npt.NDArray[np.float32], ids: Ids) -> None:
        self.vectors = vectors
        self.ids = ids
        self._order = np.argsort(ids)
        self._sorted = ids[self._order]

    @classmethod
    def write(
        cls, path: Path, encoder: Encoder, texts: Iterable[str], prompt: str, *, show_progress: bool = False
    ) -> StoredVectors:
        """The vectors of the distinct ones of ``texts``, computed, or read if the file is there.

        Args:
            path: a ``.npy`` file; an unfinished one of the same texts is gone on with.
            encoder: of the texts.
            texts: may repeat.
            prompt: put before each text.
            show_progress: on standard error.

        Raises:
            DiskFullError: the disk ran full.
        """
        distinct = list(dict.fromkeys(texts))
        if not path.exists():
            encoder.encode_to(path, distinct, prompt=prompt, resume=True, show_progress=show_progress)
        # Copy on write: nothing is written, but torch warns of memory that it must not write to.
        return cls(np.load(path, mmap_mode="c"), text_ids(distinct).numpy())

    def rows(self, ids: Ids) -> npt.NDArray[np.int64]:
        """Where the texts of these ids stand; each of them must be there."""
        return self._order[np.searchsorted(self._sorted, ids)]

    def of(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors of texts, each of which must be there, (texts, dim)."""
        return np.asarray(self.vectors[self.rows(text_ids(texts).numpy())])

    def first(self, count: int) -> StoredVectors:
        """The first ``count`` texts alone."""
        return StoredVectors(self.vectors[:count], self.ids[:count])


class Candidates:
    """What the queries of a batch of training rows are compared with, and which of it may not count against them."""

    def __init__(self, rows: pa.Table, documents: StoredVectors, *, device: str, seed: int) -> None:
        """Of training rows.

        Args:
            rows: columns anchor, positive, negatives.
            documents: the positives and negatives of the rows, and nothing else: a document that is nobody's would
                be a negative of all.
            device: where the vectors are needed.
            seed: decides what is drawn of too many documents.
        """
        negatives, self._row_of = negatives_of(rows)
        self._anchors = column_ids(rows["anchor"])
        self._positives = documents.rows(column_ids(rows["positive"]))
        self._negatives = documents.rows(column_ids(negatives))
        self._documents, self._device, self._seed = documents, device, seed
        self._known = PairSet.positives(rows)
        self._all = torch.from_numpy(documents.vectors).to(device) if len(documents.ids) <= MOST_CANDIDATES else None

    def of(self, rows: Ids) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Vectors (candidates, dim), the place of each row's positive (rows,), and a mask (rows, candidates).

        The mask is True where a candidate is another known positive of the row's anchor, or equals it. What is drawn
        depends on the rows and the seed alone; the rows' own negatives are always among it.
        """
        anchors, targets = self._anchors[rows], self._positives[rows]
        ids, vectors = self._documents.ids, self._all
        if vectors is None:
            begins, ends = (np.searchsorted(self._row_of, rows, side) for side in ("left", "right"))
            spans = [self._negatives[begin:end] for begin, end in zip(begins, ends, strict=True)]
            own = np.concatenate([*spans, self._negatives[:0]])
            drawn = np.random.default_rng([self._seed, *rows]).choice(len(ids), MOST_CANDIDATES, replace=False)
            chosen = np.unique(np.concatenate([targets, own, drawn]))
            ids, targets = ids[chosen], np.searchsorted(chosen, targets)
            vectors = torch.from_numpy(self._documents.vectors[chosen]).to(self._device)
        mask = self._known.among(anchors, ids) | (anchors[:, None] == ids[None])
        mask[np.arange(len(rows)), targets] = False
        return vectors, torch.from_numpy(targets).to(self._device), torch.from_numpy(mask).to(self._device)


class StoredRanking(Objective):
    """`ranking_loss` of queries and the stored documents; the labels are the numbers of the training rows."""

    def __init__(self, candidates: Candidates, *, scale: float) -> None:
        super().__init__()
        self.candidates, self.scale = candidates, scale

    def of(self, labels: Sequence[torch.Tensor]) -> FromVectors:
        """Of the numbers of the rows, in one tensor."""
        vectors, targets, mask = self.candidates.of(labels[0].cpu().numpy())

        def loss(columns: Sequence[torch.Tensor]) -> torch.Tensor:
            return ranking_loss(columns[0], vectors, targets, mask, scale=self.scale)

        return loss


def ranking_loss(
    queries: torch.Tensor, candidates: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor, *, scale: float
) -> torch.Tensor:
    """The mean of -log softmax(scale * cos(query, candidates)) at each query's positive; masked ones do not count.

    The loss ``mnrl`` (van den Oord et al. 2018, arXiv:1807.03748, eq. 4) with candidates that need no gradient.

    Args:
        queries: (batch, dim).
        candidates: (candidates, dim) unit vectors.
        targets: (batch,), the row of each query's positive.
        mask: (batch, candidates).
        scale: inverse temperature.
    """
    scores = scale * normalize(queries, dim=1) @ candidates.T  # (batch, candidates)
    return cross_entropy(scores.masked_fill(mask, -torch.inf), targets)
