"""How far a ranking follows BM25: whether the better match of the query's words comes first, of two documents.

A model that only matches words has that order; one that finds by meaning puts documents before others that hold more of
the query's words. Both are compared within what the model found.

Source: Robertson and Zaragoza 2009, The probabilistic relevance framework: BM25 and beyond, eq. 3.15.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np
import numpy.typing as npt

from embedft.evaluation.errors.judged import Ranked

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
# So many queries, spread over all, and so many documents each.
ORDERED_QUERIES, ORDERED_DOCUMENTS = 300, 50
# As `embedft.index.lexical` has them.
K1, B = 1.2, 0.75
ROUNDING = 1e-9


def bm25_agreement(
    ranked: Ranked, queries: Sequence[Set[str]], counts_of: Callable[[Rows], Mapping[int, Counter[str]]]
) -> Floats:
    """The share of pairs of documents that stand in BM25's order, 0..1, of each query that has such pairs.

    0.5 is chance, 1 is BM25's own order. Pairs that BM25 scores the same do not count. How rare a word is, and how long
    documents are, is told by those that are looked at.

    Args:
        ranked: of the queries.
        queries: their terms.
        counts_of: documents -> how often each term stands in each.
    """
    asked = np.unique(np.linspace(0, len(queries) - 1, min(len(queries), ORDERED_QUERIES)).astype(np.int64))
    rows = ranked.rows[asked, :ORDERED_DOCUMENTS]
    return _in_order(_bm25(rows, counts_of(np.unique(rows[rows >= 0])), [queries[query] for query in asked.tolist()]))


def _bm25(rows: Rows, counts: Mapping[int, Counter[str]], asked: Sequence[Set[str]]) -> Floats:
    """BM25's scores of the documents of each query, (queries, depth); NaN where there is none or it has no words."""
    documents = Counter(term for held in counts.values() for term in held)
    weights = {term: np.log(1 + (len(counts) - n + 0.5) / (n + 0.5)) for term, n in documents.items()}
    lengths = {row: held.total() for row, held in counts.items()}
    mean = max(sum(lengths.values()) / max(len(lengths), 1), 1)
    scores = np.full(rows.shape, np.nan)
    for line, (terms, places) in enumerate(zip(asked, rows.tolist(), strict=True)):
        for column, row in enumerate(places):
            if not lengths.get(row):
                continue
            held, norm = counts[row], K1 * (1 - B + B * lengths[row] / mean)
            shared = terms & held.keys()
            scores[line, column] = sum(weights[term] * held[term] * (K1 + 1) / (held[term] + norm) for term in shared)
    return scores


def _in_order(scores: Floats) -> Floats:
    before, after = np.triu_indices(scores.shape[1], 1)
    apart = scores[:, before] - scores[:, after]  # (queries, pairs), NaN where one is not known
    right, wrong = (apart > ROUNDING).sum(1), (apart < -ROUNDING).sum(1)
    told = right + wrong
    return np.asarray(right[told > 0] / told[told > 0], np.float64)
