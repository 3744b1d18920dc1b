"""Retrieval made of arrays, for the tests of error analysis: documents of made-up words, and rankings by any scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from embedft.data import RetrievalData
from embedft.data.retrieval import CORPUS_SCHEMA, QRELS_SCHEMA, QUERIES_SCHEMA
from embedft.evaluation import RetrievalEvaluation, score_ranking
from embedft.evaluation.ranking import Ranking

METRICS = ("ndcg@10", "mrr@10", "recall@100")


def data_of(documents, queries, qrels, *, document_fields=None, query_fields=None) -> RetrievalData:
    """Documents and queries are texts, called d0000 and q0000 by their place; qrels are (query, document, grade)."""

    def metadata(fields, count):
        return [json.dumps(row) if row else None for row in fields] if fields else [None] * count

    corpus = pa.table(
        {
            "id": [document_id(row) for row in range(len(documents))],
            "title": [""] * len(documents),
            "text": list(documents),
            "metadata": metadata(document_fields, len(documents)),
        },
        schema=CORPUS_SCHEMA,
    )
    asked = pa.table(
        {
            "id": [query_id(row) for row in range(len(queries))],
            "text": list(queries),
            "metadata": metadata(query_fields, len(queries)),
        },
        schema=QUERIES_SCHEMA,
    )
    judged = pa.table(
        {
            "query_id": [query_id(query) for query, _, _ in qrels],
            "corpus_id": [document if isinstance(document, str) else document_id(document) for _, document, _ in qrels],
            "grade": [grade for _, _, grade in qrels],
        },
        schema=QRELS_SCHEMA,
    )
    return RetrievalData(Path("made"), corpus, asked, {"test": judged})


def document_id(row: int) -> str:
    return f"d{row:05}"


def query_id(row: int) -> str:
    return f"q{row:05}"


def evaluation_of(data: RetrievalData, scores: np.ndarray, *, model: str = "own", depth: int = 100):
    """The evaluation of a ranking by ``scores``, (queries, documents)."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    ids = data.corpus["id"].to_pylist()
    return evaluation_by_rows(data, order, np.take_along_axis(scores, order, axis=1), ids, model=model)


def evaluation_by_rows(data: RetrievalData, rows: np.ndarray, scores: np.ndarray, ids: list[str], *, model="own"):
    """The evaluation of documents by their place in ``ids``, -1 for none."""
    names = data.queries["id"].to_pylist()
    ranking = Ranking(names, ids, rows, scores.astype(np.float64))
    per_query = score_ranking(ranking, data.split("test"), METRICS)
    return RetrievalEvaluation(model, str(data.path), "test", names, per_query, ranking)


def one_relevant_each(count: int, documents: int, *, seed: int = 0):
    """Queries with one relevant document each, words of their own, and scores that find it more often than not."""
    random = np.random.default_rng(seed)
    texts = [
        f"subject{row} " + " ".join(f"word{number}" for number in random.integers(0, 500, 12))
        for row in range(documents)
    ]
    asked = [f"about subject{row % documents}" + " thing" * (row % 7) for row in range(count)]
    qrels = [(row, row % documents, 1) for row in range(count)]
    scores = random.normal(size=(count, documents))
    scores[np.arange(count), np.arange(count) % documents] += 3
    return data_of(texts, asked, qrels), scores
