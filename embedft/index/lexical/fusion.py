"""Fusion: several rankings of the same documents into one, and the weight that suits two of them.

Rankings are arrays as searches give them: (n, depth) rows, best first, -1 where a query has fewer hits. The results are
those of ranx (`fuse` with "rrf", or "wsum" after "min-max"; `optimize_fusion`), without the seconds that its compiler
takes at a command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

NONE = -1
# Cormack et al. found results to change little between 20 and 100.
RRF_K = 60
# Below this spread of a query's scores, min-max normalisation would blow up rounding.
LEAST_SPREAD = 1e-9
WEIGHTS = tuple(step / 10 for step in range(11))


def rrf(
    rankings: Sequence[Rows], weights: Sequence[float] | None = None, k: int = RRF_K, *, depth: int | None = None
) -> tuple[Floats, Rows]:
    """Reciprocal rank fusion: scores and rows, (n, depth), best first; -inf and -1 where a query has fewer hits.

    A document's score is the sum of weight / (k + rank) over the rankings that hold it, ranks from 1. Equal scores
    stand in the order of the rows.

    Args:
        rankings: one or more, of the same n queries.
        weights: one for each ranking; by default 1.
        k: damps the first ranks.
        depth: how many to give for each query; by default as many as the longest has.

    Raises:
        DataError: no ranking, of different numbers of queries, or another number of weights.

    Source: Cormack, Clarke and Büttcher 2009, Reciprocal Rank Fusion outperforms Condorcet, SIGIR.
    """
    weights = _check(rankings, weights)
    parts = [
        np.where(rows == NONE, 0.0, weight / (k + np.arange(1, rows.shape[1] + 1)))
        for rows, weight in zip(rankings, weights, strict=True)
    ]
    return _sum(rankings, parts, depth)


def weighted(
    rankings: Sequence[tuple[Floats, Rows]], weights: Sequence[float] | None = None, *, depth: int | None = None
) -> tuple[Floats, Rows]:
    """The weighted sum of scores that are stretched to [0, 1] for each query: scores and rows as `rrf` gives them.

    Each ranking's scores of a query are mapped from [lowest, highest] to [0, 1] (min-max); a document that a ranking
    does not hold gets 0 from it, like its last one. Where all scores of a query are equal, they become 0.

    Args:
        rankings: (scores, rows) as searches give them, of the same n queries.
        weights: one for each ranking; by default 1.
        depth: as for `rrf`.

    Raises:
        DataError: as for `rrf`, or scores and rows of different shapes.
    """
    weights = _check([rows for _, rows in rankings], weights)
    parts = [weight * min_max(*ranking) for ranking, weight in zip(rankings, weights, strict=True)]
    return _sum([rows for _, rows in rankings], parts, depth)


def tune_weight(
    dense: tuple[Floats, Rows],
    lexical: tuple[Floats, Rows],
    grades: Sequence[Mapping[int, int]],
    *,
    k: int = 10,
) -> float:
    """The weight of ``dense`` in `weighted` (``lexical`` gets the rest) with the best mean nDCG@k, of 0, 0.1 ... 1.

    Of equally good weights the one nearest to a half. Tune on queries that nothing is judged by afterwards.

    Args:
        dense: (scores, rows) of the n queries.
        lexical: those of another search for the same queries.
        grades: of each query: row of a document -> grade; above 0 is relevant, the grade is the gain.
        k: the cut-off.

    Raises:
        DataError: another number of queries, or none has a relevant document.
    """
    if len(grades) != len(dense[1]):
        raise DataError(f"{len(grades)} queries have grades, {len(dense[1])} rankings.", hint="give one for each.")
    if not any(grade > 0 for of_query in grades for grade in of_query.values()):
        raise DataError("no query has a relevant document.", hint="give grades above 0.")

    def quality(weight: float) -> float:
        _, rows = weighted([dense, lexical], [weight, 1 - weight], depth=k)
        # Rounded, so that weights that rank alike are equally good.
        return round(_ndcg(rows, grades), 9)

    return max(WEIGHTS, key=lambda weight: (quality(weight), -abs(weight - 0.5)))


def _check(rankings: Sequence[Rows], weights: Sequence[float] | None) -> Sequence[float]:
    if not rankings:
        raise DataError("there is no ranking to fuse.", hint="give at least one.")
    if len({len(rows) for rows in rankings}) > 1:
        raise DataError(
            f"the rankings are of {', '.join(str(len(rows)) for rows in rankings)} queries.",
            hint="fuse rankings of the same queries.",
        )
    if weights is not None and len(weights) != len(rankings):
        raise DataError(f"{len(weights)} weights for {len(rankings)} rankings.", hint="give one for each.")
    return [1.0] * len(rankings) if weights is None else weights


def min_max(scores: Floats, rows: Rows) -> Doubles:
    """The scores of each query stretched to [0, 1], (n, depth): 0 for the lowest, and where a row is -1.

    Where all scores of a query are equal, they become 0.

    Raises:
        DataError: scores and rows are of different shapes.
    """
    if scores.shape != rows.shape:
        raise DataError(f"scores are {scores.shape} and rows {rows.shape}.", hint="give what one search gave.")
    present = rows != NONE
    doubles = scores.astype(np.float64)
    lowest = np.where(present, doubles, np.inf).min(axis=1, initial=np.inf, keepdims=True)
    highest = np.where(present, doubles, -np.inf).max(axis=1, initial=-np.inf, keepdims=True)
    # A query without hits has no lowest and no highest.
    lowest = np.where(np.isfinite(lowest), lowest, 0)
    spread = np.maximum(np.where(np.isfinite(highest), highest, 0) - lowest, LEAST_SPREAD)
    stretched: Doubles = (np.where(present, doubles, lowest) - lowest) / spread
    return stretched


def _sum(rankings: Sequence[Rows], parts: Sequence[Doubles], depth: int | None) -> tuple[Floats, Rows]:
    """Add up what the rankings give to each document of each query, and sort."""
    rows = np.concatenate(rankings, axis=1).astype(np.int64)
    queries = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)
    present = rows != NONE
    # One number for each (query, document), so that one sort groups them all.
    width = int(rows.max(initial=0)) + 1
    keys, group = np.unique(queries[present] * width + rows[present], return_inverse=True)
    sums = np.bincount(group, weights=np.concatenate(parts, axis=1)[present], minlength=len(keys))
    query, document = np.divmod(keys, width)
    # What is equal but for the order of additions is a tie.
    order = np.lexsort((document, -sums.round(12), query))
    query, document, sums = query[order], document[order], sums[order]
    counts = np.bincount(query, minlength=len(rows))
    place = np.arange(len(query)) - (counts.cumsum() - counts)[query]
    depth = int(counts.max(initial=0)) if depth is None else depth
    kept = place < depth
    scores = np.full((len(rows), depth), -np.inf, np.float32)
    fused = np.full((len(rows), depth), NONE, np.int64)
    scores[query[kept], place[kept]] = sums[kept]
    fused[query[kept], place[kept]] = document[kept]
    return scores, fused


def _ndcg(rows: Rows, grades: Sequence[Mapping[int, int]]) -> float:
    """Mean nDCG of rankings (n, k), the gain being the grade, over the queries that have a relevant document."""
    discounts = 1 / np.log2(np.arange(2, rows.shape[1] + 2))
    scores = []
    for ranked, of_query in zip(rows.tolist(), grades, strict=True):
        ideal = sorted((grade for grade in of_query.values() if grade > 0), reverse=True)[: len(ranked)]
        if ideal:
            gains = np.array([max(of_query.get(row, 0), 0) for row in ranked])
            scores.append(float(gains @ discounts) / float(np.array(ideal) @ discounts[: len(ideal)]))
    return float(np.mean(scores))
