"""A ranking of documents for each query, and its judgment by qrels.

Ties are fixed: equal scores are ordered by document id, ascending as strings. (trec_eval orders them by id descending,
ranx leaves them as its sort does; both agree with us where no scores tie.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedft.errors import DataError
from embedft.evaluation.judgments import NO_DOCUMENT, Judgments
from embedft.evaluation.metrics import Judged
from embedft.index.exact import ordered_search

Floats = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Ranking:
    """Documents in order for each query.

    Attributes:
        query_ids: one a query.
        document_ids: all documents, ascending.
        rows: (queries, depth), positions in ``document_ids``; -1 where a query has fewer documents.
        scores: (queries, depth), descending.

    Raises:
        DataError: a score is no number.
    """

    query_ids: list[str]
    document_ids: list[str]
    rows: npt.NDArray[np.int64]
    scores: Numbers

    def __post_init__(self) -> None:
        faulty = np.isnan(self.scores)
        if faulty.any():
            query, place = np.argwhere(faulty)[0].tolist()
            row = int(self.rows[query, place])
            document = "none" if row == NO_DOCUMENT else repr(self.document_ids[row])
            raise DataError(
                f"query {self.query_ids[query]!r}: the score of document {document} is NaN; expected a number.",
                hint="look for NaN in the run, or in the vectors: a diverged training makes such.",
            )

    def judge(self, qrels: pa.Table | Judgments) -> Judged:
        """The relevant documents along the ranking; those outside it count as relevant and not found.

        Args:
            qrels: columns query_id, corpus_id, grade; or the `Judgments` of these queries and documents, which spare
                looking up their ids again.

        Raises:
            DataError: there is no query, a query has no relevant document in ``qrels``, or the `Judgments` are of
                others.
        """
        if isinstance(qrels, pa.Table):
            return Judgments.of(qrels, self.query_ids, self.document_ids).judge(self.rows)
        for own, others in ((self.query_ids, qrels.query_ids), (self.document_ids, qrels.document_ids)):
            if own is not others and own != others:
                raise DataError("the judgments are of other queries or documents than the ranking.",
                                hint="make them of its query_ids and document_ids.")  # fmt: skip
        return qrels.judge(self.rows)


def rank(query_ids: list[str], queries: Floats, document_ids: list[str], documents: Floats, depth: int) -> Ranking:
    """The ``depth`` best documents of each query by inner product, exact.

    Args:
        query_ids: (n,).
        queries: (n, dim) unit vectors.
        document_ids: (m,), in any order.
        documents: (m, dim) unit vectors; not copied.
        depth: how deep the ranking goes; less where the corpus is smaller.

    Raises:
        DataError: a vector holds NaN or an infinity.
    """
    _require_finite("query", query_ids, queries)
    _require_finite("document", document_ids, documents)
    order = pc.sort_indices(pa.array(document_ids, pa.string())).to_numpy().astype(np.int64)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    scores, rows = ordered_search(queries, documents, depth, place)
    return Ranking(query_ids, [document_ids[row] for row in order.tolist()], place[rows], scores)


def _require_finite(kind: str, ids: list[str], vectors: Floats) -> None:
    # One number tells of all of them: a sum over anything else than finite numbers is not finite.
    if np.isfinite(vectors.sum(dtype=np.float64)):
        return
    row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
    raise DataError(
        f"the vector of {kind} {ids[row]!r} holds numbers that are not finite.",
        hint="look at the model; a diverged training makes such vectors.",
    )


def ranking_of_run(run: Mapping[str, Mapping[str, float]]) -> Ranking:
    """The ranking of a run, query id -> document id -> score, as retrieval tools exchange them.

    Raises:
        DataError: a score is NaN.
    """
    lengths = np.fromiter(map(len, run.values()), np.int64, len(run))
    ids = pa.array(chain.from_iterable(run.values()), pa.string())
    scores = np.fromiter(chain.from_iterable(hits.values() for hits in run.values()), np.float64, len(ids))
    coded = ids.dictionary_encode()
    order = pc.sort_indices(coded.dictionary).to_numpy().astype(np.int64)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    found = place[coded.indices.to_numpy()]
    queries = np.repeat(np.arange(len(run)), lengths)
    by_score = np.lexsort((found, -scores, queries))
    ranks = np.arange(len(ids)) - np.repeat(lengths.cumsum() - lengths, lengths)
    shape = len(run), int(lengths.max(initial=0))
    rows, ranked = np.full(shape, NO_DOCUMENT, np.int64), np.full(shape, -np.inf)
    rows[queries, ranks], ranked[queries, ranks] = found[by_score], scores[by_score]
    return Ranking(list(run), coded.dictionary.take(order).to_pylist(), rows, ranked)
