"""Recall against exact search, and a lower bound of it that holds for any number of queries."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

# Sums in another order differ by so much: a hit that scores as the k-th one does is as good.
TIE = 1e-6
# The lower end of a 95 % interval.
LEVEL = 0.975
# Bets are cut so that a single query without any hit does not ruin the gambler: he keeps a tenth.
LARGEST_BET = 0.9
BISECTIONS = 40


def recall_of(scores: Floats, truth: Floats) -> Doubles:
    """Share of the exact hits that were found, of each query, (n,).

    A hit counts if its exact score reaches that of the last exact hit, so that ties do not matter.

    Args:
        scores: exact scores of what was found, (n, k); -inf where nothing was.
        truth: scores of the exact hits, best first, (n, k); -inf at the end where there are fewer.
    """
    possible = np.isfinite(truth).sum(axis=1)
    worst = np.where(np.isfinite(truth), truth, np.inf).min(axis=1, initial=np.inf)
    found = np.isfinite(scores) & (scores >= worst[:, None] - TIE)
    share = np.minimum(found.sum(axis=1), possible) / np.maximum(possible, 1)
    return np.where(possible > 0, share, 1.0)


def mean_lower_bound(values: Doubles, *, level: float = LEVEL, seed: int = 0) -> float:
    """A number that the mean of the distribution of ``values`` is below in at most 1 - ``level`` of all samples.

    Recalls near 1 are too skewed for the bootstrap or a t interval: 50 queries without a miss would have a bound of
    1.0. Counting hits as independent (Clopper and Pearson) is worse: misses come together, in the hard queries. This
    bound supposes only that the queries are independent and the values in [0, 1]. A gambler bets on each value being
    above a supposed mean, knowing those before; if the mean were no larger than that, he could not expect to gain. A
    supposed mean at which he multiplies his stake by 1 / (1 - level) at some time is refuted (Ville's inequality).

    Source: Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting, JRSS B 86(1),
    arXiv:2010.09686, theorem 3 and the bets of section B.1.

    Args:
        values: (n,) in [0, 1]; in any order, they are shuffled.
        level: of the one-sided bound.
        seed: of the shuffling.
    """
    n = len(values)
    if n == 0:
        return 0.0
    values = np.random.default_rng(seed).permutation(values)
    seen = np.arange(1, n + 1)
    # Half a value stands for what was not seen yet, so that the estimates begin somewhere.
    means = (0.5 + np.cumsum(values)) / (seen + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (seen + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    stake = math.log(1 / (1 - level))
    bets = np.sqrt(2 * stake / (n * before))

    def refuted(mean: float) -> bool:
        gains = np.log1p(np.minimum(bets, LARGEST_BET / mean) * (values - mean))
        return bool(np.cumsum(gains).max() >= stake)

    low, high = 0.0, 1.0
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low
