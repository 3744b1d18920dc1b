"""Several systems beside each other: every pair compared in every metric, corrected for how often one looked.

What is said of two systems by a paired test at 5 % is wrong once in twenty times; of five systems and six metrics there
are sixty such pairs. Holm's correction over all of them keeps the chance of a single false alarm at 5 %. Of two systems
the first metric is the one that counts: it is tested alone, and the others are corrected together, as in a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any, cast

from embedft.artifacts import without_nan
from embedft.errors import ConfigError, DataError
from embedft.evaluation.aligning import ALLOW, aligned, differences, limited, outside_counts
from embedft.evaluation.comparison import Comparison, Verdict, corrected, rule_text
from embedft.evaluation.evaluation import FORMAT, Evaluation
from embedft.evaluation.retrieval import RetrievalEvaluation
from embedft.evaluation.significance import ALPHA, ROUNDING, ROUNDS, detectable_sentence
from embedft.evaluation.tally import LOWER_IS_BETTER

# Those of which there is a superscript sign; there is none for q. Beyond them a digit follows: a2, b2.
LETTERS = "abcdefghijklmnoprstuvwxyz"
# Comparisons that `ROUNDS` are enough for.
MOST_AT_ONCE = 100
TURNED: dict[Verdict, Verdict] = {"better": "worse", "worse": "better", "no difference": "no difference"}


@dataclass(frozen=True)
class Several:
    """Systems and what can be said of them.

    Attributes:
        names: of the systems, distinct.
        evaluations: of each, on the same rows in the same order.
        metrics: those that all systems have.
        baseline: number of the system that the others are measured by.
        comparisons: (system, other system, metric) -> the first against the second, the lower number first; corrected
            by Holm over all of them but ``alone``. A metric that is no number for one of the two has none.
        alone: of two systems the metric that counts and is tested by itself; None of more.
        differs: what the systems were judged on differently, if that was allowed.
    """

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    metrics: tuple[str, ...]
    baseline: int
    comparisons: dict[tuple[int, int, str], Comparison]
    alone: str | None = None
    differs: tuple[str, ...] = ()

    @property
    def letters(self) -> tuple[str, ...]:
        """What each system is called in the superscripts."""
        rounds = [divmod(number, len(LETTERS)) for number in range(len(self.names))]
        return tuple(f"{LETTERS[place]}{turn + 1 if turn else ''}" for turn, place in rounds)

    def score(self, system: int, metric: str) -> float:
        """The metric of a system."""
        return self._scores[system][metric]

    @cached_property
    def _scores(self) -> list[dict[str, float]]:
        return [evaluation.metrics for evaluation in self.evaluations]

    @cached_property
    def intervals(self) -> list[dict[str, tuple[float, float]]]:
        """Metric -> 95 % interval, of each system; of pairs and texts they take seconds."""
        return [evaluation.intervals() for evaluation in self.evaluations]

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
        """The smallest difference from the baseline that would show for every system, with 80 % power after Holm."""
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
        found = [self.compared(system, self.baseline, metric) for system in self.others]
        known = [comparison for comparison in found if comparison is not None]
        several = len(self.others) > 1
        said = detectable_sentence(
            self.detectable(metric),
            first.count,
            unit=first.unit,
            difference=known[0].difference if known and not several else None,
            differing=max((comparison.wins + comparison.losses for comparison in known), default=None),
            at_most=several,
            tests=1 if metric == self.alone else self._corrected,
        )
        return f"{metric}: {said}"

    @property
    def _corrected(self) -> int:
        """How many comparisons Holm's correction is over."""
        return len(self.comparisons) - (self.alone is not None)

    @property
    def legend(self) -> str:
        """What the letters mean, and what verdicts stand on, as a sentence or two."""
        means = "Letters, of the first column: the systems that a row is better than"
        if self.alone is not None:
            by_name = {name: each for (_, _, name), each in self.comparisons.items()}
            return f"{means}. {rule_text(by_name, shown='after')}"
        said = f"{means}, p < {ALPHA} after Holm's correction over all {self._corrected} comparisons."
        if self.evaluations[0].task == "retrieval" or self._corrected <= ALPHA * ROUNDS:
            return said
        return f"{said} So many find nothing: a p-value is 1 / {ROUNDS + 1:,} at least. Name fewer metrics or systems."

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what was compared, ``systems`` with their scores, ``comparisons`` of all pairs, ``detectable``.

        ``correction`` is Holm's over all ``comparisons`` but those of the metric ``alone`` (null of more than two
        systems), and ``legend`` says so. A system has name, letter, model, fingerprint, and ``metrics``: name -> score,
        ci_low, ci_high, best, better_than (letters). A comparison has system, against, metric, and what `Comparison`
        has.
        """
        first = self.evaluations[0]
        answer: dict[str, Any] = without_nan(
            {
                "format": FORMAT,
                **{name: getattr(first, name) for name in ("task", "data", "split", "data_sha256", "unit", "count")},
                "baseline": self.names[self.baseline],
                "metrics": list(self.metrics),
                "correction": "holm",
                "alone": self.alone,
                "legend": self.legend,
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
        ends = self.intervals[system]
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

    Of two systems the first metric is tested alone, and the others are corrected together.

    Args:
        names: of the systems, distinct.
        evaluations: of each.
        baseline: name of the system that the others are measured by; by default the first.
        metrics: which, each counted once; by default all that the systems have.
        allow_different: compare what the systems share where data, splits or metrics differ.

    Raises:
        ConfigError: fewer than two systems, a name that stands twice, no such baseline, or a metric that a
            system does not have.
        DataError: the systems were judged on different data, splits or metrics, and that is not allowed; or they share
            nothing.
    """
    check_names(names, baseline)
    metrics = tuple(dict.fromkeys(metrics))
    evaluations = [limited(each, _own(name, each, metrics)) for name, each in zip(names, evaluations, strict=True)]
    differs = differences(names, evaluations, metrics=not metrics)
    if differs and not allow_different:
        raise DataError(
            f"{differs[0]}.", hint=f"evaluate both alike, or add {ALLOW} to compare what they have in common."
        )
    counts = [each.count for each in evaluations]
    outside = outside_counts(evaluations)
    evaluations = aligned(evaluations)
    count, unit = evaluations[0].count, evaluations[0].unit
    if max(counts) > count:
        differs.append(f"the systems share {count:,} {unit}; they judged {' and '.join(f'{n:,}' for n in counts)}")
    left = max(outside_counts(evaluations), default=0)
    if max(outside, default=0) > left:
        judged = " and ".join(f"{n:,}" for n in outside)
        differs.append(f"the systems share {left:,} {unit} out of scope; they judged {judged}")
    scores = [each.metrics for each in evaluations]
    shared = [name for name in metrics or scores[0] if all(name in each for each in scores)]
    if not shared:
        raise DataError("the systems have no metric in common.", hint="evaluate them with the same metrics.")
    chosen = names.index(baseline) if baseline is not None else 0
    found = _comparisons(evaluations, shared, scores)
    alone = shared[0] if len(names) == 2 and (0, 1, shared[0]) in found else None
    found = corrected(found, alone=(0, 1, alone) if alone is not None else None)
    return Several(tuple(names), tuple(evaluations), tuple(shared), chosen, found, alone, tuple(differs))


