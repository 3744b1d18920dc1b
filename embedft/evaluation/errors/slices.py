"""Slices: parts of what was judged, by an amount or by a kind, each large enough to say something about.

Scores of all slices and of both models come from the same resamples: how often each query is drawn, times which slice
it is in, is one matrix product.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.comparison import p_phrase
from embedft.evaluation.significance import ALPHA, bootstrap_interval, holm, percentile_interval, resampled_weights
from embedft.evaluation.significance.resampling import resampled_means

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
# With fewer queries an interval says more of its method than of the queries.
SMALLEST = 20
PARTS = 4
MOST_KINDS = 8
# So many joined kinds are named.
NAMED_KINDS = 2
# The ends of an interval move by a thirtieth of its width from one seed to another.
ROUNDS = 2000
NOWHERE = -1


@dataclass(frozen=True)
class Slicing:
    """What is judged, in parts.

    Attributes:
        by: what the parts differ in.
        labels: of the parts.
        part: (n,), the part of each; -1 if it is in none.
        why: what is left out and why, in words; "" if nothing is.
        ordered: whether the parts are in an order, from less to more.
    """

    by: str
    labels: tuple[str, ...]
    part: Rows
    why: str = ""
    ordered: bool = False


def plain(value: float, unit: str) -> str:
    """A whole number with its unit, in the singular for 1."""
    return f"{value:.0f} {unit[:-1] if value == 1 and unit.endswith('s') else unit}".strip()


def counted(number: int, one: str, more: str) -> str:
    """A number with the words for one or for more: ``1 query scores``, ``2 queries score``."""
    return f"{number} {one if number == 1 else more}"


def percent(value: float, unit: str = "") -> str:
    """A share as a percentage of what is named."""
    return f"{100 * value:.0f} % {unit}".strip()


def decimal(value: float, unit: str) -> str:
    """A number with two places."""
    return f"{value:.2f} {unit}".strip()


def by_amount(
    by: str, values: Floats, unit: str = "", *, write: Callable[[float, str], str] = plain, items: str = "queries"
) -> Slicing:
    """Up to four parts of about equal size, from the smallest values to the largest; equal values stay together.

    Args:
        by: name of the value.
        values: (n,); NaN where it is not known: in no part.
        unit: of the values, for the labels.
        write: value and unit -> label.
        items: what is judged, in the plural, for ``why``.
    """
    part = np.full(len(values), NOWHERE, np.int64)
    known = ~np.isnan(values)
    count = int(known.sum())
    parts = min(PARTS, count // SMALLEST)
    if parts < 2:
        return Slicing(by, (), part, f"{by}: {count} {items} are too few; a slice has {SMALLEST} at least.", True)
    edges = np.unique(np.quantile(values[known], np.arange(1, parts) / parts, method="lower"))
    part[known] = np.searchsorted(edges, values[known], side="left")
    part[known] = _merged(part[known])
    if part.max() < 1:
        return Slicing(by, (), np.full_like(part, NOWHERE), f"{by}: it hardly differs between the {items}.", True)
    labels = [_span(values[part == number], unit, write) for number in range(int(part.max()) + 1)]
    unknown = len(values) - count
    return Slicing(by, tuple(labels), part, f"{by}: not known of {unknown} {items}." if unknown else "", True)


def _merged(part: Rows) -> Rows:
    """Parts renumbered from 0, each too small one joined with the one before it (the first with the one after)."""
    numbers, sizes = np.unique(part, return_counts=True)
    target, size, filled = {}, 0, 0
    for number, count in zip(numbers.tolist(), sizes.tolist(), strict=True):
        if size >= SMALLEST:
            filled, size = filled + 1, 0
        target[number] = filled
        size += count
    if size < SMALLEST and filled:
        target = {number: min(place, filled - 1) for number, place in target.items()}
    return np.array([target[number] for number in part.tolist()], np.int64)


def _span(values: Floats, unit: str, write: Callable[[float, str], str]) -> str:
    low, high = float(values.min()), float(values.max())
    first, last = write(low, ""), write(high, unit)
    return last if write(low, unit) == last else f"{first} to {last}"


def by_kind(by: str, kinds: Sequence[str | None], *, items: str = "queries") -> Slicing:
    """A part a kind, the most frequent first; kinds too small for one are joined as others.

    Args:
        by: name of the field.
        kinds: (n,); None where it is not known: in no part.
        items: what is judged, in the plural, for ``why``.
    """
    counts = Counter(kind for kind in kinds if kind is not None)
    large = [kind for kind, count in counts.most_common(MOST_KINDS) if count >= SMALLEST]
    number_of = {kind: number for number, kind in enumerate(large)}
    small = [kind for kind in counts if kind not in number_of]
    joined = sum(counts[kind] for kind in small)
    labels = list(large)
    rest = NOWHERE
    if joined >= SMALLEST:
        rest = len(labels)
        labels.append(f"{len(small)} others" if len(small) > NAMED_KINDS else " or ".join(small))
    part = np.array([NOWHERE if kind is None else number_of.get(kind, rest) for kind in kinds], np.int64)
    if len(labels) < 2:
        return Slicing(by, (), np.full_like(part, NOWHERE), f"{by}: no two kinds have {SMALLEST} {items} each.")
    told = []
    if joined and rest == NOWHERE:
        told.append(f"{counted(len(small), 'rare kind', 'rare kinds')} ({joined} {items} in all) in no slice")
    if missing := sum(kind is None for kind in kinds):
        told.append(f"not known of {missing} {items}")
    return Slicing(by, tuple(labels), part, f"{by}: {'; '.join(told)}." if told else "")


def mean_interval(values: Floats, *, seed: int = 0) -> dict[str, float | None]:
    """``mean``, ``ci_low``, ``ci_high`` (95 %, bootstrap); the interval is null for fewer than 20 values."""
    if len(values) < SMALLEST:
        return {"mean": float(values.mean()) if len(values) else None, "ci_low": None, "ci_high": None}
    low, high = bootstrap_interval(values, rounds=ROUNDS, seed=seed)
    return {"mean": float(values.mean()), "ci_low": low, "ci_high": high}


def surplus(values: Floats, others: Floats, *, seed: int = 0) -> dict[str, float | None]:
    """``mean``, ``ci_low``, ``ci_high`` (95 %, bootstrap): by how much the mean lies above that of others.

    The two are of other queries, so each is resampled by itself. All are null where either has fewer than 20.
    """
    fewest = min(len(values), len(others))
    if fewest < SMALLEST:
        return dict.fromkeys(("mean", "ci_low", "ci_high"))
    one, other = (
        resampled_means(each, rounds=ROUNDS, seed=seed + number) for number, each in enumerate((values, others))
    )
    low, high = ends(one - other, fewest)
    return {"mean": float(values.mean() - others.mean()), "ci_low": low, "ci_high": high}


def is_apart(low: float | None, high: float | None) -> bool:
    """Whether an interval there is does not hold 0."""
    return low is not None and high is not None and not low <= 0 <= high


def sliced_means(
    slicings: Sequence[Slicing], scores: Floats, against: Floats | None = None, *, seed: int = 0
) -> list[dict[str, Any]]:
    """The mean score of each part of each slicing: by, label, count, score, against, difference, with 95 % intervals.

    Args:
        slicings: of n queries.
        scores: (n,).
        against: (n,), of another model.
        seed: of the resamples.
    """
    parts = [(one.by, label, one.part == number) for one in slicings for number, label in enumerate(one.labels)]
    if not parts:
        return []
    inside = np.stack([rows for _, _, rows in parts], 1).astype(np.float32)  # (n, parts)
    compared = [scores] if against is None else [scores, scores - against]
    sums = np.concatenate([inside, *(inside * values[:, None].astype(np.float32) for values in compared)], 1)
    weights = resampled_weights(len(scores), rounds=ROUNDS, seed=seed)
    drawn = np.concatenate([block.astype(np.float32) @ sums for block in weights]).astype(np.float64)
    counts, *totals = np.split(drawn, len(compared) + 1, axis=1)
    means = [total / np.maximum(counts, 1) for total in totals]
    answer = []
    for number, (by, label, rows) in enumerate(parts):
        count = int(rows.sum())
        row = {"by": by, "label": label, "count": count, "score": float(scores[rows].mean())}
        row["ci_low"], row["ci_high"] = ends(means[0][:, number], count)
        row |= dict.fromkeys(("against", "difference", "difference_ci_low", "difference_ci_high"))
        if against is not None:
            row["against"] = float(against[rows].mean())
            row["difference"] = float((scores - against)[rows].mean())
            row["difference_ci_low"], row["difference_ci_high"] = ends(means[1][:, number], count)
        answer.append(row)
    return answer


def ends(replicates: Floats, count: int) -> tuple[float, float]:
    """The ends of the 95 % interval of a statistic of ``count`` items from its resamples, (rounds,)."""
    low, high = percentile_interval(replicates, count=count)
    return float(low), float(high)


def differing(slicings: Sequence[Slicing], values: Floats) -> list[tuple[Slicing, float]]:
    """The slicings whose parts differ in ``values`` (n,) by more than chance, each with its p-value.

    By Kruskal and Wallis' test, p-values corrected by Holm over the slicings, at 5 %.
    """
    from scipy.stats import kruskal

    judged = [one for one in slicings if one.labels]
    chances = []
    for one in judged:
        groups = [values[one.part == number] for number in range(len(one.labels))]
        same = np.ptp(values[one.part != NOWHERE]) == 0
        chances.append(1.0 if same else float(kruskal(*groups).pvalue))
    return [(one, float(chance)) for one, chance in zip(judged, holm(chances), strict=True) if chance < ALPHA]


def telling(
    slicings: Sequence[Slicing], rows: Sequence[dict[str, Any]], values: Floats, key: str, metric: str = "score"
) -> list[str]:
    """A sentence for each slicing whose parts differ by more than chance: the worst part and the best.

    Args:
        slicings: as for ``rows``.
        rows: of `sliced_means`.
        values: (n,), what is compared: scores, or differences of two models.
        key: of a row, "score" or "difference".
        metric: what the scores are called.
    """
    what, sign = (f"The {metric}", "") if key == "score" else (f"The difference to the other model in {metric}", "+")
    sentences = []
    for one, chance in differing(slicings, values):
        own = [row for row in rows if row["by"] == one.by]
        worst, best = min(own, key=lambda row: row[key]), max(own, key=lambda row: row[key])
        sentences.append(
            f"{what} depends on {one.by} ({p_phrase(chance)}): "
            + ", ".join(f"{row[key]:{sign}.3f} for {_named(one, row['label'])}" for row in (worst, best))
            + "."
        )
    return sentences


def _named(slicing: Slicing, label: str) -> str:
    return label if slicing.ordered else repr(label)
