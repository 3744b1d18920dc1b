"""Score beside score: each stress with what it costs, corrected for there being many of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.comparison import Comparison, compare_scores, corrected
from embedft.evaluation.ladder.unseen import unspoilt
from embedft.evaluation.stress.conditions import Condition, Rows, Vectors
from embedft.evaluation.stress.contrast import Nearness
from embedft.index.approximate import mean_lower_bound

Floats = npt.NDArray[np.float64]
# Metric under a condition, how it differs from the metric without stress, what each text lost if it is a mean.
Outcome = tuple[float, Comparison, Floats | None]
# (stress, strength) -> (count,), what each query or text lost.
Losses = Mapping[tuple[str, float | None], Floats]
MORE = ("more", "more_ci_low", "more_ci_high", "more_p_value", "more_p_adjusted", "more_verdict")
NAMED = 3
# A drop that nobody would mind, of a metric whose best value is 1; errors may have any scale.
HARMLESS = 0.01
# That any of the bounds by which stresses are called harmless is too low.
RISK = 0.05


@dataclass(frozen=True)
class StressTable:
    """How an encoder's score stands up to stress.

    Attributes:
        model, data, split, task, metric, unit: what was scored on what.
        count: how many of ``unit`` were judged.
        of: how many there were; a sample by hash was taken if these are more.
        score: of the metric without stress.
        encoded: texts that were encoded for it, the unstressed ones among them.
        rows: a dict a condition, see `as_dict`.
        negation: how near texts stay to their negations; None where none could be negated.
        left_out: stress -> why it was not tried.
        losses: what each query or text lost; empty where the metric is no mean.
        against: the table of another model, behind `beside`.
    """

    model: str
    data: str
    split: str
    task: str
    metric: str
    unit: str
    count: int
    of: int
    score: float
    encoded: int
    rows: list[dict[str, Any]]
    negation: Nearness | None
    left_out: Mapping[str, str]
    losses: Losses
    against: StressTable | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the attributes, with ``reading``, a list of sentences.

        Each of ``rows`` has stress, strength (null where there is none), label, family, shows; score, drop (above 0 is
        worse, of an error metric too) with ci_low and ci_high, drop_high (`highest_drop` of all rows at once, null of
        error metrics), p_value, p_adjusted (Holm, over all rows), verdict (of the stressed texts, by p_adjusted);
        changed (share of the texts), cosine (mean, of changed texts before and after), example {before, after}; and,
        behind `beside`, against. The other model's score and negation stand in ``against``, null without one.
        """
        other = self.against
        return {
            **{name: getattr(self, name) for name in ("model", "data", "split", "task", "metric", "unit")},
            **{name: getattr(self, name) for name in ("count", "of", "score", "encoded", "rows")},
            "negation": _of(self.negation),
            "left_out": [{"stress": name, "reason": reason} for name, reason in self.left_out.items()],
            "against": other and {"model": other.model, "score": other.score, "negation": _of(other.negation)},
            "reading": self.reading(),
        }

    def beside(self, against: StressTable) -> StressTable:
        """The table with the other model's score under the same stress in each row, as ``against``.

        ``more`` is what this model loses more than the other, with its interval, p-values and verdict ("worse": it
        loses more), Holm-corrected over the rows; null where the metric is no mean over what was judged. The model with
        the higher score has more to lose: look at the scores under stress too.
        """
        others = {(row["stress"], row["strength"]): row for row in against.rows}
        more = _more(self.losses, against.losses)
        rows = []
        for row in self.rows:
            key = row["stress"], row["strength"]
            other = others.get(key)
            if other is None:
                rows.append(row)
                continue
            kept = {name: other[name] for name in ("score", "drop", "ci_low", "ci_high", "verdict")}
            rows.append({**row, "against": {**kept, **more.get(key, dict.fromkeys(MORE))}})
        return replace(self, rows=rows, against=against)

    def reading(self) -> list[str]:
        """What the table says, in sentences."""
        sentences = [_counted(self), *_losers(self.rows, self.metric), *_others(self.rows)]
        if self.negation is not None:
            sentences.append(self.negation.reading())
        return sentences