def check_names(names: Sequence[str], baseline: str | None, *, possible: Sequence[str] = ()) -> None:
    """Raise ConfigError if systems cannot be told apart or measured: of what is not read yet, before the work.

    Args:
        names: of the systems.
        baseline: name of the one that the others are measured by, if it was named.
        possible: names of further systems that there may be besides.
    """
    if len(names) + len(possible) < 2:
        raise ConfigError(
            f"{len(names)} {'system is' if len(names) == 1 else 'systems are'} named; a comparison needs two.",
            hint="name another one; --base adds the model that a run began from.",
        )
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ConfigError(f"two systems are named {twice!r}.", hint="name them apart: NAME=SYSTEM.")
    if baseline is not None and baseline not in (*names, *possible):
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


def _comparisons(
    evaluations: Sequence[Evaluation], metrics: Sequence[str], scores: Sequence[Mapping[str, float]]
) -> dict[tuple[int, int, str], Comparison]:
    """Every pair as if alone."""
    found: dict[tuple[int, int, str], Comparison] = {}
    pairs = list(combinations(range(len(evaluations)), 2))
    # The least p-value is 1 / (rounds + 1): corrected for as many, it must stay well below 0.05.
    rounds = ROUNDS * max(-(-len(pairs) * len(metrics) // MOST_AT_ONCE), 1)
    for one, two in pairs:
        own, other = evaluations[one], evaluations[two]
        # Of no number nothing can be said; of the other metrics it can.
        sound = [name for name in metrics if not math.isnan(scores[one][name]) and not math.isnan(scores[two][name])]
        if len(sound) < len(metrics):
            own, other = limited(own, sound), limited(other, sound)
        options = {"rounds": rounds} if isinstance(own, RetrievalEvaluation) else {}
        pair = cast(Any, own).compare(other, **options) if sound else {}
        found |= {(one, two, name): pair[name] for name in metrics if name in pair}
    return found


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
