"""Ranking metrics for all cut-offs from one ranking, as pure functions on arrays.

Every kernel takes a `Judged`: the relevant documents that were found, with query, rank and grade. They are few beside
all that was ranked, and ordered by rank, so that a cut-off is a slice of them. Definitions are those of trec_eval; nDCG
has linear gain (Järvelin and Kekäläinen 2002).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from embedft.errors import ConfigError

Integers = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]
# numpy orders numbers of 16 bits by counting them, twenty times faster than it compares longer ones.
COUNTED = 1 << 16


@dataclass(frozen=True)
class Placed:
    """Relevant documents in their places, those nearest to the top first.

    Attributes:
        queries: (n,), the query of each.
        ranks: (n,), from 0, ascending.
        grades: (n,), above 0.
        before: (n,), how many of the same query stand before it.
    """

    queries: Integers
    ranks: Integers
    grades: Integers
    before: Integers
    _counts: dict[int, Integers] = field(default_factory=dict, repr=False, compare=False)
    _gains: dict[int, Scores] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, queries: Integers, ranks: Integers, grades: Integers, counts: Integers) -> Placed:
        """What is given query by query, ranks ascending, (n,) each; ``counts`` says how many a query has."""
        before = np.arange(len(queries)) - np.repeat(counts.cumsum() - counts, counts)
        small = len(ranks) > 0 and int(ranks.max()) < COUNTED
        order = np.argsort(ranks.astype(np.uint16) if small else ranks, kind="stable")
        return cls(queries[order], ranks[order], grades[order], before[order])

    def count(self, k: int, queries: int) -> Integers:
        """How many of the first ``k`` ranks of each query they fill, (queries,); kept."""
        if k not in self._counts:
            self._counts[k] = np.bincount(self.queries[: self._within(k)], minlength=queries)
        return self._counts[k]

    def total(self, values: Scores, k: int, queries: int) -> Scores:
        """The sum of their values in the first ``k`` ranks of each query, (queries,).

        Added from the top, so that a score does not depend on the other queries, nor on the other cut-offs.
        """
        end = self._within(k)
        return np.asarray(np.bincount(self.queries[:end], values[:end], minlength=queries), np.float64)

    def gain(self, k: int, queries: int) -> Scores:
        """Discounted cumulative gain of the first ``k`` ranks, (queries,): sum of grade / log2(rank + 1); kept."""
        if k not in self._gains:
            self._gains[k] = self.total(self._discounted, k, queries)
        return self._gains[k]

    @cached_property
    def _discounted(self) -> Scores:
        # The ranks are ordered: one logarithm serves all that share a rank.
        deepest = int(self.ranks[-1]) if len(self.ranks) else 0
        return np.asarray(self.grades / np.log2(np.arange(2, deepest + 3))[self.ranks])

    def _within(self, k: int) -> int:
        return int(np.searchsorted(self.ranks, k))


@dataclass(frozen=True)
class Judged:
    """What the kernels need of a ranking and its judgments.

    Attributes:
        found: the relevant documents of the ranking.
        ideal: all relevant documents, in the order of the highest gain.
        relevant: (queries,), how many documents are relevant, at least 1.
        depth: of the ranking.
    """

    found: Placed
    ideal: Placed
    relevant: Integers
    depth: int

    @property
    def queries(self) -> int:
        """How many they are."""
        return len(self.relevant)

    @cached_property
    def gains(self) -> Integers:
        """(queries, depth), the grade at each rank, 0 where it is not relevant or not judged."""
        gains = np.zeros((self.queries, self.depth), np.int64)
        gains[self.found.queries, self.found.ranks] = self.found.grades
        return gains

    @cached_property
    def first(self) -> Integers:
        """(queries,), rank of the first relevant document, from 0; ``depth`` where none was found."""
        first = np.full(self.queries, self.depth, np.int64)
        top = self.found.before == 0
        first[self.found.queries[top]] = self.found.ranks[top]
        return first

    @cached_property
    def reciprocal(self) -> Scores:
        """(queries,), 1 / rank of the first relevant document, ranks from 1."""
        return np.asarray(1.0 / (self.first + 1))

    @cached_property
    def precisions(self) -> Scores:
        """The precision at the rank of each document that was found."""
        return np.asarray((self.found.before + 1) / (self.found.ranks + 1))


def reciprocal_rank(judged: Judged, k: int) -> Scores:
    """1 / rank of the first relevant document among the first k, else 0; its mean is MRR@k."""
    return np.where(judged.first < min(k, judged.depth), judged.reciprocal, 0.0)


def recall(judged: Judged, k: int) -> Scores:
    """Share of the relevant documents that are among the first k."""
    return np.asarray(judged.found.count(k, judged.queries) / judged.relevant)


def precision(judged: Judged, k: int) -> Scores:
    """Share of the first k ranks that hold a relevant document; ranks beyond the corpus count as misses."""
    return np.asarray(judged.found.count(k, judged.queries) / k)


def average_precision(judged: Judged, k: int) -> Scores:
    """Sum of the precisions at the ranks of relevant documents among the first k, over all relevant documents."""
    return np.asarray(judged.found.total(judged.precisions, k, judged.queries) / judged.relevant)


def ndcg(judged: Judged, k: int) -> Scores:
    """Discounted cumulative gain of the first k, sum of grade / log2(rank + 1), over that of the ideal order."""
    return np.asarray(judged.found.gain(k, judged.queries) / judged.ideal.gain(k, judged.queries))


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
