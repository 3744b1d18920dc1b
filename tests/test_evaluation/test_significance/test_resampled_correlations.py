"""Correlations of resamples and exchanges, computed without sorting, are those of SciPy on the rows themselves."""

import numpy as np
import pytest
from scipy import stats

from embedft.evaluation.significance import exchanged_correlations, exchanges, resampled_correlations, resampled_weights
from embedft.evaluation.significance.correlations import Ranks

REFERENCE = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}


def case(n, seed=0):
    rng = np.random.default_rng(seed)
    gold = np.round(rng.random(n) * 5)
    return gold, np.round(gold + rng.normal(size=n), 1), gold + 1000 + rng.normal(size=n)


def reference(kind, values, gold):
    return REFERENCE[kind](values, gold)[0] if np.ptp(values) and np.ptp(gold) else 0.0


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
@pytest.mark.parametrize("n", [3, 8, 200])
def test_resamples_are_those_of_scipy(kind, n):
    gold, one, other = case(n)
    weights = np.concatenate(list(resampled_weights(n, rounds=40, seed=1)))
    found = resampled_correlations(kind, gold, np.stack([one, other]), rounds=40, seed=1)
    for column, counts in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(n), counts)
        expected = [reference(kind, each[rows], gold[rows]) for each in (one, other)]
        assert found[:, column] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_exchanges_are_those_of_scipy(kind):
    gold, one, other = case(50)
    found = exchanged_correlations(kind, gold, one, other - 1000, rounds=40, seed=2)
    for column, swap in enumerate(np.concatenate(list(exchanges(50, rounds=40, seed=2)))):
        mixed = np.where(swap, other - 1000, one), np.where(swap, one, other - 1000)
        assert found[:, column] == pytest.approx([reference(kind, each, gold) for each in mixed], abs=1e-9)


def test_ranks_within_weights_are_ranks_of_the_repeated_values():
    values, counts = np.array([3.0, 1.0, 3.0, 2.0]), np.array([2, 1, 1, 0])
    ranks = Ranks(values).within(counts[None].astype(float))[0]
    repeated = stats.rankdata(np.repeat(values, counts))
    assert np.repeat(ranks, counts).tolist() == repeated.tolist()


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_a_system_that_does_not_vary_has_no_correlation(kind):
    gold, one, _ = case(20)
    constant = np.full(20, 0.7)
    assert (resampled_correlations(kind, gold, constant[None], rounds=30) == 0).all()
    assert (resampled_correlations(kind, np.full(20, 0.3), one[None], rounds=30) == 0).all()
