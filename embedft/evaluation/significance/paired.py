"""Paired two-sided tests of whether a difference between two systems is real.

The randomisation test is the one that verdicts stand on: it assumes nothing about the distribution of the scores
(Smucker, Allan and Carterette, CIKM 2007). The others are reported beside it, because papers and other tools do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError
from embedft.evaluation.significance.checks import ROUNDING, checked
from embedft.evaluation.significance.resampling import ROUNDS, every_flipped_sum, flipped_sums

RANDOMIZATION = "paired randomisation"
STUDENT = "Student's t"
MCNEMAR = "McNemar, exact"
MCNEMAR_MID = "McNemar, mid-p"
WILLIAMS = "Williams's t"
STEIGER = "Steiger's z"

# Up to this many differences every assignment of signs is tried, 2^13 = 8,192.
MOST_ENUMERATED = 13
FEWEST_FOR_CORRELATIONS = 4


def randomization_p_value(differences: npt.ArrayLike, *, rounds: int = ROUNDS, seed: int = 0) -> float:
    """The p-value of Fisher's paired randomisation test: how often random signs give as large a sum.

    Queries without a difference change nothing and are left out. Up to `MOST_ENUMERATED` others, every assignment of
    signs is tried, and the answer is exact. With more, signs are random and the observed assignment counts as one of
    the rounds, so that the smallest answer is 1 / (rounds + 1) and false alarms are never more frequent than stated.

    Args:
        differences: (queries,), score of one system minus that of the other.
        rounds: random assignments.
        seed: same seed, same answer.

    Raises:
        DataError: no differences, or one is no number.
    """
    values = checked(differences)
    values = values[values != 0]
    # Assignments that give the observed sum must count as equal despite rounding.
    observed = abs(values.sum()) - ROUNDING * np.abs(values).sum()
    if len(values) <= MOST_ENUMERATED:
        return float((np.abs(every_flipped_sum(values)) >= observed).mean())
    extreme = int((np.abs(flipped_sums(values, rounds=rounds, seed=seed)) >= observed).sum())
    return (extreme + 1) / (rounds + 1)


def t_test_p_value(differences: npt.ArrayLike) -> float:
    """The p-value of Student's paired t-test, as `scipy.stats.ttest_rel` and ranx have it.

    It assumes that the mean of this many differences is normal. Fifty queries with few differences, as of reciprocal
    ranks, can break that; with hundreds it agrees with the randomisation test. 1 with a single query; with equal
    differences 1 if they are 0, else 0, which is a formula's answer and no evidence.

    Args:
        differences: (queries,), score of one system minus that of the other.

    Raises:
        DataError: no differences, or one is no number.
    """
    values = checked(differences)
    if len(values) < 2 or not values.any():
        return 1.0
    deviation = values.std(ddof=1)
    if deviation == 0:
        return 0.0
    return _student(float(values.mean() / deviation * np.sqrt(len(values))), len(values) - 1)


def mcnemar_p_value(wins: int, losses: int, *, mid_p: bool = False) -> float:
    """The p-value of McNemar's test of whether the texts that only one model gets right are evenly shared.

    The exact one is the binomial test of wins among wins and losses, which the randomisation test of right and wrong
    answers tends to. Few texts make it too careful: 2.9 false alarms in 100 with 50 texts, 4.4 with 225, where the
    mid-p value, which counts half of the observed outcome, has 4.7 and 5.5 (benchmarks/coverage.py) but promises
    nothing (Fagerland, Lydersen and Laake 2013).

    Args:
        wins: texts that only the first model gets right.
        losses: texts that only the second does.
        mid_p: the mid-p value.

    Raises:
        DataError: a count is negative.
    """
    from scipy.special import bdtr

    if wins < 0 or losses < 0:
        raise DataError(f"{wins} wins and {losses} losses are no counts.", hint="count texts.")
    total, fewer = wins + losses, min(wins, losses)
    if not total:
        return 1.0
    at_most = float(bdtr(fewer, total, 0.5))
    below = float(bdtr(fewer - 1, total, 0.5)) if fewer else 0.0
    return min(at_most + below if mid_p else 2 * at_most, 1.0)


def williams_p_value(first: float, second: float, between: float, count: int) -> float:
    """The p-value of Williams's test of whether two correlations with the same scores differ.

    It assumes that the three variables are jointly normal. Ranks of cosines and scores are not: between systems without
    a difference it finds one in 8 to 9 of 100 cases on STS-B instead of 5, and so does Steiger's, where the
    randomisation test keeps to 5 or 6 (benchmarks/coverage.py). So both are reported and decide nothing.
    Source: Williams 1959; Steiger 1980, "Tests for Comparing Elements of a Correlation Matrix", eq. 7.

    Args:
        first: correlation of the first model with the scores.
        second: correlation of the second model with the scores.
        between: correlation of the two models.
        count: pairs.

    Raises:
        DataError: fewer than four pairs, or correlations that no three variables have.
    """
    if not _comparable(first, second, between, count):
        return 1.0
    determinant = max(1 - first**2 - second**2 - between**2 + 2 * first * second * between, 0.0)
    mean = (first + second) / 2
    below = 2 * determinant * (count - 1) / (count - 3) + mean**2 * (1 - between) ** 3
    if below == 0:
        return 0.0
    return _student((first - second) * np.sqrt((count - 1) * (1 + between) / below), count - 3)


def steiger_p_value(first: float, second: float, between: float, count: int) -> float:
    """The p-value of Steiger's test, of Fisher's z with the pooled covariance; arguments and faults as Williams's.

    Source: Steiger 1980, eq. 14 and 3 (the Z1 with r12 and r13 each replaced by their mean in the covariance).
    """
    from scipy.special import ndtr

    if not _comparable(first, second, between, count):
        return 1.0
    square = ((first + second) / 2) ** 2
    if square >= 1 or max(abs(first), abs(second)) >= 1:
        return 0.0
    covariance = between * (1 - 2 * square) - square * (1 - 2 * square - between**2) / 2
    below = 2 - 2 * covariance / (1 - square) ** 2
    if below <= 0:
        return 0.0
    z = (np.arctanh(first) - np.arctanh(second)) * np.sqrt((count - 3) / below)
    return float(2 * ndtr(-abs(z)))


def _comparable(first: float, second: float, between: float, count: int) -> bool:
    """Whether there is a difference to test.

    Raises:
        DataError: there is nothing to compare.
    """
    given = np.array([first, second, between])
    if count < FEWEST_FOR_CORRELATIONS or not (np.abs(given) <= 1 + ROUNDING).all():
        raise DataError(
            f"correlations {first}, {second} and {between} of {count} pairs cannot be compared.",
            hint="at least four pairs are needed, and correlations between -1 and 1.",
        )
    return abs(first - second) > ROUNDING


def _student(t: float, freedom: int) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))
