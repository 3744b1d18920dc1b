"""Several systems beside each other: every pair compared in every metric, corrected for how often one looked.

What is said of two systems by a paired test at 5 % is wrong once in twenty times; of five systems and six metrics there
are sixty such pairs. Holm's correction over all of them keeps the chance of a single false alarm at 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

from embedft.errors import ConfigError, DataError
from embedft.evaluation.aligning import ALLOW, aligned, differences, limited
from embedft.evaluation.comparison import Comparison, Verdict, corrected
from embedft.evaluation.evaluation import FORMAT, Evaluation, without_nan
from embedft.evaluation.significance import detectable_sentence
from embedft.evaluation.tally import LOWER_IS_BETTER

# Those of which there is a superscript sign; there is none for q.
LETTERS = "abcdefghijklmnoprstuvwxyz"
TURNED: dict[Verdict, Verdict] = {"better": "worse", "worse": "better", "no difference": "no difference"}
# Scores that differ by rounding alone are equal.
ROUNDING = 1e-12


@dataclass(frozen=True)
class Several:
    """Systems and what can be said of them.

    Attributes:
        names: of the systems, distinct.
        evaluations: of each, on the same rows in the same order.
        metrics: those that all systems have.
        baseline: number of the system that the others are measured by.
        comparisons: (system, other system, metric) -> the first against the second, the lower number first; corrected
            by Holm over all of them. A metric that is no number for one of the two has none.
        differs: what the systems were judged on differently, if that was allowed.
    """

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    metrics: tuple[str, ...]
    baseline: int
    comparisons: dict[tuple[int, int, str], Comparison]
    differs: tuple[str, ...] = ()

    @property
    def letters(self) -> tuple[str, ...]:
        """What each system is called in the superscripts."""
        return tuple(LETTERS[: len(self.names)])

    def score(self, system: int, metric: str) -> float:
        """The metric of a system."""
        return self._scores[system][metric]

    @cached_property
    def _scores(self) -> list[dict[str, float]]:
        return [evaluation.metrics for evaluation in self.evaluations]

    def best(self, metric: str) -> list[int]:
        """The systems with the best score: several if they are equal, none if no score is a number."""
        sign = -1 if metric in LOWER_IS_BETTER else 1
        scores = [sign * self.score(system, metric) for system in range(len(self.names))]
        top = max((score for score in scores if not math.isnan(score)), default=math.inf)
        return [system for system, score in enumerate(scores) if score >= top - ROUNDING]

    def compared(self, system: int, other: int, metric: str) -> Comparison | None:
        """How a system differs from another; None if that could not be said."""
        if system < other:
            return self.comparisons.get((system, other, metric))
        found = self.comparisons.get((other, system, metric))
        return _turned(found) if found is not None else None

    def better_than(self, system: int, metric: str) -> list[int]:
        """The systems that a system is better than, after the correction."""
        found = [(other, self.compared(system, other, metric)) for other in range(len(self.names)) if other != system]
        return [other for other, comparison in found if comparison is not None and comparison.verdict == "better"]

    def detectable(self, metric: str) -> float | None:
        """The smallest difference from the baseline that would show for every system, with 80 % power at 5 %."""
        found = [self.compared(system, self.baseline, metric) for system in self.others]
        sizes = [comparison.detectable for comparison in found if comparison is not None]
        known = [size for size in sizes if size is not None]
        return max(known) if known else None

    @property
    def others(self) -> list[int]:
        """The systems beside the baseline."""
        return [system for system in range(len(self.names)) if system != self.baseline]

    def reading(self, metric: str) -> str:
        """What this many queries could show in a metric, as a sentence."""
        first = self.evaluations[0]
        return f"{metric}: {detectable_sentence(self.detectable(metric), first.count, unit=first.unit)}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what was compared, ``systems`` with their scores, ``comparisons`` of all pairs, ``detectable``.

        A system has name, letter, model, fingerprint, and ``metrics``: name -> score, ci_low, ci_high, best,
        better_than (letters). A comparison has system, against, metric, and what `Comparison` has.
        """
        first = self.evaluations[0]
        answer: dict[str, Any] = without_nan(
            {
                "format": FORMAT,
                **{name: getattr(first, name) for name in ("task", "data", "split", "data_sha256", "unit", "count")},
                "baseline": self.names[self.baseline],
                "metrics": list(self.metrics),
                "correction": "holm",
                "compared": len(self.comparisons),
                "differs": list(self.differs),
                "systems": [self._system(system) for system in range(len(self.names))],
                "comparisons": [
                    {
                        "system": self.names[one],
                        "against": self.names[two],
                        "metric": metric,
                        **comparison.as_dict(),
                    }
                    for (one, two, metric), comparison in self.comparisons.items()
                ],
                "detectable": {
                    metric: {"value": self.detectable(metric), "reading": self.reading(metric)}
                    for metric in self.metrics
                },
            }
        )
        return answer

    def _system(self, system: int) -> dict[str, Any]:
        evaluation = self.evaluations[system]
        ends = evaluation.intervals()
        metrics = {}
        for metric in self.metrics:
            low, high = ends.get(metric, (math.nan, math.nan))
            metrics[metric] = {
                "score": self.score(system, metric),
                "ci_low": low,
                "ci_high": high,
                "best": system in self.best(metric),
                "better_than": [self.letters[other] for other in self.better_than(system, metric)],
            }
        return {
            "name": self.names[system],
            "letter": self.letters[system],
            "model": evaluation.model,
            "fingerprint": evaluation.fingerprint,
            "metrics": metrics,
        }