def stress_table(
    conditions: Sequence[Condition],
    vectors: Vectors,
    base: Rows,
    outcome: Callable[[Condition], Outcome],
    *,
    lower_is_better: bool = False,
    **fields: Any,
) -> StressTable:
    """The table of conditions.

    Args:
        conditions: n.
        vectors: that their rows point at.
        base: (texts,), rows of the texts without stress; the last ones of ``Condition.rows`` belong to them.
        outcome: scores a condition.
        lower_is_better: of the metric.
        fields: of the `StressTable`.
    """
    found = [outcome(condition) for condition in conditions]
    judged = corrected({str(number): comparison for number, (_, comparison, _) in enumerate(found)})
    rows = []
    risk = RISK / max(len(found), 1)
    for condition, (score, _, lost), one in zip(conditions, found, judged.values(), strict=True):
        ends = (one.ci_low, one.ci_high) if lower_is_better else (-one.ci_high, -one.ci_low)
        rows.append(
            {
                "stress": condition.stress,
                "strength": condition.strength,
                "label": condition.label,
                "family": condition.family,
                "shows": condition.shows,
                "score": score,
                # Nought is added so that nothing lost is not -0.0.
                "drop": (one.difference if lower_is_better else -one.difference) + 0.0,
                "ci_low": ends[0] + 0.0,
                "ci_high": ends[1] + 0.0,
                "drop_high": None if lower_is_better else highest_drop(one, lost, fields["score"], risk=risk),
                "p_value": one.p_value,
                "p_adjusted": one.p_adjusted,
                "verdict": one.verdict,
                "changed": float(condition.changed.mean()),
                "cosine": _cosine(condition, vectors, base),
                "example": {"before": condition.example[0], "after": condition.example[1]},
            }
        )
    losses = {
        (condition.stress, condition.strength): lost
        for condition, (_, _, lost) in zip(conditions, found, strict=True)
        if lost is not None
    }
    return StressTable(rows=rows, losses=losses, **fields)


def highest_drop(found: Comparison, lost: Floats | None, score: float, *, risk: float) -> float:
    """What a stress costs at most, in more than 1 - ``risk`` of all samples; with 0.05 / rows it holds for all of them.

    Of a mean the bound is exact (`mean_lower_bound`). Of other metrics it is the end of the interval, widened to half
    of the risk as a normal's would be, and what they lose if the texts that no sample shows lose all.

    Args:
        found: the stressed texts beside the others.
        lost: (count,) from -1 to 1, what each text lost; None of a metric that is no mean.
        score: without stress, at most 1.
        risk: of a drop above the bound.
    """
    if lost is not None:
        return 1 - 2 * mean_lower_bound((1 - lost) / 2, level=1 - risk)
    from scipy.special import ndtri

    wider = float(ndtri(1 - risk / 2) / ndtri(1 - RISK / 2))
    return (
        wider * (found.difference - found.ci_low)
        - found.difference
        + score * (1 - unspoilt(found.count, risk=risk / 2))
    )


def _cosine(condition: Condition, vectors: Vectors, base: Rows) -> float:
    """Mean over the changed texts."""
    new = condition.rows[-len(base) :][condition.changed]
    return float(np.einsum("ij,ij->i", vectors[base[condition.changed]], vectors[new], dtype=np.float64).mean())


def _of(negation: Nearness | None) -> dict[str, Any] | None:
    return negation.as_dict() if negation is not None else None


def _more(own: Losses, other: Losses) -> dict[tuple[str, float | None], dict[str, Any]]:
    """What the first loses more than the second under each stress that both have."""
    shared = [key for key in own if key in other and len(own[key]) == len(other[key])]
    found = corrected({str(number): compare_scores(own[key], other[key]) for number, key in enumerate(shared)})
    return {key: _told(one) for key, one in zip(shared, found.values(), strict=True)}


def _told(more: Comparison) -> dict[str, Any]:
    # A larger loss is the worse one.
    verdict = {"better": "worse", "worse": "better"}.get(more.verdict, more.verdict)
    values = more.difference, more.ci_low, more.ci_high, more.p_value, more.p_adjusted, verdict
    return dict(zip(MORE, values, strict=True))


def _counted(table: StressTable) -> str:
    drawn = f"{table.count:,} {table.unit}"
    drawn += f" drawn by hash of {table.of:,}" if table.of > table.count else ""
    lowered = f"{sum(row['verdict'] == 'worse' for row in table.rows)} of {len(table.rows)} stresses lower it"
    return f"{table.metric} is {table.score:.3f} on {drawn}; {lowered} (p < 0.05 after Holm's correction)."


def _losers(rows: Sequence[dict[str, Any]], metric: str) -> list[str]:
    worse = sorted((row for row in rows if row["verdict"] == "worse"), key=lambda row: -row["drop"])[:NAMED]
    if not worse:
        return []
    named = "; ".join(
        f"{row['label']} ({row['drop']:.3f}, {row['ci_low']:.3f} to {row['ci_high']:.3f})" for row in worse
    )
    return [f"Of these, most of {metric} is lost by: {named}."]


def _others(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is shown to cost next to nothing, and what is open.

    Where nothing is shown to cost anything, the metric may be one that cannot fall: then nothing is called harmless.
    """
    same = [row for row in rows if row["verdict"] != "worse"]
    falls = len(same) < len(rows)
    harmless = [row for row in same if falls and row["drop_high"] is not None and row["drop_high"] <= HARMLESS]
    unsure = [row["label"] for row in same if row not in harmless]
    sentences = []
    if harmless:
        named = "; ".join(row["label"] for row in harmless)
        sentences.append(f"Shown to cost {HARMLESS:g} at most, by bounds that hold for all stresses at once: {named}.")
    return sentences + ([f"No drop is shown, nor that there is none: {'; '.join(unsure)}."] if unsure else [])
