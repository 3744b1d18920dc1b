"""How small a difference this many queries can show, and how many would show a smaller one.

The power is that of Student's paired t-test, by the noncentral t distribution; that of the randomisation test is within
four points of it, simulated on real scores (benchmarks/coverage.py). The standard deviation of the differences is taken
from the comparison at hand, so the answer holds for two systems that differ as much query by query.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from embedft.errors import ConfigError

ALPHA = 0.05
POWER = 0.8
MOST_QUERIES = 1_000_000_000


def power_of(difference: float, deviation: float, count: int, *, alpha: float = ALPHA) -> float:
    """The chance that a true difference is found significant, two-sided.

    Args:
        difference: true mean difference.
        deviation: standard deviation of the differences of the queries, above 0.
        count: queries, at least two.
        alpha: false alarm rate.

    Raises:
        ConfigError: a number is out of its range.
    """
    _check(deviation, alpha=alpha, count=count)
    return _power(abs(difference) / deviation * math.sqrt(count), count, alpha)


def detectable_difference(count: int, deviation: float, *, alpha: float = ALPHA) -> float:
    """The smallest true difference that is found with a power of `POWER`.

    Args:
        count: queries, at least two.
        deviation: standard deviation of the differences of the queries, above 0.
        alpha: false alarm rate, below `POWER`.

    Raises:
        ConfigError: a number is out of its range.
    """
    _check(deviation, alpha=alpha, count=count)
    return deviation * _shift(count, alpha) / math.sqrt(count)


@cache
def _shift(count: int, alpha: float) -> float:
    """How many standard errors from 0 a true mean is that is found with a power of `POWER`."""
    from scipy.optimize import brentq

    high = 1.0
    while _power(high, count, alpha) < POWER:
        high *= 2
    return float(brentq(lambda shift: _power(shift, count, alpha) - POWER, 0.0, high))


def queries_needed(difference: float, deviation: float, *, alpha: float = ALPHA) -> int:
    """The fewest queries with which a true difference is found with a power of `POWER`.

    Args:
        difference: true mean difference, not 0.
        deviation: standard deviation of the differences of the queries, above 0.
        alpha: false alarm rate, below `POWER`.

    Raises:
        ConfigError: a number is out of its range, or a billion queries were too few.
    """
    _check(deviation, alpha=alpha)
    high = 2
    while power_of(difference, deviation, high, alpha=alpha) < POWER:
        high *= 2
        if high > MOST_QUERIES:
            raise ConfigError(
                f"a difference of {difference} is not found with {MOST_QUERIES:,} queries.",
                hint="ask for a larger one.",
            )
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        enough = power_of(difference, deviation, max(middle, 2), alpha=alpha) >= POWER
        low, high = (low, middle) if enough else (middle, high)
    return max(high, 2)


def detectable_sentence(
    detectable: float | None,
    count: int,
    *,
    unit: str = "queries",
    difference: float | None = None,
    differing: int | None = None,
    at_most: bool = False,
    tests: int = 1,
) -> str:
    """What this many queries could show, for people.

    Args:
        detectable: of `detectable_difference`, at `ALPHA` divided by ``tests``; None where it is not known.
        count: queries.
        unit: what they are, in the plural.
        difference: what was found, to say how many queries would make sure of it.
        differing: on how many the two systems differ, to say why nothing could be seen.
        at_most: whether that is the largest number, of several pairs of systems.
        tests: how many comparisons are corrected together.
    """
    if detectable is None:
        if differing and 2.0 ** (1 - differing) >= ALPHA / tests:
            over = f"{number_of(count, unit)}, too few for any test{_corrected_for(tests)} to tell them apart"
            return f"The systems differ on {'at most ' if at_most else ''}{differing:,} of {over}."
        why = "the systems answer alike" if differing == 0 else "all systems differ alike"
        return f"On {number_of(count, unit)} {why}: how small a difference could be seen is not known."
    chance = f"{100 * POWER:.0f} % power at p < {ALPHA}{_corrected_for(tests)}"
    said = f"With {number_of(count, unit)} you could see a difference of {detectable:.2g} ({chance})"
    # The number grows with the square: of a difference of nearly nothing it would say nothing.
    if difference is None or not detectable * math.sqrt(count / MOST_QUERIES) < abs(difference) < detectable:
        return f"{said}."
    alpha = ALPHA / tests
    needed = queries_needed(difference, detectable / detectable_difference(count, 1.0, alpha=alpha), alpha=alpha)
    return f"{said}; to be as sure of {abs(difference):.2g}, about {_two_digits(needed):,} {unit}."


def _corrected_for(tests: int) -> str:
    return f", corrected for {tests:,} tests" if tests > 1 else ""


def number_of(count: int, unit: str) -> str:
    """``1,000 queries``, ``1 query``."""
    return f"1 {unit[:-3] + 'y' if unit.endswith('ies') else unit[:-1]}" if count == 1 else f"{count:,} {unit}"


def _power(shift: float, count: int, alpha: float) -> float:
    """Of a true mean that is ``shift`` standard errors from 0."""
    from scipy.special import nctdtr, stdtrit

    critical = stdtrit(count - 1, 1 - alpha / 2)
    # SciPy's series ends in NaN only where the chance is below 1e-15, for 2 to a billion queries.
    missed, wrong_sign = np.nan_to_num(nctdtr(count - 1, shift, [critical, -critical]))
    return float(1 - missed + wrong_sign)


def _two_digits(number: int) -> int:
    size = int(10 ** max(len(str(number)) - 2, 0))
    return -(-number // size) * size


def _check(deviation: float, *, alpha: float, count: int | None = None) -> None:
    if not deviation > 0 or not math.isfinite(deviation):
        raise ConfigError(f"a standard deviation of {deviation} says nothing.", hint="it must be above 0.")
    if not 0 < alpha < POWER:
        raise ConfigError(f"an alpha of {alpha} is no rate of false alarms.", hint=f"it is between 0 and {POWER}.")
    if count is not None and count < 2:
        raise ConfigError(f"{count} queries have no spread.", hint="at least two are needed.")
