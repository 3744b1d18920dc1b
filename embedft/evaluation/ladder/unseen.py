"""Lower bounds of a share that is kept, which hold although no sampled query may show what is lost.

Resamples of queries that all score as before score as before: the bootstrap takes a loss that 1 query in 100 has for
none if it is not among 50 of them. `kept_at_least` supposes only that the queries are independent and scores lie in
[0, 1]; a query may lose all it has. A gambler bets on ``variant - share whole`` being above 0, knowing the queries
before; if the variant keeps no more than that share, he cannot expect to gain, and multiplies his stake by 1 / risk
with a chance of at most ``risk`` (Ville's inequality). A share at which he does is refuted. Source: Waudby-Smith and
Ramdas 2024, Estimating means of bounded random variables by betting, JRSS B 86(1), arXiv:2010.09686.

A correlation is no mean over pairs. There `unspoilt` supposes that a storage leaves most pairs alone, as those sampled,
and spoils the rest: their cosines say nothing any more, so that they take their share of the correlation with them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# Of the stake: a query that loses all it has leaves a tenth.
LARGEST_BET = 0.9
# Halvings of [0, 1], to a millionth.
BISECTIONS = 20


def kept_at_least(scores: Floats, *, risk: float, seed: int = 0) -> Floats:
    """A lower bound of the share of the first system's mean that each keeps, (systems,), at most 1.

    Args:
        scores: (systems, queries) in [0, 1].
        risk: that the bound of one system is above its share, at most.
        seed: of the order in which the queries are taken.
    """
    count = scores.shape[1]
    scores = scores[:, np.random.default_rng(seed).permutation(count)]
    whole, stake = scores[0], math.log(1 / risk)
    differences = scores - whole
    # Half a difference stands for what was not seen yet; a bet knows only the queries before it.
    seen = np.arange(1, count + 1)
    means = np.cumsum(differences, axis=1) / (seen + 1)
    variances = (0.25 + np.cumsum((differences - means) ** 2, axis=1)) / (seen + 1)
    before = np.concatenate([np.full((len(scores), 1), 0.25), variances[:, :-1]], axis=1)
    # The same bets for every share, so that who refutes one refutes all below it.
    bets = np.minimum(np.sqrt(2 * stake / (count * before)), LARGEST_BET)
    low, high = np.zeros(len(scores)), np.ones(len(scores))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        gains = np.log1p(bets * (scores - middle[:, None] * whole))
        refuted = np.cumsum(gains, axis=1).max(axis=1) >= stake
        low, high = np.where(refuted, middle, low), np.where(refuted, high, middle)
    return low


def queries_for(share: float, mean: float, *, risk: float) -> int:
    """About how many queries show that a share is kept, if none of them loses anything.

    Args:
        share: below 1.
        mean: score of the whole, above 0.
        risk: as of `kept_at_least`.
    """
    return math.ceil(math.log(1 / risk) / math.log1p(LARGEST_BET * (1 - share) * mean))


def unspoilt(count: int, *, risk: float) -> float:
    """The share of all pairs that are as the sampled ones, at least (Clopper and Pearson's bound of none in ``count``).

    Args:
        count: of sampled pairs.
        risk: that fewer are.
    """
    return float(risk ** (1 / count))


def pairs_for(share: float, *, risk: float) -> int:
    """How many pairs have a share of `unspoilt` ones.

    Args:
        share: below 1.
        risk: as of `unspoilt`.
    """
    return math.ceil(math.log(1 / risk) / -math.log(share))
