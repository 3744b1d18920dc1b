"""How the vectors of a model lie in space: in a narrow cone or all round, in how many dimensions, around which hubs.

The numbers do not say whether a model is good; they say why it may fail, and what training did. Each is of a bounded
sample that is drawn by a seed, and depends on the texts as much as on the model: compare two models on the same texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedft.index.approximate import faiss_threads
from embedft.index.exact import Floats, exact_search

Doubles = npt.NDArray[np.float64]

BLOCK_ROWS = 1024
# Of uniformity: as Wang and Isola use it.
TEMPERATURE = 2.0
# Of hubness: as Radovanovic et al. use it.
NEIGHBOURS = 10


@dataclass(frozen=True)
class Spectrum:
    """In how many dimensions vectors vary.

    Attributes:
        effective_dimensions: exp of the entropy of the covariance's normalised eigenvalues (Roy and Vetterli 2007):
            as many dimensions of equal variance are as hard to guess.
        participation_ratio: square of the sum of the eigenvalues over the sum of their squares; less than that, since
            small eigenvalues hardly count.
        rankme: exp of the entropy of the normalised singular values, of vectors that are not centred (RankMe, Garrido
            et al. 2023, arXiv:2210.02885, eq. 3).
        first_component: share of the variance along one direction.
    """

    effective_dimensions: float
    participation_ratio: float
    rankme: float
    first_component: float


def anisotropy(vectors: Floats) -> float:
    """The mean cosine of two different vectors, over all pairs: 0 all round, 1 all the same.

    Source: Ethayarajh 2019, arXiv:1909.00512, section 3.2, of random pairs; the sum of all vectors gives it of every
    pair at once.

    Args:
        vectors: unit vectors, (n, dim), at least two.
    """
    count = len(vectors)
    doubled = vectors.astype(np.float64)
    total = float((doubled.sum(axis=0) ** 2).sum()) - float((doubled**2).sum())
    return total / (count * (count - 1))


def uniformity(vectors: Floats) -> float:
    """Log of the mean of exp(-2 d^2) over all pairs, d their distance: 0 all the same, lower is more uniform.

    Source: Wang and Isola 2020, arXiv:2005.10242, eq. 2, with t = 2.

    Args:
        vectors: unit vectors, (n, dim), at least two.
    """
    return uniformity_of(potentials(vectors))


def uniformity_of(sums: Doubles) -> float:
    """The same from `potentials`, (n,)."""
    return float(np.log(sums.sum() / (len(sums) * (len(sums) - 1))))


def potentials(vectors: Floats) -> Doubles:
    """Sum of exp(-2 d^2) over all other vectors, of each, (n,); d their distance.

    Args:
        vectors: unit vectors, (n, dim).
    """
    found = np.zeros(len(vectors))
    for start in range(0, len(vectors), BLOCK_ROWS):
        # Each pair once: with the rows of the block itself above the diagonal, and with all later ones.
        cosines = vectors[start : start + BLOCK_ROWS] @ vectors[start:].T
        values = np.exp(2 * TEMPERATURE * (np.minimum(cosines, 1) - 1))
        size = len(cosines)
        values[:, :size] = np.triu(values[:, :size], 1)
        found[start : start + size] += values.sum(axis=1, dtype=np.float64)
        found[start:] += values.sum(axis=0, dtype=np.float64)
    return found


def alignment(left: Floats, right: Floats) -> float:
    """The mean squared distance of pairs that belong together, 0..4; lower is closer.

    Source: Wang and Isola 2020, arXiv:2005.10242, eq. 1, with alpha = 2.

    Args:
        left: unit vectors, (pairs, dim).
        right: those that belong to them, (pairs, dim).
    """
    return float(distances(left, right).mean())


def distances(left: Floats, right: Floats) -> Doubles:
    """Squared distances, (pairs,), of what stands in the same row."""
    return np.asarray(((left.astype(np.float64) - right) ** 2).sum(axis=1), np.float64)


def spectrum(vectors: Floats) -> Spectrum | None:
    """In how many dimensions they vary; None if all are the same.

    Args:
        vectors: (n, dim).
    """
    doubled = vectors.astype(np.float64)
    centred = doubled - doubled.mean(axis=0)
    variances = _eigenvalues(centred)
    total = float(variances.sum())
    # Vectors in fp32 that are the same differ by so much.
    if total <= len(vectors) * np.finfo(np.float32).eps ** 2:
        return None
    return Spectrum(
        effective_dimensions=_spread(variances),
        participation_ratio=float(total**2 / (variances**2).sum()),
        rankme=_spread(np.sqrt(_eigenvalues(doubled))),
        first_component=float(variances.max() / total),
    )


def hubness(vectors: Floats, *, k: int = NEIGHBOURS) -> float | None:
    """Skewness of how often a vector is among the ``k`` nearest of the others: near 0 if alike, above 1 with hubs.

    None where there are too few vectors, or where all come up equally often.

    Source: Radovanovic, Nanopoulos and Ivanovic 2010, JMLR 11, eq. 1.

    Args:
        vectors: unit vectors, (n, dim).
        k: neighbours of each.
    """
    count = len(vectors)
    if count <= k + 1:
        return None
    with faiss_threads(count):
        rows = exact_search(vectors, vectors, k + 1)[1]
    own = rows == np.arange(count)[:, None]
    # A text with more than k copies may not find itself: then the last one goes.
    own[~own.any(axis=1), -1] = True
    occurrences = np.bincount(rows[~own], minlength=count).astype(np.float64)
    centred = occurrences - occurrences.mean()
    variance = float((centred**2).mean())
    return float((centred**3).mean()) / variance**1.5 if variance > 0 else None


def _eigenvalues(vectors: Doubles) -> Doubles:
    """Of their scatter, (dim,), not below 0."""
    return np.asarray(np.maximum(np.linalg.eigvalsh(vectors.T @ vectors), 0), np.float64)


def _spread(values: Doubles) -> float:
    """Exp of the entropy of values that are made to sum to 1."""
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))
