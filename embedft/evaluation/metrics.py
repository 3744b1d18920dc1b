"""Ranking metrics for all cut-offs from one ranking, as pure functions on arrays.

Every kernel takes ``gains``, (queries, depth): the grade of the document at each rank, 0 where it is not relevant or
not judged. Definitions are those of trec_eval; nDCG has linear gain (Järvelin and Kekäläinen 2002).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedft.errors import ConfigError

Grades = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """What the kernels need of a ranking and its judgments.

    Attributes:
        gains: (queries, depth), the grade at each rank, 0 where not relevant.
        relevant: (queries,), how many documents are relevant, at least 1.
        ideal: (queries, deepest), the grades of the relevant documents, highest first, padded with 0.
    """

    gains: Grades
    relevant: Grades
    ideal: Grades


def reciprocal_rank(judged: Judged, k: int) -> Scores:
    """1 / rank of the first relevant document among the first k, else 0; its mean is MRR@k."""
    hits = judged.gains[:, :k] > 0
    first = hits.argmax(axis=1)
    return np.where(hits.any(axis=1), 1.0 / (first + 1), 0.0)


def recall(judged: Judged, k: int) -> Scores:
    """Share of the relevant documents that are among the first k."""
    return np.asarray((judged.gains[:, :k] > 0).sum(axis=1) / judged.relevant)


def precision(judged: Judged, k: int) -> Scores:
    """Share of the first k ranks that hold a relevant document; ranks beyond the corpus count as misses."""
    return np.asarray((judged.gains[:, :k] > 0).sum(axis=1) / k)


def average_precision(judged: Judged, k: int) -> Scores:
    """Sum of the precisions at the ranks of relevant documents among the first k, over all relevant documents."""
    hits = judged.gains[:, :k] > 0
    precisions = hits.cumsum(axis=1) / np.arange(1, hits.shape[1] + 1)
    return np.asarray((precisions * hits).sum(axis=1) / judged.relevant)


def ndcg(judged: Judged, k: int) -> Scores:
    """Discounted cumulative gain of the first k, sum of grade / log2(rank + 1), over that of the ideal order."""
    return _dcg(judged.gains[:, :k]) / _dcg(judged.ideal[:, :k])


def _dcg(gains: Grades) -> Scores:
    discounts = 1.0 / np.log2(np.arange(2, gains.shape[1] + 2))
    return np.asarray(gains @ discounts, dtype=np.float64)


KERNELS: dict[str, Callable[[Judged, int], Scores]] = {
    "ndcg": ndcg,
    "mrr": reciprocal_rank,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
}
DEFAULT_METRICS = ("ndcg@10", "mrr@10", "recall@10", "recall@100", "precision@10", "map@100")


@dataclass(frozen=True)
class Metric:
    """A metric and its cut-off, written ``ndcg@10``."""

    kind: str
    k: int

    @property
    def name(self) -> str:
        """As users write it."""
        return f"{self.kind}@{self.k}"

    def __call__(self, judged: Judged) -> Scores:
        """The score of each query, (queries,)."""
        return KERNELS[self.kind](judged, self.k)


def parse_metrics(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names, each once, in their order.

    Raises:
        ConfigError: a name is not ``<kind>@<k>`` with a known kind, or there is none.
    """
    known = ", ".join(f"{kind}@k" for kind in KERNELS)
    metrics: dict[str, Metric] = {}
    for name in names:
        match = re.fullmatch(r"([a-z]+)@([1-9]\d{0,5})", name)
        if match is None or match[1] not in KERNELS:
            raise ConfigError(f"metric {name!r} is not known to retrieval.", hint=f"use {known}, for example ndcg@10.")
        metrics[name] = Metric(match[1], int(match[2]))
    if not metrics:
        raise ConfigError("no metric is named.", hint=f"use {known}, for example ndcg@10.")
    return list(metrics.values())
