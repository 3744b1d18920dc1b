"""A ranking of documents for each query, and its judgment by qrels.

Ties are fixed: equal scores are ordered by document id, ascending as strings. (trec_eval orders them by id descending,
ranx leaves them as its sort does; both agree with us where no scores tie.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedft.errors import DataError
from embedft.evaluation.metrics import Grades, Judged
from embedft.index.exact import exact_search

Floats = npt.NDArray[np.float32]
NO_DOCUMENT = -1


@dataclass(frozen=True)
class Ranking:
    """Documents in order for each query.

    Attributes:
        query_ids: one a query.
        document_ids: all documents, ascending.
        rows: (queries, depth), positions in ``document_ids``; -1 where a query has fewer documents.
        scores: (queries, depth), descending.
    """

    query_ids: list[str]
    document_ids: list[str]
    rows: npt.NDArray[np.int64]
    scores: npt.NDArray[np.floating]

    def judge(self, qrels: pa.Table) -> Judged:
        """The grades along the ranking; qrels of documents outside it count as relevant and not found.

        Raises:
            DataError: a query has no relevant document in ``qrels``.
        """
        query_row = {query: row for row, query in enumerate(self.query_ids)}
        document_row = {document: row for row, document in enumerate(self.document_ids)}
        table = qrels.select(["query_id", "corpus_id", "grade"]).to_pydict()
        judged = [
            (query_row[query], document_row.get(document, NO_DOCUMENT), grade)
            for query, document, grade in zip(*table.values(), strict=True)
            if grade > 0 and query in query_row
        ]
        queries, documents, grades = np.array(judged, dtype=np.int64).reshape(-1, 3).T
        relevant = np.bincount(queries, minlength=len(self.query_ids))
        if (relevant == 0).any():
            query = self.query_ids[int(np.flatnonzero(relevant == 0)[0])]
            raise DataError(f"query {query!r} has no relevant document in the qrels.", hint="rank judged queries only.")
        return Judged(self._gains(queries, documents, grades), relevant, _ideal(queries, grades, relevant))

    def _gains(self, queries: Grades, documents: Grades, grades: Grades) -> Grades:
        # One number for each (query, document), so that all look-ups are one binary search.
        width = len(self.document_ids) + 1
        keys = queries * width + documents + 1
        order = np.argsort(keys)
        keys, grades = keys[order], grades[order]
        wanted = np.arange(len(self.query_ids))[:, None] * width + self.rows + 1
        found = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        return np.where((keys[found] == wanted) & (self.rows != NO_DOCUMENT), grades[found], 0)


def _ideal(queries: Grades, grades: Grades, relevant: Grades) -> Grades:
    """(queries, deepest), the grades of each query, highest first, padded with 0."""
    order = np.lexsort((-grades, queries))
    starts = np.concatenate(([0], relevant.cumsum()[:-1]))
    ranks = np.arange(len(queries)) - starts[queries[order]]
    ideal = np.zeros((len(relevant), int(relevant.max())), dtype=np.int64)
    ideal[queries[order], ranks] = grades[order]
    return ideal


def rank(query_ids: list[str], queries: Floats, document_ids: list[str], documents: Floats, depth: int) -> Ranking:
    """The ``depth`` best documents of each query by inner product, exact.

    Args:
        query_ids: (n,).
        queries: (n, dim) unit vectors.
        document_ids: (m,), in any order.
        documents: (m, dim) unit vectors.
        depth: how deep the ranking goes; less where the corpus is smaller.
    """
    order = np.argsort(np.array(document_ids, dtype=object), kind="stable")
    scores, rows = exact_search(queries, documents[order], depth)
    return Ranking(query_ids, [document_ids[row] for row in order], rows, scores)


def ranking_of_run(run: Mapping[str, Mapping[str, float]]) -> Ranking:
    """The ranking of a run, query id -> document id -> score, as retrieval tools exchange them."""
    document_ids = sorted({document for hits in run.values() for document in hits})
    row_of = {document: row for row, document in enumerate(document_ids)}
    depth = max(map(len, run.values()), default=0)
    rows = np.full((len(run), depth), NO_DOCUMENT, dtype=np.int64)
    scores = np.full((len(run), depth), -np.inf)
    for index, hits in enumerate(run.values()):
        ordered = sorted(hits.items(), key=lambda hit: (-hit[1], hit[0]))
        rows[index, : len(ordered)] = [row_of[document] for document, _ in ordered]
        scores[index, : len(ordered)] = [score for _, score in ordered]
    return Ranking(list(run), document_ids, rows, scores)
