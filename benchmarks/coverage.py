"""Whether the statistics keep what they promise, by simulation on real per-query scores.

python benchmarks/coverage.py --data FOLDER [--scores FILE.npz] [--simulations 2000] [--dry]

The judged queries of a set are the population; thousands of samples of n are drawn from it, with replacement. Counted
are: how often the 95 % interval of each kind holds the mean of the population; how often a test finds a difference
where there is none, once between systems that are exchanged query by query at random (no difference at all), once
where wins are drawn less often until the mean is 0 (differences stay skewed); and how often it finds one that is there,
beside the power that `power_of` promises. The intervals are the library's; the p-values are the library's test for many
samples at once (random signs times samples is one matrix product), compared with it on a few of them.

Then Spearman on STS-B, McNemar on whether the first hit is right, and the time of 10,000 queries x 10,000 resamples
against SciPy, ranx and plain numpy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "coverage":
    # Numba, under bm25s and ranx, looks for the package of this name and goes on without it: not for this file.
    raise ImportError("benchmarks/coverage.py is no package.")

import numpy as np
from environment import summary, write_result
from ranx.statistical_tests import fisher_randomization_test
from real_scores import CUT, OURS, WORDS, Scores, real_scores
from scipy import stats
from simulation import (
    SIZES,
    agreement,
    answers,
    balanced,
    correlations,
    coverage,
    found,
    populations,
    power,
    share_differing,
)

from embedft.evaluation.significance import bootstrap_interval, randomization_p_value, resampled_correlations

# Fewer queries that differ are too few for any interval and any test (each cell of the result shows how much).
ENOUGH = 15


def timing(scores: Scores, rounds: int) -> dict[str, Any]:
    """Seconds of 10,000 queries x 10,000 resamples, of differences of nDCG (many values) and of MRR (few)."""
    rng = np.random.default_rng(9)
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
            "ranx, Fisher": lambda values=values, zeros=zeros: fisher_randomization_test(zeros, values, 10_000),
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
    rows = rng.integers(0, len(scores["stsb/gold"]), 10_000)
    gold, own, other = (scores[f"stsb/{name}"][rows] for name in ("gold", OURS, CUT))
    for _ in range(rounds):
        start = time.perf_counter()
        resampled_correlations("spearman", gold, np.stack([own, other]))
        spearman_seconds.append(time.perf_counter() - start)
    return result | {"spearman": {"embedft, two systems": summary(spearman_seconds)}}


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
    print(f"{name:52}" + "  ".join(f"{kind} {share:6.1%}" for kind, share in shares.items()), flush=True)


def simulate(scores: Scores, simulations: int) -> dict[str, Any]:
    """Everything of means: intervals, false alarms, power."""
    result: dict[str, Any] = {"coverage": {}, "exchanged": {}, "balanced": {}, "power": {}}
    for name, values in populations(scores):
        chances = balanced(values) if " - " in name else None
        for count in SIZES:
            key = f"{name}, n {count}"
            cells = {"coverage": coverage(values, count, simulations)}
            if chances is not None:
                cells["exchanged"] = found(values, count, 2 * simulations, exchanged=True)
                cells["balanced"] = found(values, count, 2 * simulations, chances=chances)
            for kind, shares in cells.items():
                told(f"{kind}: {key}", shares)
                differing = count * share_differing(values, chances if kind == "balanced" else None)
                result[kind][key] = {"differing": differing, **shares}
    whole = scores[f"medquad/{OURS}/ndcg@10"]
    for other in (CUT, WORDS):
        for count in SIZES:
            key = f"medquad ndcg@10 - {other}, n {count}"
            result["power"][key] = power(whole - scores[f"medquad/{other}/ndcg@10"], count, simulations)
            print(f"{key}: detectable {result['power'][key]['detectable']:.3f}")
            for point in result["power"][key]["curve"]:
                told(f"  {point['difference']:.4f}", {k: v for k, v in point.items() if k != "difference"})
    result["ranges"] = ranges(result)
    result["agreement"] = agreement(whole - scores[f"medquad/{CUT}/ndcg@10"], 225)
    return result


def ranges(result: dict[str, Any]) -> dict[str, Any]:
    """For each number of queries: the least and the most that was found, where enough queries differ."""
    answer: dict[str, Any] = {}
    for kind in ("coverage", "exchanged", "balanced"):
        for count in SIZES:
            cells = [cell for key, cell in result[kind].items() if key.endswith(f", n {count}")]
            enough = [cell for cell in cells if cell["differing"] >= ENOUGH]
            name = f"{kind}, n {count}"
            answer[name] = {"cells": len(enough), "left_out": len(cells) - len(enough)}
            for method in [each for each in cells[0] if each != "differing"]:
                answer[name][method] = [min(cell[method] for cell in enough), max(cell[method] for cell in enough)]
            print(f"{name}: {answer[name]}")
    return answer


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
    if not options.dry:
        write_result("coverage", result)


if __name__ == "__main__":
    main()
