"""Correlations of resamples and of exchanged models, without sorting each of them again.

A resample is a weight for each row. Pearson's correlation is a function of weighted sums, which are one matrix product.
The rank of a value in a resample is the number of rows below it plus half of those that equal it: values are sorted
once, and the ranks of every resample are cumulative sums of its weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import numpy.typing as npt

from embedft.evaluation.significance.resampling import ROUNDS, Floats, exchanges, resampled_weights

Kind = Literal["spearman", "pearson"]
# Weights, ranks of three variables and what they are gathered from stand at once.
ARRAYS = 10


class Ranks:
    """Ranks of the rows within any weighting of them, ties by their mean.

    Args:
        values: (n,), what is ranked.
    """

    def __init__(self, values: Floats) -> None:
        _, self._group = np.unique(values, return_inverse=True)
        self._order = np.argsort(self._group, kind="stable")
        self._starts = np.flatnonzero(np.diff(self._group[self._order], prepend=-1))

    def within(self, weights: Floats) -> Floats:
        """The rank that each row has, or would have, among the rows that count ``weights`` times; (block, n)."""
        counts = weights[:, self._order]
        if len(self._starts) < len(self._order):
            counts = np.add.reduceat(counts, self._starts, axis=1)
        ranks = np.cumsum(counts, axis=1)
        ranks -= (counts - 1) / 2
        return np.asarray(ranks[:, self._group])


def resampled_correlations(kind: Kind, gold: Floats, systems: Floats, *, rounds: int = ROUNDS, seed: int = 0) -> Floats:
    """Correlation of each system with the scores on resampled pairs, the same ones for all; (systems, rounds).

    0 where a resample has but one score or one cosine.

    Args:
        kind: "spearman" or "pearson".
        gold: (pairs,), given scores.
        systems: (systems, pairs), cosines.
        rounds: resamples.
        seed: same seed, same resamples.
    """
    drawn = resampled_weights(len(gold), rounds=rounds, seed=seed, arrays=ARRAYS)
    return _spearman(gold, systems, drawn) if kind == "spearman" else _pearson(gold, systems, drawn)


def exchanged_correlations(
    kind: Kind, gold: Floats, own: Floats, other: Floats, *, rounds: int = ROUNDS, seed: int = 0
) -> Floats:
    """Correlations of two systems with the scores after random exchanges of their answers; (2, rounds).

    Args:
        kind: "spearman" or "pearson".
        gold: (pairs,), given scores.
        own: (pairs,), of one system, on a scale that both share.
        other: (pairs,), of the other.
        rounds: random assignments.
        seed: same seed, same exchanges.
    """
    count = len(gold)
    centred = _standardised(gold) if kind == "pearson" else _standardised(Ranks(gold).within(np.ones((1, count)))[0])
    both = np.concatenate([own, other])
    ranks = Ranks(both)
    found = []
    for swapped in exchanges(count, rounds=rounds, seed=seed, arrays=2 * ARRAYS):
        for taken in (np.hstack([~swapped, swapped]), np.hstack([swapped, ~swapped])):
            weights = taken.astype(np.float64)
            if kind == "pearson":
                found.append(_from_sums(_sums(centred, both, weights), count))
                continue
            values = ranks.within(weights) - (count + 1) / 2
            values *= weights
            values = values[:, :count] + values[:, count:]
            found.append(_ratio(values @ centred, np.sqrt((values**2).sum(1) * count)))
    return np.stack([np.concatenate(found[side::2]) for side in (0, 1)])


def _pearson(gold: Floats, systems: Floats, drawn: Iterable[Floats]) -> Floats:
    count = len(gold)
    gold, systems = _standardised(gold), np.stack([_standardised(each) for each in systems])
    found = [[_from_sums(_sums(gold, each, weights), count) for each in systems] for weights in drawn]
    return np.concatenate([np.stack(block) for block in found], axis=1)


def _spearman(gold: Floats, systems: Floats, drawn: Iterable[Floats]) -> Floats:
    centre = (len(gold) + 1) / 2  # the mean rank, whatever the weights
    ranks = [Ranks(each) for each in (gold, *systems)]
    found = []
    for weights in drawn:
        gold_ranks = ranks[0].within(weights) - centre
        weighted = gold_ranks * weights
        spread = np.einsum("bn,bn->b", weighted, gold_ranks)
        block = []
        for each in ranks[1:]:
            own = each.within(weights) - centre
            product = np.einsum("bn,bn->b", weighted, own)
            own_spread = np.einsum("bn,bn,bn->b", own, own, weights)
            block.append(_ratio(product, np.sqrt(spread * own_spread)))
        found.append(np.stack(block))
    return np.concatenate(found, axis=1)


def _sums(gold: Floats, values: Floats, weights: Floats) -> Floats:
    """(block, 5): weighted sums of both, their squares and their product; ``gold`` repeats where values are longer."""
    gold = np.resize(gold, len(values))
    return np.asarray(weights @ np.stack([gold, values, gold**2, values**2, gold * values], axis=1), np.float64)


def _from_sums(sums: Floats, count: int) -> Floats:
    gold, own, gold_square, own_square, product = sums.T
    spread = (gold_square - gold**2 / count) * (own_square - own**2 / count)
    return _ratio(product - gold * own / count, np.sqrt(np.maximum(spread, 0.0)))


def _ratio(above: Floats, below: Floats) -> Floats:
    # What is left of a resample of equal values is rounding.
    return np.divide(above, below, out=np.zeros_like(above), where=below > 1e-9)


def _standardised(values: npt.NDArray[np.float64]) -> Floats:
    return np.asarray((values - values.mean()) / (values.std() or 1.0), np.float64)
