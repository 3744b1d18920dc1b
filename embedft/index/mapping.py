"""Vectors of a new model out of those of an old one, by a linear map fitted on a sample: when embedding all texts again
costs too much today.

The map is ridge regression from old to new vectors of the same documents, the strength chosen on documents that it was
not fitted on. What is kept is measured on others still: of the nearest documents by truly re-embedded vectors, the
share that the mapped ones find. Nothing is known beyond that sample.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embedft.errors import DataError
from embedft.index.approximate import faiss_threads
from embedft.index.exact import Floats, exact_search, useful_threads

SAMPLE = 10_000
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# A fifth chooses the strength, a fifth measures.
PARTS = (0.6, 0.8)
# Below it the map is mostly noise, and embedding everything is cheap.
FEWEST_PER_DIMENSION = 3


@dataclass(frozen=True)
class Retention:
    """What a map keeps, measured on documents that it was not fitted on.

    Attributes:
        sample: documents that were embedded by the new model.
        judged: of these, the ones that it is measured on.
        queries: that were asked.
        k: hits a query.
        recall: share of the k nearest by true vectors that are among the k nearest by mapped ones, mean of the queries.
        ci_low, ci_high: 95 % interval of it (normal approximation over queries).
        cosine: between mapped and true vectors, mean.
        strength: of the ridge.
    """

    sample: int
    judged: int
    queries: int
    k: int
    recall: float
    ci_low: float
    ci_high: float
    cosine: float
    strength: float

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def require_sample(sample: int, dim: int) -> None:
    """Raise DataError if so few documents cannot say how vectors of ``dim`` dimensions turn into others."""
    fewest = FEWEST_PER_DIMENSION * dim
    if sample < fewest:
        raise DataError(
            f"a map of {dim} dimensions cannot be fitted on {sample} documents.",
            hint=f"use a sample of {fewest} or more, or migrate without --map: few documents are soon embedded.",
        )


def fit_map(old: Floats, new: Floats, queries: Floats, k: int = 10) -> tuple[Floats, Retention]:
    """The matrix that turns old vectors into new ones, (old dim, new dim), and what it keeps.

    Args:
        old: (n, old dim) unit vectors of sampled documents, in an order that means nothing.
        new: (n, new dim) of the same documents.
        queries: (queries, new dim) by the new model.
        k: hits a query.

    Raises:
        DataError: too few documents.
    """
    require_sample(len(old), old.shape[1])
    first, second = (int(share * len(old)) for share in PARTS)
    fitted = _Fit(old[:first], new[:first])
    found = {
        strength: float((apply_map(old[first:second], fitted.solve(strength)) * new[first:second]).sum(1).mean())
        for strength in STRENGTHS
    }
    strength = max(found, key=lambda one: found[one])
    matrix = fitted.solve(strength)
    mapped, true = apply_map(old[second:], matrix), new[second:]
    k = min(k, len(true))
    with faiss_threads(useful_threads(len(queries), len(true))):
        expected, got = exact_search(queries, true, k)[1], exact_search(queries, mapped, k)[1]
    shares = np.array([len(set(one) & set(other)) / k for one, other in zip(expected, got, strict=True)])
    half = 1.96 * shares.std(ddof=1) / np.sqrt(len(shares)) if len(shares) > 1 else 1.0
    recall = float(shares.mean())
    retention = Retention(
        sample=len(old),
        judged=len(true),
        queries=len(queries),
        k=k,
        recall=recall,
        ci_low=max(0.0, recall - float(half)),
        ci_high=min(1.0, recall + float(half)),
        cosine=float((mapped * true).sum(1).mean()),
        strength=strength,
    )
    return matrix, retention


class _Fit:
    """Ridge regression whose products are computed once for all strengths."""

    def __init__(self, old: Floats, new: Floats) -> None:
        wide = old.astype(np.float64)
        self._gram, self._target = wide.T @ wide, wide.T @ new.astype(np.float64)

    def solve(self, strength: float) -> Floats:
        size = len(self._gram)
        scaled = strength * np.trace(self._gram) / size * np.eye(size)
        solved: Floats = np.linalg.solve(self._gram + scaled, self._target).astype(np.float32)
        return solved


def apply_map(old: Floats, matrix: Floats) -> Floats:
    """The mapped vectors, (n, new dim), of length 1."""
    mapped = old @ matrix
    norms = np.linalg.norm(mapped, axis=1, keepdims=True)
    unit: Floats = mapped / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit
