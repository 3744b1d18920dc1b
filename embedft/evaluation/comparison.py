"""Compare the scores of two models query by query, and say whether one is better."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from embedft.evaluation.significance import bootstrap_interval, randomization_p_value

ALPHA = 0.05
Verdict = Literal["better", "no difference", "worse"]


@dataclass(frozen=True)
class Comparison:
    """How one system differs from another in one metric.

    Attributes:
        difference: mean of (first - second) over the queries.
        ci_low, ci_high: its 95 % paired-bootstrap interval.
        p_value: of the two-sided paired randomisation test.
        wins, losses, ties: queries on which the first scores higher, lower, the same.
        verdict: "better" or "worse" if p < 0.05 and the interval excludes 0, else "no difference".
    """

    difference: float
    ci_low: float
    ci_high: float
    p_value: float
    wins: int
    losses: int
    ties: int
    verdict: Verdict

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def compare_scores(scores: np.ndarray, against: np.ndarray, *, seed: int = 0) -> Comparison:
    """Compare the scores of two systems on the same queries, both (queries,)."""
    # Scores that differ by rounding alone are ties.
    differences = np.where(np.isclose(scores, against, rtol=0, atol=1e-12), 0.0, scores - against)
    low, high = bootstrap_interval(differences, seed=seed)
    p_value = randomization_p_value(differences, seed=seed)
    mean = float(differences.mean())
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(
        mean, low, high, p_value, wins, losses, len(differences) - wins - losses, verdict_of(p_value, low, high)
    )


def verdict_of(p_value: float, low: float, high: float) -> Verdict:
    """The verdict by a p-value and the ends of the 95 % interval of the difference."""
    if p_value < ALPHA and low > 0:
        return "better"
    return "worse" if p_value < ALPHA and high < 0 else "no difference"
