"""What a geometry is of: vectors, their texts, the groups they are shown in, and pairs that belong together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.data import RetrievalData
from embedft.errors import DataError
from embedft.evaluation.sampling import same_in_meaning
from embedft.evaluation.vectors import require_finite
from embedft.index.exact import Floats

Rows = npt.NDArray[np.int64]

DOCUMENT, QUERY, TEXT, NO_LABEL = "document", "query", "text", "no label"


@dataclass(frozen=True)
class Cloud:
    """Vectors of one model.

    Attributes:
        vectors: unit vectors, (n, dim).
        texts: (n,).
        groups: (n,), what a text is shown as: query or document, or its label.
        measured: rows that the numbers are of: documents where there are queries too, else all.
        positives: (pairs, 2), rows that belong together; empty where nothing says so.
    """

    vectors: Floats
    texts: Sequence[str]
    groups: Sequence[str]
    measured: Rows
    positives: Rows

    def __post_init__(self) -> None:
        if not len(self.texts) == len(self.groups) == len(self.vectors):
            raise DataError(
                f"{len(self.vectors)} vectors have {len(self.texts)} texts and {len(self.groups)} groups.",
                hint="give one of each.",
            )
        require_finite(self.vectors, of="texts")


def cloud_of(evaluation: Any, data: Any, split: str) -> Cloud:
    """The cloud of an evaluation that keeps its vectors.

    Args:
        evaluation: of retrieval, similarity or classification.
        data: that was evaluated.
        split: of it.

    Raises:
        DataError: it keeps no vectors, or one of them is no number.
    """
    vectors = evaluation.vectors
    if vectors is None:
        raise DataError(f"the evaluation of {evaluation.model} keeps no vectors.", hint="evaluate with keep_vectors.")
    if isinstance(data, RetrievalData):
        return _of_retrieval(evaluation.query_ids, vectors.queries, vectors.documents, data, split)
    if vectors.rows is not None:
        return _of_pairs(evaluation.texts, evaluation.scores, vectors.documents, vectors.rows)
    return _of_labels(evaluation.texts, evaluation.labels, evaluation.classes, vectors.documents)


def _of_retrieval(
    query_ids: Sequence[str], queries: Floats, documents: Floats, data: RetrievalData, split: str
) -> Cloud:
    texts = dict(zip(*data.judged_queries(split), strict=True))
    row_of_query = {name: len(documents) + row for row, name in enumerate(query_ids)}
    row_of_document = {name: row for row, name in enumerate(data.corpus["id"].to_pylist())}
    judged = zip(*(data.split(split)[name].to_pylist() for name in ("query_id", "corpus_id", "grade")), strict=True)
    positives = [
        (row_of_query[query], row_of_document[document])
        for query, document, grade in judged
        if grade > 0 and query in row_of_query and document in row_of_document
    ]
    return Cloud(
        np.concatenate([documents, queries]),
        [*data.document_texts(), *(texts[name] for name in query_ids)],
        [DOCUMENT] * len(documents) + [QUERY] * len(queries),
        np.arange(len(documents)),
        _pairs(positives),
    )


def _of_pairs(pairs: Sequence[tuple[str, str]], scores: npt.NDArray[np.float64], vectors: Floats, rows: Rows) -> Cloud:
    texts = [""] * len(vectors)
    for (left, right), (first, second) in zip(pairs, rows.tolist(), strict=True):
        texts[first], texts[second] = left, right
    return Cloud(vectors, texts, [TEXT] * len(texts), np.arange(len(texts)), rows[same_in_meaning(scores)])


def _of_labels(texts: Sequence[str], labels: npt.NDArray[np.bool_], classes: Sequence[str], vectors: Floats) -> Cloud:
    first = labels.argmax(axis=1)
    groups = [classes[column] if labels[row, column] else NO_LABEL for row, column in enumerate(first.tolist())]
    return Cloud(vectors, texts, groups, np.arange(len(texts)), _pairs([]))


def _pairs(found: list[tuple[int, int]]) -> Rows:
    return np.array(found, np.int64).reshape(-1, 2)
