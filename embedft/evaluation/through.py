"""Score what an index finds: the loss of an approximate index is told in the metrics that people judge search by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedft.data import RetrievalData
from embedft.errors import DataError
from embedft.evaluation.digest import digest_of_retrieval
from embedft.evaluation.judgments import NO_DOCUMENT
from embedft.evaluation.metrics import DEFAULT_METRICS, parse_metrics
from embedft.evaluation.ranking import Ranking
from embedft.evaluation.retrieval import RetrievalEvaluation, score_ranking
from embedft.index import Index
from embedft.index.approximate import FLAT
from embedft.index.exact import Floats, Rows

Doubles = npt.NDArray[np.float64]
Found = tuple[Floats, list[list[str]]]


def evaluate_through(
    index: Index,
    data: RetrievalData,
    split: str = "test",
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    hybrid: bool = False,
    exact: bool = False,
) -> RetrievalEvaluation:
    """The scores of an index on the judged queries of ``split``.

    Each cut-off is a search of its own: an approximate index asked for 100 hits looks harder for the first 10 too.

    Args:
        index: of the documents of ``data``, by their ids.
        data: queries and qrels; its corpus is compared with the index.
        split: which qrels.
        metrics: names like ``ndcg@10``.
        hybrid: search by vectors and words.
        exact: search every vector, to see what the index loses; also where words are searched beside them.

    Raises:
        ConfigError: an unknown metric.
        DataError: the split has no judged query, or the index holds other documents.
    """
    wanted = parse_metrics(metrics)
    query_ids, texts = data.judged_queries(split)
    if not query_ids:
        raise DataError(f"{data.path}: no query of split {split!r} has a relevant document.", hint="check the grades.")
    known = sorted(data.corpus["id"].to_pylist())
    if len(index) != len(known):
        raise _other_documents(index, data, f"holds {len(index)} documents")
    kind = index.manifest["segments"][0]["kind"]
    settled = not hybrid and (exact or kind == FLAT)
    vectors = index.encoder.encode_queries(texts)
    per_query: dict[str, Doubles] = {}
    for k in sorted({metric.k for metric in wanted}):
        found = (
            _settled(index, texts, vectors, k)
            if settled
            else index.rank(texts, k, hybrid=hybrid, exact=exact, vectors=vectors)
        )
        ranking = Ranking(query_ids, known, *_by_id(index, data, known, *found, k))
        names = [metric.name for metric in wanted if metric.k == k]
        per_query |= score_ranking(ranking, data.split(split), names)
    how = f"{index.path} ({'hybrid, ' if hybrid else ''}{'exact' if exact else kind})"
    ordered = {metric.name: per_query[metric.name] for metric in wanted}
    return RetrievalEvaluation(
        how,
        str(data.path),
        split,
        query_ids,
        ordered,
        ranking,
        queries=texts,
        data_sha256=digest_of_retrieval(data, split),
        fingerprint=index.encoder.fingerprint,
    )


def _settled(index: Index, texts: Sequence[str], vectors: Floats, k: int) -> Found:
    """An exact ranking, so deep that no equal scores stand on both sides of the cut at ``k``."""
    depth = k + 1
    while True:
        scores, ids = index.rank(texts, depth, exact=True, vectors=vectors)
        if depth > len(index) or not (scores[:, k - 1] == scores[:, -1]).any():
            return scores, ids
        depth *= 2


def _by_id(
    index: Index, data: RetrievalData, known: list[str], scores: Floats, ids: list[list[str]], k: int
) -> tuple[Rows, Floats]:
    """Rows in ``known``, and scores, (queries, k); equal scores in the order of the ids, as every evaluation has them.

    Raises:
        DataError: an id is not known.
    """
    row_of = {"": NO_DOCUMENT, **{name: row for row, name in enumerate(known)}}
    foreign = sorted({name for found in ids for name in found if name not in row_of})
    if foreign:
        raise _other_documents(index, data, f"finds {foreign[0]!r}, which is not there")
    rows = np.array([[row_of[name] for name in found] for found in ids], np.int64)
    order = np.lexsort((rows, -scores))[:, :k]
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(scores, order, axis=1)


def _other_documents(index: Index, data: RetrievalData, found: str) -> DataError:
    return DataError(
        f"{index.path}: {found}; {data.path} has {data.corpus.num_rows} documents.",
        hint="build the index of the corpus that the qrels judge.",
    )
