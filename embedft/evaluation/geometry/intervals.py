"""How far chance reaches in alignment and uniformity: 95 % intervals over the texts that were drawn.

Alignment is a mean over pairs, and pairs of one query err together: whole queries are resampled. Uniformity is of all
pairs of texts, so that each text is in many: its jackknife pseudo-values (Efron and Tibshirani 1993, section 11.5) are
resampled instead, whose mean it is but for its bias. Of a difference between two models, both are taken on the same
texts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedft.evaluation.significance import bootstrap_interval, percentile_interval, resampled_weights

Doubles = npt.NDArray[np.float64]
# The ends of an interval move by 3 % of its length with the seed.
ROUNDS = 2000
# Fewer texts or queries have no interval: their resamples vary too little.
FEWEST = 10


def alignment_interval(distances: Doubles, owners: npt.NDArray[np.int64], *, seed: int = 0) -> list[float] | None:
    """The ends of the interval of the mean distance; None of too few owners.

    Args:
        distances: (pairs,), squared, or what they differ between two models.
        owners: (pairs,), the query or the first text of each pair.
        seed: of the resamples.
    """
    _, place = np.unique(owners, return_inverse=True)
    sums, counts = np.bincount(place, distances), np.bincount(place)
    if len(counts) < FEWEST:
        return None
    drawn = resampled_weights(len(counts), rounds=ROUNDS, seed=seed)
    means = [(weights @ sums) / (weights @ counts) for weights in drawn]
    low, high = percentile_interval(np.concatenate(means), count=len(counts))
    return [float(low), float(high)]


def uniformity_interval(pseudo: Doubles, value: float, *, seed: int = 0) -> list[float] | None:
    """The ends of the interval of a uniformity; None of too few texts.

    Args:
        pseudo: (texts,), of `pseudo_values`, or what they differ between two models.
        value: the uniformity, or the difference.
        seed: of the resamples.
    """
    if len(pseudo) < FEWEST:
        return None
    shift = value - float(pseudo.mean())
    return [end + shift for end in bootstrap_interval(pseudo, rounds=ROUNDS, seed=seed)]


def pseudo_values(potentials: Doubles) -> Doubles:
    """What the uniformity would be of each text alone, (n,), were it a mean over texts.

    Args:
        potentials: (n,) of `measures.potentials`, at least three.
    """
    count = len(potentials)
    total = potentials.sum() / 2
    whole = np.log(total / (count * (count - 1) / 2))
    without = np.log((total - potentials) / ((count - 1) * (count - 2) / 2))
    return np.asarray(count * whole - (count - 1) * without, np.float64)
