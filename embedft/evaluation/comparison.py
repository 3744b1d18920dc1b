"""Compare two evaluations query by query, and say whether one is better."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from embedft.errors import DataError
from embedft.evaluation.retrieval import Evaluation
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


def compare(evaluation: Evaluation, against: Evaluation) -> dict[str, Comparison]:
    """Metric name -> how ``evaluation`` differs from ``against``.

    Raises:
        DataError: the two did not score the same queries of the same data, or have no metric in common.
    """
    if evaluation.query_ids != against.query_ids:
        raise DataError(
            f"{evaluation.model} was scored on {len(evaluation.query_ids)} queries of {evaluation.data}, "
            f"{against.model} on {len(against.query_ids)} other queries of {against.data}.",
            hint="evaluate both on the same data and split.",
        )
    shared = [name for name in evaluation.per_query if name in against.per_query]
    if not shared:
        raise DataError("the two evaluations have no metric in common.", hint="evaluate both with the same metrics.")
    return {name: compare_scores(evaluation.per_query[name], against.per_query[name]) for name in shared}


def compare_scores(scores: np.ndarray, against: np.ndarray, *, seed: int = 0) -> Comparison:
    """Compare the scores of two systems on the same queries, both (queries,)."""
    # Scores that differ by rounding alone are ties.
    differences = np.where(np.isclose(scores, against, rtol=0, atol=1e-12), 0.0, scores - against)
    low, high = bootstrap_interval(differences, seed=seed)
    p_value = randomization_p_value(differences, seed=seed)
    mean = float(differences.mean())
    verdict: Verdict = "no difference"
    if p_value < ALPHA and low > 0:
        verdict = "better"
    elif p_value < ALPHA and high < 0:
        verdict = "worse"
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return Comparison(mean, low, high, p_value, wins, losses, len(differences) - wins - losses, verdict)
