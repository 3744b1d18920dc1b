"""Vectors for the tests of the ladder: queries beside their own documents, the first dimensions the largest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Case:
    documents: np.ndarray
    queries: np.ndarray
    document_ids: list[str]
    query_ids: list[str]
    qrels: pa.Table

    @property
    def arguments(self) -> tuple:
        return self.documents, self.queries, self.document_ids, self.query_ids, self.qrels


def planted(documents: int = 300, queries: int = 80, dim: int = 128, noise: float = 1.5, seed: int = 0) -> Case:
    """Each query is a document and noise; dimension d has a standard deviation of 1 / sqrt(d + 1)."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(1 + np.arange(dim))
    drawn = rng.normal(size=(documents, dim)) * scale
    own = rng.integers(0, documents, queries)
    asked = drawn[own] + noise * rng.normal(size=(queries, dim)) * scale
    # Ids whose order is not that of the rows.
    ids = [f"d{row * 7 % documents:04}" for row in range(documents)]
    names = [f"q{row}" for row in range(queries)]
    qrels = pa.table({"query_id": names, "corpus_id": [ids[row] for row in own], "grade": [1] * queries})
    return Case(unit(drawn), unit(asked), ids, names, qrels)
