"""Thousands of samples of real per-query scores at once, and how intervals and tests fare on them.

Samples are rows of a matrix. They share their resamples, so that all bootstrap means are one matrix product, and so are
all sums with random signs; a few hundred at a time, so that the luck of a set of resamples averages out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
from real_scores import CUT, OURS, SETS, WORDS, Scores
from scipy import stats
from scipy.special import stdtr

from embedft.evaluation.significance import (
    bca_interval,
    detectable_difference,
    exchanged_correlations,
    mcnemar_p_value,
    mean_acceleration,
    percentile_interval,
    power_of,
    randomization_p_value,
    resampled_correlations,
    resampled_weights,
    steiger_p_value,
    t_interval,
    williams_p_value,
)
from embedft.evaluation.similarity import spearman

SIZES = (50, 225, 1000)
MEANS = ("ndcg@10", "mrr@10", "recall@100")
ROUNDS = 2_000
# Samples that share their resamples: enough for a matrix product, few enough that their luck averages out.
TOGETHER = 250
ALPHA = 0.05


def populations(scores: Scores) -> Iterator[tuple[str, np.ndarray]]:
    """Name and (queries,) values: what the bundled encoder scores, and by how much it differs from another system."""
    for name in SETS:
        for metric in MEANS:
            own = scores[f"{name}/{OURS}/{metric}"]
            yield f"{name} {metric}", own
            for other in (CUT, WORDS):
                yield f"{name} {metric} - {other}", own - scores[f"{name}/{other}/{metric}"]


def samples(
    values: np.ndarray, count: int, simulations: int, seed: int, chances: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """(TOGETHER, count) samples of a population at a time, each query as likely as any, or by its chance."""
    rng = np.random.default_rng(seed)
    for _ in range(0, simulations, TOGETHER):
        yield values[rng.choice(len(values), (TOGETHER, count), p=chances)]


def balanced(values: np.ndarray) -> np.ndarray | None:
    """Chances of the queries, (queries,), that make the mean difference 0 and leave ties and skew; None if none do.

    Queries that the better system wins are drawn less often, by the ratio of what both sides lose.
    """
    won, lost = values[values > 0].sum(), -values[values < 0].sum()
    if not won or not lost:
        return None
    chances = np.where(values > 0, min(lost / won, 1), np.where(values < 0, min(won / lost, 1), 1))
    return chances / chances.sum()


def share_differing(values: np.ndarray, chances: np.ndarray | None = None) -> float:
    """Share of the queries that do not have the most frequent value: of differences, those that are no ties."""
    distinct, which = np.unique(values, return_inverse=True)
    weights = np.full(len(values), 1 / len(values)) if chances is None else chances
    return 1 - float(np.bincount(which, weights, minlength=len(distinct)).max())


def coverage(values: np.ndarray, count: int, simulations: int) -> dict[str, float]:
    """Kind of interval -> share of samples whose interval holds the mean of the population."""
    true = values.mean()
    held: dict[str, list[np.ndarray]] = {}
    for seed, drawn in enumerate(samples(values, count, simulations, 1)):
        means = drawn @ _weights(count, seed)
        ends = {
            "percentile": percentile_interval(means),
            "expanded": percentile_interval(means, count=count),
            "bca": bca_interval(means, drawn.mean(1), mean_acceleration(drawn)),
            "t": t_interval(drawn.mean(1), drawn.std(1, ddof=1), count),
        }
        for kind, (low, high) in ends.items():
            # A mean that is all rounding away from an end is held by it.
            held.setdefault(kind, []).append((low <= true + 1e-12) & (true - 1e-12 <= high))
    return {kind: float(np.concatenate(each).mean()) for kind, each in held.items()}


@cache
def _weights(count: int, seed: int) -> np.ndarray:
    """(count, ROUNDS): what a sample is multiplied with for its resampled means; the same for every population."""
    return np.concatenate(list(resampled_weights(count, rounds=ROUNDS, seed=seed))).T / count


@cache
def _signs(count: int, seed: int) -> np.ndarray:
    """(count, ROUNDS) of -1 and 1."""
    return np.random.default_rng(seed).integers(0, 2, (count, ROUNDS)) * 2.0 - 1


def p_values(drawn: np.ndarray, seed: int) -> np.ndarray:
    """The randomisation test of many samples (samples, count) at once; (samples,)."""
    observed = np.abs(drawn.sum(1)) - 1e-12 * np.abs(drawn).sum(1)
    sums = np.abs(drawn @ _signs(drawn.shape[1], seed))
    return ((sums >= observed[:, None]).sum(1) + 1) / (ROUNDS + 1)


def t_p_values(drawn: np.ndarray) -> np.ndarray:
    """Student's paired t-test of many samples at once; a sample without any difference has p = 1."""
    spread = drawn.std(1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stdtr(drawn.shape[1] - 1, -np.abs(drawn.mean(1)) / spread * np.sqrt(drawn.shape[1]))
    return np.where(spread > 0, p, 1.0)


def found(
    values: np.ndarray, count: int, simulations: int, *, exchanged: bool = False, chances: np.ndarray | None = None
) -> dict[str, float]:
    """Share of samples in which each test finds a difference at 5 %.

    Args:
        values: (queries,) differences of the population.
        count: queries of a sample.
        simulations: samples.
        exchanged: exchange the two systems of each query at random.
        chances: of `balanced`.
    """
    rng = np.random.default_rng(2)
    randomised, student = [], []
    for seed, given in enumerate(samples(values, count, simulations, 3, chances)):
        drawn = given * rng.choice([-1.0, 1.0], given.shape) if exchanged else given
        randomised.append(p_values(drawn, seed) < ALPHA)
        student.append(t_p_values(drawn) < ALPHA)
    return {"randomisation": float(np.mean(randomised)), "t": float(np.mean(student))}


def power(values: np.ndarray, count: int, simulations: int) -> dict[str, Any]:
    """Share found of true differences of 0.5 to 2 times the detectable one, beside what `power_of` promises."""
    spread, centred = float(values.std()), values - values.mean()
    detectable = detectable_difference(count, spread)
    curve = []
    for times in (0.5, 0.75, 1.0, 1.5, 2.0):
        share = found(centred + times * detectable, count, simulations)
        promised = power_of(times * detectable, spread, count)
        curve.append({"difference": times * detectable, "promised": promised, **share})
    return {"deviation": spread, "detectable": detectable, "curve": curve}


def agreement(values: np.ndarray, count: int) -> float:
    """The largest distance of p-values of many samples at once from the library's, over forty samples."""
    drawn = next(samples(values, count, TOGETHER, 5))[:40]
    return float(np.abs(p_values(drawn, 0) - [randomization_p_value(each) for each in drawn]).max())


def correlations(scores: Scores, count: int, simulations: int) -> dict[str, Any]:
    """Spearman on STS-B: coverage of the intervals, and false alarms of the three tests between exchanged systems."""
    gold, own, other = (scores[f"stsb/{name}"] for name in ("gold", OURS, CUT))
    true = [float(spearman(each, gold)) for each in (own, other)]
    rng = np.random.default_rng(6)
    # On one scale, so that exchanged cosines are those of one system as much as of the other.
    ranks = np.stack([stats.rankdata(each) for each in (own, other)])
    held: dict[str, list[bool]] = {"one system": [], "difference": []}
    alarms: dict[str, list[bool]] = {"randomisation": [], "williams": [], "steiger": []}
    for seed in range(simulations):
        rows = rng.integers(0, len(gold), count)
        values = resampled_correlations(
            "spearman", gold[rows], np.stack([own[rows], other[rows]]), rounds=1000, seed=seed
        )
        for name, each, target in (
            ("one system", values[0], true[0]),
            ("difference", values[0] - values[1], true[0] - true[1]),
        ):
            low, high = percentile_interval(each, count=count)
            held[name].append(bool(low <= target <= high))
        swap = rng.integers(0, 2, count)
        first, second = ranks[swap, rows], ranks[1 - swap, rows]
        tests = correlation_tests(gold[rows], first, second, seed)
        for name, p in tests.items():
            alarms[name].append(p < ALPHA)
    return {
        "coverage": {name: float(np.mean(each)) for name, each in held.items()},
        "false_alarms": {name: float(np.mean(each)) for name, each in alarms.items()},
    }


def correlation_tests(gold: np.ndarray, first: np.ndarray, second: np.ndarray, seed: int) -> dict[str, float]:
    """The p-values of one comparison in Spearman."""
    one, two = float(spearman(first, gold)), float(spearman(second, gold))
    given = (one, two, float(spearman(first, second)), len(gold))
    ranked = [stats.rankdata(each) for each in (first, second)]
    exchanged = exchanged_correlations("spearman", gold, *ranked, rounds=1000, seed=seed)
    extreme = (np.abs(exchanged[0] - exchanged[1]) >= abs(one - two) - 1e-12).sum()
    return {
        "randomisation": float((extreme + 1) / 1001),
        "williams": williams_p_value(*given),
        "steiger": steiger_p_value(*given),
    }


def answers(scores: Scores, count: int, simulations: int) -> dict[str, float]:
    """False alarms of McNemar's tests of whether the first hit is right, between exchanged systems."""
    right = [scores[f"medquad/{system}/mrr@1"] for system in (OURS, WORDS)]
    rng = np.random.default_rng(7)
    alarms: dict[str, list[bool]] = {"exact": [], "mid-p": []}
    for drawn in samples(right[0] - right[1], count, simulations, 8):
        signed = drawn * rng.choice([-1.0, 1.0], drawn.shape)
        for wins, losses in zip((signed > 0).sum(1).tolist(), (signed < 0).sum(1).tolist(), strict=True):
            alarms["exact"].append(mcnemar_p_value(wins, losses) < ALPHA)
            alarms["mid-p"].append(mcnemar_p_value(wins, losses, mid_p=True) < ALPHA)
    return {name: float(np.mean(each)) for name, each in alarms.items()}
