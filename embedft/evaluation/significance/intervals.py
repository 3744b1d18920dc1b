"""Confidence intervals of a mean, or of any statistic, from resamples.

Which one? benchmarks/coverage.py draws 2,000 samples of 50, 225 and 1,000 queries from real per-query scores and
differences and counts how often the 95 % interval of each kind holds the truth. Where at least fifteen queries of a
sample differ from what most of them have (differences: are no ties), which are 60 of the 81 cells, every kind but BCa
does in 93 to 96 of 100 samples; BCa, 92. The kinds part with 50 queries:

                  two systems' difference    one system
    percentile    93.2 .. 94.6 %             93.9 .. 95.0 %
    expanded      94.2 .. 95.4 %             94.8 .. 95.6 %
    BCa           92.0 .. 94.4 %             94.5 .. 95.6 %
    t             94.5 .. 96.0 %             94.8 .. 95.1 %

So the expanded percentile interval is the default: it is near 95 % where systems are compared, never leaves the range
of the scores as Student's does, and serves any statistic. BCa estimates its corrections from the few queries that
differ and does worse for differences, which are mostly ties.

The other 21 cells are left out of these ranges, since no kind holds what it says there: with 7 to 14 queries that
differ the expanded interval holds the truth in 92 to 95 of 100 samples, with 2 to 5 in 75 to 90, with fewer than two in
17 to 77: a sample often has none of the queries that differ, and its interval is a point. (Where all queries have the
same score, it is always right.)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from embedft.errors import ConfigError
from embedft.evaluation.significance.checks import checked
from embedft.evaluation.significance.resampling import ROUNDS, Floats, resampled_means

CONFIDENCE = 0.95
Method = Literal["percentile", "expanded", "bca", "t"]
DEFAULT_METHOD: Method = "expanded"
METHODS: tuple[Method, ...] = ("percentile", "expanded", "bca", "t")


def bootstrap_interval(
    differences: npt.ArrayLike,
    *,
    confidence: float = CONFIDENCE,
    rounds: int = ROUNDS,
    seed: int = 0,
    method: Method = DEFAULT_METHOD,
) -> tuple[float, float]:
    """The interval of the mean difference (or of any mean), low and high end.

    Where all differences are equal, and so with one query, both ends are that difference: the sample says nothing of
    how others would differ. The p-value beside it does not fall for it: with fewer than six queries it is above 0.05.

    Args:
        differences: (queries,), score of one system minus that of the other.
        confidence: 0..1.
        rounds: resamples.
        seed: same seed, same interval.
        method: "percentile" (Efron 1979), "expanded" (Hesterberg 2015), "bca" (Efron 1987), or "t", without resamples.

    Raises:
        ConfigError: another method.
        DataError: no differences, or one is no number.
    """
    values = checked(differences)
    if method not in METHODS:
        raise ConfigError(f"no interval is named {method!r}.", hint=f"use {', '.join(METHODS)}.")
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    if method == "t":
        return _pair(t_interval(values.mean(), values.std(ddof=1), len(values), confidence=confidence))
    means = resampled_means(values, rounds=rounds, seed=seed)
    if method == "bca":
        return _pair(bca_interval(means, values.mean(), mean_acceleration(values), confidence=confidence))
    count = len(values) if method == "expanded" else None
    return _pair(percentile_interval(means, count=count, confidence=confidence))


def percentile_interval(
    replicates: Floats, *, count: int | None = None, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """The ends between which the middle of the resampled values lies, (...,) each.

    With ``count`` the tails are made smaller, from 2.5 % to Phi(-t sqrt(n / (n - 1))) with t the quantile of Student's
    distribution: a resample varies by sqrt((n - 1) / n) too little, and a normal's tails are too thin for few queries.
    Source: Hesterberg 2015, "What Teachers Should Know About the Bootstrap", section 3.3 (expanded percentile).

    Args:
        replicates: (..., rounds), the statistic on resamples.
        count: how many queries there were, or None for the plain percentile interval.
        confidence: 0..1.
    """
    tail = (1 - confidence) / 2
    if count is not None and count > 1:
        tail = _expanded_tail(tail, count)
    low, high = np.quantile(replicates, [tail, 1 - tail], axis=-1)
    return np.asarray(low, np.float64), np.asarray(high, np.float64)


def bca_interval(
    replicates: Floats, estimate: npt.ArrayLike, acceleration: npt.ArrayLike, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """The bias-corrected and accelerated interval, (...,) each, as `scipy.stats.bootstrap` has it.

    Source: Efron 1987; Efron and Tibshirani 1993, eq. 14.9-14.15.

    Args:
        replicates: (..., rounds), the statistic on resamples.
        estimate: (...,), the statistic on what was judged.
        acceleration: (...,), as of `mean_acceleration`.
        confidence: 0..1.
    """
    from scipy.special import ndtr, ndtri

    centre = np.asarray(estimate, np.float64)[..., None]
    # Resamples that equal the estimate count half. Discrete scores have many.
    below = ((replicates < centre).mean(-1) + (replicates <= centre).mean(-1)) / 2
    smallest = 0.5 / replicates.shape[-1]
    bias = ndtri(np.clip(below, smallest, 1 - smallest))
    ends = []
    for normal in (ndtri((1 - confidence) / 2), ndtri((1 + confidence) / 2)):
        moved = bias + normal
        ends.append(ndtr(bias + moved / (1 - np.asarray(acceleration) * moved)))
    return _quantiles(replicates, ends[0]), _quantiles(replicates, ends[1])


def t_interval(
    mean: npt.ArrayLike, deviation: npt.ArrayLike, count: int, *, confidence: float = CONFIDENCE
) -> tuple[Floats, Floats]:
    """Student's interval of a mean, (...,) each: right where means of ``count`` differences are normal.

    Args:
        mean: (...,).
        deviation: (...,), standard deviation of the differences, with n - 1 below.
        count: how many differences, at least two.
        confidence: 0..1.
    """
    from scipy.special import stdtrit

    half = stdtrit(count - 1, (1 + confidence) / 2) * np.asarray(deviation) / np.sqrt(count)
    return np.asarray(mean - half, np.float64), np.asarray(mean + half, np.float64)


def mean_acceleration(values: Floats) -> Floats:
    """The acceleration of a mean, (...,): a sixth of the skewness of the sum, which is that of the jackknife.

    Args:
        values: (..., n), what the mean is of.
    """
    centred = values - values.mean(-1, keepdims=True)
    return _acceleration(centred)


def _acceleration(influence: Floats) -> Floats:
    cubes, squares = (influence**3).sum(-1), (influence**2).sum(-1)
    below = 6 * squares**1.5
    return np.asarray(np.divide(cubes, below, out=np.zeros_like(below), where=below > 0), np.float64)


def _expanded_tail(tail: float, count: int) -> float:
    from scipy.special import ndtr, stdtrit

    return float(ndtr(stdtrit(count - 1, tail) * np.sqrt(count / (count - 1))))


def _quantiles(replicates: Floats, levels: Floats) -> Floats:
    """A quantile of its own for each row of ``replicates`` (..., rounds), by linear interpolation as numpy's."""
    ordered = np.sort(replicates, axis=-1)
    place = np.asarray(levels)[..., None] * (ordered.shape[-1] - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, ordered.shape[-1] - 1)
    low, high = (np.take_along_axis(ordered, rows, axis=-1) for rows in (below, above))
    return np.asarray((low + (high - low) * (place - below))[..., 0], np.float64)


def _pair(ends: tuple[Floats, Floats]) -> tuple[float, float]:
    return float(ends[0]), float(ends[1])
