"""Compare the scores of two models query by query, and say whether one is better."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from embedft.evaluation.significance import (
    ALPHA,
    MCNEMAR,
    MCNEMAR_MID,
    RANDOMIZATION,
    ROUNDS,
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

Verdict = Literal["better", "no difference", "worse"]
Name = TypeVar("Name", bound=Hashable)
# The least that 10,000 random signs can tell apart from the next.
SMALLEST_P = 0.0002
# Made of means over the queries alone.
MEAN_TESTS = frozenset({STUDENT, MCNEMAR})


@dataclass(frozen=True)
class Comparison:
    """How one system differs from another in one metric.

    Attributes:
        difference: of the two metrics; where these are means, the mean of (first - second) over the queries.
        ci_low, ci_high: its 95 % paired-bootstrap interval. Where fewer than fifteen queries differ it is narrower
            than it should be, whatever its kind, and much so with fewer than five (figures:
            `embedft.evaluation.significance.intervals`); the verdict then stands on the test.
        p_value: two-sided, of ``test``.
        wins, losses, ties: queries on which the first scores higher, lower, the same. Of a metric that is no mean over
            them: texts that it alone gets right, pairs whose rank it comes nearer to.
        verdict: "better" or "worse" if p < 0.05 (the corrected one if there is one) and the interval excludes 0, else
            "no difference".
        effect_size: Cohen's d_z, the difference in standard deviations of the differences; None where nothing varies.
        detectable: the smallest true difference that this many queries show with 80 % power, given how much these two
            systems differ query by query; None where nothing varies, or where so few queries differ that the test
            could not tell them apart if one system won them all. At 5 %, or, where several comparisons were
            corrected, at 5 % divided by their number, which is the least that Holm asks of one of them.
        test: name of the test that ``p_value`` is of.
        tests: p-value of every test that was made, by its name.
        p_adjusted: ``p_value`` corrected by Holm where several comparisons were made, else None: so of the metric that
            counts, which is tested by itself.
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

    @property
    def smallest_p(self) -> float:
        """The least p-value that there could be: exchanging the systems changes nothing where they do not differ."""
        return min(2.0 ** (1 - (self.wins + self.losses if self.is_mean else self.count)), 1.0)

    @property
    def is_mean(self) -> bool:
        """Whether the metric is a mean over the queries."""
        return not MEAN_TESTS.isdisjoint(self.tests)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``p_adjusted`` only where several were corrected."""
        return {name: value for name, value in asdict(self).items() if name != "p_adjusted" or value is not None}


def has_own_wins(metric: str, tests: Iterable[str]) -> bool:
    """Whether wins and losses are counted in this metric: not in F1, calibration or Pearson's correlation.

    They would show those of accuracy, and of Spearman's correlation, where a pair wins by coming nearer to its rank.

    Args:
        metric: its name.
        tests: names of the tests of its comparison.
    """
    return metric == "spearman" or not MEAN_TESTS.isdisjoint(tests)


def compare_scores(
    scores: npt.ArrayLike,
    against: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> Comparison:
    """Compare the scores of two systems on the same queries by the paired randomisation test.

    Args:
        scores: (queries,), of the first.
        against: (queries,), of the second.
        names: ids of the queries, for messages.
        rounds: of the test.
        seed: same seed, same answer.

    Raises:
        DataError: they are not of the same queries, there are none, or a score is no number.
    """
    differences = paired_differences(scores, against, names=names)
    tests = {
        RANDOMIZATION: randomization_p_value(differences, rounds=rounds, seed=seed),
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


def corrected(comparisons: Mapping[Name, Comparison], *, alone: Name | None = None) -> dict[Name, Comparison]:
    """The same comparisons with ``p_adjusted`` by Holm over all of them, and what can be said after it.

    A difference that is no number is left as it is, and is none of those that are corrected.

    Args:
        comparisons: of any names; all that one looks at together.
        alone: the one that was named beforehand as the one that counts: it is tested by itself, and left as it is.
    """
    family = [name for name, each in comparisons.items() if name != alone and math.isfinite(each.difference)]
    adjusted = holm([comparisons[name].p_value for name in family])
    found = dict(comparisons)
    for name, p in zip(family, adjusted, strict=True):
        own = comparisons[name]
        detectable = own.detectable if own.smallest_p < ALPHA / len(family) else None
        if detectable is not None:
            at_once = detectable_difference(own.count, 1.0, alpha=ALPHA / len(family))
            detectable *= at_once / detectable_difference(own.count, 1.0)
        verdict: Verdict = own.verdict if p < ALPHA else "no difference"
        found[name] = replace(own, p_adjusted=float(p), verdict=verdict, detectable=detectable)
    return found


def rule_text(
    comparisons: Mapping[str, Comparison | Mapping[str, Any]], *, shown: Literal["before", "after"] | None = None
) -> str:
    """What the verdicts of two systems stand on, as a sentence.

    Args:
        comparisons: metric -> comparison, or what metrics.json has of it.
        shown: whether the p-values beside it are those before or after the correction; None if both are.
    """
    values = {name: each.as_dict() if isinstance(each, Comparison) else each for name, each in comparisons.items()}
    alone = [name for name, each in values.items() if each.get("p_adjusted") is None]
    others = len(values) - len(alone)
    if len(alone) != 1 or others < 2:
        return f"Verdicts: each metric by itself at p < {ALPHA}."
    which = f"; p is shown {shown} it" if shown else ""
    return (
        f"Verdicts: {alone[0]} by itself at p < {ALPHA}, the other {others} metrics corrected together by Holm{which}."
    )


def p_text(p_value: float) -> str:
    """A p-value for a cell of a table: ``0.0310``, ``<0.0002``."""
    return f"{p_value:.4f}" if p_value >= SMALLEST_P else f"<{SMALLEST_P}"


def p_phrase(p_value: float) -> str:
    """A p-value for a sentence: ``p = 0.0310``, ``p < 0.0002``."""
    return f"p = {p_text(p_value)}" if p_value >= SMALLEST_P else f"p < {SMALLEST_P}"


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
    found = Comparison(
        difference=difference,
        ci_low=low,
        ci_high=high,
        p_value=p_value,
        wins=decided[0],
        losses=decided[1],
        ties=count - sum(decided),
        verdict=verdict_of(p_value, *((-high, -low) if lower_is_better else (low, high))),
        effect_size=standardised(difference, deviation),
        test=test,
        tests=dict(tests),
    )
    if not deviation or found.smallest_p >= ALPHA:
        return found
    return replace(found, detectable=detectable_difference(count, deviation))


def _decided(gains: Scores) -> tuple[int, int]:
    return int((gains > 0).sum()), int((gains < 0).sum())