def compare_several(
    names: Sequence[str],
    evaluations: Sequence[Evaluation],
    *,
    baseline: str | None = None,
    metrics: Sequence[str] = (),
    allow_different: bool = False,
) -> Several:
    """Every pair of systems compared in every metric, paired row by row, corrected by Holm over all of them.

    Args:
        names: of the systems, distinct.
        evaluations: of each.
        baseline: name of the system that the others are measured by; by default the first.
        metrics: which; by default all that the systems have.
        allow_different: compare what the systems share where data, splits or metrics differ.

    Raises:
        ConfigError: fewer than two systems or too many, a name that stands twice, no such baseline, or a metric that a
            system does not have.
        DataError: the systems were judged on different data, splits or metrics, and that is not allowed; or they share
            nothing.
    """
    _check_names(names, baseline)
    evaluations = [limited(each, _own(name, each, metrics)) for name, each in zip(names, evaluations, strict=True)]
    differs = differences(names, evaluations, metrics=not metrics)
    if differs and not allow_different:
        raise DataError(
            f"{differs[0]}.", hint=f"evaluate both alike, or add {ALLOW} to compare what they have in common."
        )
    counts = [each.count for each in evaluations]
    evaluations = aligned(evaluations)
    count, unit = evaluations[0].count, evaluations[0].unit
    if max(counts) > count:
        differs.append(f"the systems share {count:,} {unit}; they judged {' and '.join(f'{n:,}' for n in counts)}")
    shared = metrics or [name for name in evaluations[0].metrics if all(name in each.metrics for each in evaluations)]
    if not shared:
        raise DataError("the systems have no metric in common.", hint="evaluate them with the same metrics.")
    chosen = names.index(baseline) if baseline is not None else 0
    found = _comparisons(evaluations, shared)
    return Several(tuple(names), tuple(evaluations), tuple(shared), chosen, found, tuple(differs))


def _check_names(names: Sequence[str], baseline: str | None) -> None:
    if not 2 <= len(names) <= len(LETTERS):
        raise ConfigError(
            f"{len(names)} {'system is' if len(names) == 1 else 'systems are'} named; a comparison needs two, and "
            f"takes {len(LETTERS)} at most.",
            hint="name another one; --base adds the model that a run began from.",
        )
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ConfigError(f"two systems are named {twice!r}.", hint="name them apart: NAME=SYSTEM.")
    if baseline is not None and baseline not in names:
        raise ConfigError(f"no system is named {baseline!r}.", hint=f"the systems are {', '.join(names)}.")


def _own(name: str, evaluation: Evaluation, metrics: Sequence[str]) -> list[str]:
    there = list(evaluation.metrics)
    missing = [metric for metric in metrics if metric not in there]
    if missing:
        raise ConfigError(
            f"{name} was not scored by {missing[0]}, only by {', '.join(there)}.",
            hint="name one of these, or evaluate it again with that metric.",
        )
    return list(metrics) or there


def _comparisons(evaluations: Sequence[Evaluation], metrics: Sequence[str]) -> dict[tuple[int, int, str], Comparison]:
    found: dict[tuple[int, int, str], Comparison] = {}
    for one, two in combinations(range(len(evaluations)), 2):
        own, other = evaluations[one], evaluations[two]
        # Of no number nothing can be said; of the other metrics it can.
        sound = [name for name in metrics if not math.isnan(own.metrics[name]) and not math.isnan(other.metrics[name])]
        if sound:
            pair = limited(own, sound).compare(limited(other, sound))
            found |= {(one, two, name): pair[name] for name in metrics if name in pair}
    by_name = {f"{one} {two} {name}": comparison for (one, two, name), comparison in found.items()}
    return dict(zip(found, corrected(by_name).values(), strict=True))


def _turned(comparison: Comparison) -> Comparison:
    """The second against the first."""
    size = comparison.effect_size
    return replace(
        comparison,
        # Nought is added so that no difference is not -0.0.
        difference=-comparison.difference + 0.0,
        ci_low=-comparison.ci_high + 0.0,
        ci_high=-comparison.ci_low + 0.0,
        wins=comparison.losses,
        losses=comparison.wins,
        verdict=TURNED[comparison.verdict],
        effect_size=-size + 0.0 if size is not None else None,
    )
