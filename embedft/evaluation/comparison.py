"""Compare the scores of two models query by query, and say whether one is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embedft.evaluation.significance import (
    MCNEMAR,
    MCNEMAR_MID,
    RANDOMIZATION,
    STUDENT,
    Scores,
    bootstrap_interval,
    detectable_difference,
    holm,
    mcnemar_p_value,
    paired_differences,
    percentile_interval,
    randomization_p_value,
    t_test_p_value,
    without_rounding,
)
from embedft.evaluation.significance.effect import deviation_of, standardised

ALPHA = 0.05
Verdict = Literal["better", "no difference", "worse"]


@dataclass(frozen=True)
class Comparison:
    """How one system differs from another in one metric.

    Attributes:
        difference: of the two metrics; where these are means, the mean of (first - second) over the queries.
        ci_low, ci_high: its 95 % paired-bootstrap interval. Where fewer than seven queries differ it is narrower than
            it should be, whatever its kind; the verdict then stands on the test, which is exact there.
        p_value: two-sided, of ``test``.
        wins, losses, ties: queries on which the first scores higher, lower, the same.
        verdict: "better" or "worse" if p < 0.05 (the corrected one if there is one) and the interval excludes 0, else
            "no difference".
        effect_size: Cohen's d_z, the difference in standard deviations of the differences; None where nothing varies.
        detectable: the smallest true difference that this many queries show with 80 % power at 5 %, given how much
            these two systems differ query by query; None where nothing varies.
        test: name of the test that ``p_value`` is of.
        tests: p-value of every test that was made, by its name.
        p_adjusted: ``p_value`` corrected by Holm where several comparisons were made, else None.
    """

    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    wins: int
    losses: int
    ties: int
    verdict: Verdict
    effect_size: float | None = None
    detectable: float | None = None
    test: str = RANDOMIZATION
    tests: dict[str, float] = field(default_factory=dict)
    p_adjusted: float | None = None

    @property
    def count(self) -> int:
        """How many queries were compared."""
        return self.wins + self.losses + self.ties

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``p_adjusted`` only where several were corrected."""
        return {name: value for name, value in asdict(self).items() if name != "p_adjusted" or value is not None}


def compare_scores(
    scores: npt.ArrayLike, against: npt.ArrayLike, *, names: Sequence[str] | None = None, seed: int = 0
) -> Comparison:
    """Compare the scores of two systems on the same queries by the paired randomisation test.

    Args:
        scores: (queries,), of the first.
        against: (queries,), of the second.
        names: ids of the queries, for messages.
        seed: same seed, same answer.

    Raises:
        DataError: they are not of the same queries, there are none, or a score is no number.
    """
    differences = paired_differences(scores, against, names=names)
    tests = {
        RANDOMIZATION: randomization_p_value(differences, seed=seed),
        STUDENT: t_test_p_value(differences),
    }
    return _of_differences(differences, tests, seed)


def compare_answers(right: npt.ArrayLike, against: npt.ArrayLike, *, seed: int = 0) -> Comparison:
    """Compare two systems by which of the same texts they get right, by McNemar's exact test.

    Args:
        right: (texts,) of bool, of the first.
        against: (texts,) of bool, of the second.
        seed: same seed, same interval.

    Raises:
        DataError: they are not of the same texts, or there are none.
    """
    differences = paired_differences(right, against)
    wins, losses = _decided(differences)
    tests = {
        MCNEMAR: mcnemar_p_value(wins, losses),
        MCNEMAR_MID: mcnemar_p_value(wins, losses, mid_p=True),
    }
    return _of_differences(differences, tests, seed)


def compare_resampled(
    difference: float, resampled: Scores, gains: Scores, tests: Mapping[str, float], *, lower_is_better: bool = False
) -> Comparison:
    """Compare two systems in a metric that is no mean, from its difference on resamples.

    The standard deviation that effect size and detectable difference stand on is that of the resampled differences
    times the root of the number of texts: for a mean it is the standard deviation of the differences.

    Args:
        difference: of the two metrics.
        resampled: (rounds,), the same on resamples.
        gains: (texts,), above 0 where the first system is the better one, below where the second is.
        tests: p-value of each test by its name; the first is the one that counts.
        lower_is_better: whether a smaller value is the better one.
    """
    count = len(gains)
    difference, resampled = float(without_rounding(difference)), without_rounding(resampled)
    low, high = (float(end) for end in percentile_interval(resampled, count=count))
    spread = deviation_of(resampled)
    # A resample varies by sqrt((n - 1) / n) too little.
    deviation = spread * count / np.sqrt(count - 1) if spread is not None and count > 1 else None
    return _conclude(difference, (low, high), tests, _decided(gains), count, deviation, lower_is_better=lower_is_better)


def corrected(comparisons: Mapping[str, Comparison]) -> dict[str, Comparison]:
    """The same comparisons with ``p_adjusted`` by Holm over all of them, and the verdicts that stand after it.

    Args:
        comparisons: of any names; all that one looks at together.
    """
    adjusted = holm([each.p_value for each in comparisons.values()])
    return {
        name: replace(each, p_adjusted=float(p), verdict=each.verdict if p < ALPHA else "no difference")
        for (name, each), p in zip(comparisons.items(), adjusted, strict=True)
    }


def verdict_of(p_value: float, low: float, high: float) -> Verdict:
    """The verdict by a p-value and the ends of the 95 % interval of the difference."""
    if p_value < ALPHA and low > 0:
        return "better"
    return "worse" if p_value < ALPHA and high < 0 else "no difference"


def _of_differences(differences: Scores, tests: Mapping[str, float], seed: int) -> Comparison:
    ends = bootstrap_interval(differences, seed=seed)
    mean, deviation = float(differences.mean()), deviation_of(differences)
    return _conclude(mean, ends, tests, _decided(differences), len(differences), deviation)


def _conclude(
    difference: float,
    ends: tuple[float, float],
    tests: Mapping[str, float],
    decided: tuple[int, int],
    count: int,
    deviation: float | None,
    *,
    lower_is_better: bool = False,
) -> Comparison:
    test, p_value = next(iter(tests.items()))
    low, high = ends
    return Comparison(
        difference=difference,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        wins=decided[0],
        losses=decided[1],
        ties=count - sum(decided),
        verdict=verdict_of(p_value, *((-high, -low) if lower_is_better else (low, high))),
        effect_size=standardised(difference, deviation),
        detectable=detectable_difference(count, deviation) if deviation else None,
        test=test,
        tests=dict(tests),
    )


def _decided(gains: Scores) -> tuple[int, int]:
    return int((gains > 0).sum()), int((gains < 0).sum())
