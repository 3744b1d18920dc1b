"""Maximal marginal relevance: hits that are relevant and do not repeat one another."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def mmr(vectors: Floats, relevance: Floats, k: int, trade_off: float = 0.5) -> Rows:
    """The order of the first ``k`` candidates by maximal marginal relevance: positions in ``vectors``, (min(k, m),).

    Each next hit is the candidate with the highest

        trade_off * relevance - (1 - trade_off) * (highest cosine with a hit chosen before, 0 for the first)

    and of equals the first. With ``trade_off`` 1 that is the order of relevance.

    Args:
        vectors: (m, dim) unit vectors of the candidates.
        relevance: (m,) cosines of the candidates with the query. Scores of another kind (BM25, fused ranks) do not
            compare with cosines between candidates until they are stretched to [0, 1].
        k: at least 1.
        trade_off: between 0 (only unlike the others) and 1 (only relevant).

    Raises:
        DataError: the shapes do not fit, k is below 1, or ``trade_off`` is not in [0, 1].

    Source: Carbonell and Goldstein 1998, The Use of MMR, Diversity-Based Reranking, SIGIR.
    """
    if vectors.ndim != 2 or relevance.shape != (len(vectors),):
        raise DataError(
            f"vectors are {vectors.shape} and relevance {relevance.shape}; expected (m, dim) and (m,).",
            hint="give one score for each candidate.",
        )
    if k < 1:
        raise DataError(f"k is {k}.", hint="ask for at least 1 hit.")
    if not 0 <= trade_off <= 1:
        raise DataError(f"the trade-off is {trade_off}.", hint="give a number from 0 to 1.")
    order = np.empty(min(k, len(vectors)), np.int64)
    worth = trade_off * relevance
    nearest = np.zeros(len(vectors), np.float32)
    for place in range(len(order)):
        # argmax takes the first of equals.
        chosen = int(np.argmax(worth - (1 - trade_off) * nearest))
        order[place] = chosen
        cosines = vectors @ vectors[chosen]
        nearest = cosines if place == 0 else np.maximum(nearest, cosines)
        worth[chosen] = -np.inf
    return order
