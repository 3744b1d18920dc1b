"""Whether the statistics keep what they promise, by simulation on real per-query scores.

python benchmarks/coverage.py --data FOLDER [--scores FILE.npz] [--simulations 2000] [--dry]

The judged queries of a set are the population; thousands of samples of n are drawn from it, with replacement. Counted
are: how often the 95 % interval of each kind holds the mean of the population; how often a test finds a difference
where there is none, once between systems that are exchanged query by query at random (no difference at all), once
where the differences are shifted to a mean of 0 (they stay skewed); and how often it finds one that is there, beside
the power that `power_of` promises. The intervals are the library's; the p-values are the library's test for many
samples at once (random signs times samples is one matrix product), compared with it on a few of them.

Then Spearman on STS-B, McNemar on whether the first hit is right, and the time of 10,000 queries x 10,000 resamples
against SciPy, ranx and plain numpy.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from environment import peak_memory_mb, summary, write_result
from real_scores import CUT, OURS, SETS, WORDS, Scores, real_scores
from scipy import stats

from embedft.evaluation.significance import (
    bca_interval,
    bootstrap_interval,
    detectable_difference,
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
from embedft.evaluation.significance.correlations import exchanged_correlations
from embedft.evaluation.similarity import spearman

SIZES = (50, 225, 1000)
MEANS = ("ndcg@10", "mrr@10", "recall@100")
ROUNDS, SIGNS = 2_000, 2_000
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


def samples(values: np.ndarray, count: int, simulations: int, seed: int) -> Iterator[np.ndarray]:
    """(TOGETHER, count) samples of a population at a time."""
    rng = np.random.default_rng(seed)
    for _ in range(0, simulations, TOGETHER):
        yield values[rng.integers(0, len(values), (TOGETHER, count))]


def coverage(values: np.ndarray, count: int, simulations: int) -> dict[str, float]:
    """Kind of interval -> share of samples whose interval holds the mean of the population."""
    true = values.mean()
    held: dict[str, list[np.ndarray]] = {}
    for seed, drawn in enumerate(samples(values, count, simulations, 1)):
        weights = np.concatenate(list(resampled_weights(count, rounds=ROUNDS, seed=seed))) / count
        means = drawn @ weights.T
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


def p_values(drawn: np.ndarray, seed: int) -> np.ndarray:
    """The randomisation test of many samples (samples, count) at once; (samples,)."""
    signs = np.random.default_rng(seed).integers(0, 2, (drawn.shape[1], SIGNS)) * 2.0 - 1
    observed = np.abs(drawn.sum(1)) - 1e-12 * np.abs(drawn).sum(1)
    return ((np.abs(drawn @ signs) >= observed[:, None]).sum(1) + 1) / (SIGNS + 1)


def t_p_values(drawn: np.ndarray) -> np.ndarray:
    """Student's paired t-test of many samples at once; a sample without any difference has p = 1."""
    spread = drawn.std(1, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * stats.t.sf(np.abs(drawn.mean(1)) / spread * np.sqrt(drawn.shape[1]), drawn.shape[1] - 1)
    return np.where(spread > 0, p, 1.0)


def found(values: np.ndarray, count: int, simulations: int, *, exchanged: bool = False) -> dict[str, float]:
    """Share of samples in which each test finds a difference at 5 %, and in which a verdict is given.

    Args:
        values: (queries,) differences of the population.
        count: queries of a sample.
        simulations: samples.
        exchanged: exchange the two systems of each query at random.
    """
    rng = np.random.default_rng(2)
    randomised, student, verdicts = [], [], []
    for seed, given in enumerate(samples(values, count, simulations, 3)):
        drawn = given * rng.choice([-1.0, 1.0], given.shape) if exchanged else given
        weights = np.concatenate(list(resampled_weights(count, rounds=ROUNDS, seed=seed))) / count
        low, high = percentile_interval(drawn @ weights.T, count=count)
        randomised.append(p_values(drawn, seed) < ALPHA)
        student.append(t_p_values(drawn) < ALPHA)
        verdicts.append(randomised[-1] & ((low > 0) | (high < 0)))
    parts = {"randomisation": randomised, "t": student, "verdict": verdicts}
    return {name: float(np.concatenate(each).mean()) for name, each in parts.items()}


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


def timing(scores: Scores, rounds: int) -> dict[str, Any]:
    """Seconds of 10,000 queries x 10,000 resamples, of differences of nDCG (many values) and of MRR (few)."""
    rng, fisher = np.random.default_rng(9), ranx_test()
    result = {}
    for metric in ("ndcg@10", "mrr@10"):
        whole = scores[f"medquad/{OURS}/{metric}"] - scores[f"medquad/{WORDS}/{metric}"]
        values = whole[rng.integers(0, len(whole), 10_000)]
        zeros = np.zeros_like(values)
        contenders: dict[str, Callable[[], object]] = {
            "embedft, interval": lambda values=values: bootstrap_interval(values),
            "embedft, BCa": lambda values=values: bootstrap_interval(values, method="bca"),
            "scipy.stats.bootstrap, percentile": lambda values=values: scipy_interval(values, "percentile"),
            "scipy.stats.bootstrap, BCa": lambda values=values: scipy_interval(values, "BCa"),
            "numpy, one resample at a time": lambda values=values: numpy_interval(values),
            "embedft, randomisation": lambda values=values: randomization_p_value(values),
            "scipy.stats.permutation_test": lambda values=values: scipy_p_value(values),
            "ranx, Fisher": lambda values=values, zeros=zeros: fisher(zeros, values, 10_000),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        contenders["ranx, Fisher"]()  # compiles
        for _ in range(rounds):
            for name, run in contenders.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        result[metric] = {"distinct": len(np.unique(values))} | {name: summary(each) for name, each in seconds.items()}
    spearman_seconds = []
    gold, own, other = (scores[f"stsb/{name}"][rng.integers(0, 1379, 10_000)] for name in ("gold", OURS, CUT))
    for _ in range(rounds):
        start = time.perf_counter()
        resampled_correlations("spearman", gold, np.stack([own, other]))
        spearman_seconds.append(time.perf_counter() - start)
    return result | {"spearman": {"embedft, two systems": summary(spearman_seconds)}}


def ranx_test() -> Callable[..., object]:
    """Fisher's test of ranx. Numba, which it stands on, looks for a package named coverage: not for this file."""
    before, here = list(sys.path), Path(__file__).parent.resolve()
    sys.path[:] = [each for each in before if Path(each).resolve() != here]
    try:
        from ranx.statistical_tests import fisher_randomization_test
    finally:
        sys.path[:] = before
    return fisher_randomization_test


def scipy_interval(values: np.ndarray, method: str) -> object:
    """SciPy's interval, in batches that fit the memory."""
    return stats.bootstrap((values,), np.mean, n_resamples=10_000, batch=400, method=method, rng=0).confidence_interval


def scipy_p_value(values: np.ndarray) -> float:
    """SciPy's randomisation test, in batches that fit the memory."""
    found = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=10_000, batch=400, vectorized=True, rng=0
    )
    return float(found.pvalue)


def numpy_interval(values: np.ndarray) -> object:
    """As one writes it by hand."""
    rng = np.random.default_rng(0)
    return np.quantile([rng.choice(values, len(values)).mean() for _ in range(10_000)], [0.025, 0.975])


def told(name: str, shares: dict[str, float]) -> None:
    """One line."""
    print(f"{name:42}" + "  ".join(f"{kind} {share:6.1%}" for kind, share in shares.items()), flush=True)


def simulate(scores: Scores, simulations: int) -> dict[str, Any]:
    """Everything but the times."""
    result: dict[str, Any] = {"coverage": {}, "false_alarms": {}, "skewed": {}, "power": {}}
    for name, values in populations(scores):
        for count in SIZES:
            key = f"{name}, n {count}"
            result["coverage"][key] = coverage(values, count, simulations)
            told(f"holds: {key}", result["coverage"][key])
            if " - " not in name:
                continue
            result["false_alarms"][key] = found(values, count, simulations, exchanged=True)
            result["skewed"][key] = found(values - values.mean(), count, simulations)
            told(f"  exchanged: {key}", result["false_alarms"][key])
            told(f"  shifted: {key}", result["skewed"][key])
    whole = scores[f"medquad/{OURS}/ndcg@10"]
    for other in (CUT, WORDS):
        for count in SIZES:
            key = f"medquad ndcg@10 - {other}, n {count}"
            result["power"][key] = power(whole - scores[f"medquad/{other}/ndcg@10"], count, simulations)
            print(f"{key}: detectable {result['power'][key]['detectable']:.3f}")
            for point in result["power"][key]["curve"]:
                told(f"  {point['difference']:.4f}", {k: v for k, v in point.items() if k != "difference"})
    result["agreement"] = agreement(whole - scores[f"medquad/{CUT}/ndcg@10"], 225)
    return result


def main() -> None:
    """Simulate, time, print, and write ``results/coverage.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds retrieval/ and sts/")
    parser.add_argument("--scores", type=Path, help="of the queries, .npz: kept there, and used again")
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="of the timing")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scores = real_scores(options.data, options.scores or Path(folder) / "scores.npz")
    start = time.perf_counter()
    result: dict[str, Any] = {"simulations": options.simulations, **simulate(scores, options.simulations)}
    result["spearman"], result["mcnemar"] = {}, {}
    for count in SIZES:
        result["spearman"][count] = correlations(scores, count, options.simulations // (4 if count == 1000 else 2))
        result["mcnemar"][count] = answers(scores, count, options.simulations)
        told(f"holds: Spearman, STS-B, n {count}", result["spearman"][count]["coverage"])
        told("  exchanged", result["spearman"][count]["false_alarms"])
        told(f"  exchanged: McNemar, n {count}", result["mcnemar"][count])
    result["seconds"] = time.perf_counter() - start
    result["timing"] = timing(scores, options.rounds)
    for metric, contenders in result["timing"].items():
        for name, seconds in contenders.items():
            if isinstance(seconds, dict):
                print(f"10,000 x 10,000, {metric}: {name:36}{seconds['median']:8.3f} s")
    result["peak_memory_mb"] = peak_memory_mb()
    if not options.dry:
        write_result("coverage", result)


if __name__ == "__main__":
    main()
