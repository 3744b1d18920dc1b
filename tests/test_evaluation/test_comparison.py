"""Verdicts: right on clear cases, silent on noise, the same for the same seed."""

import numpy as np
import pytest
from scipy import stats

from embedft.errors import DataError
from embedft.evaluation import bootstrap_interval, compare, compare_scores, randomization_p_value
from embedft.evaluation.ranking import Ranking
from embedft.evaluation.retrieval import RetrievalEvaluation


def scores(seed, n=200):
    return np.random.default_rng(seed).beta(1, 1, n)


def test_a_clear_gain_is_better_and_its_mirror_worse():
    base = scores(0)
    better = compare_scores(base + 0.05, base)
    worse = compare_scores(base, base + 0.05)
    assert (better.verdict, worse.verdict) == ("better", "worse")
    assert better.difference == pytest.approx(0.05)
    assert better.ci_low == pytest.approx(-worse.ci_high)
    assert better.p_value < 0.001
    assert (better.wins, better.losses, better.ties) == (200, 0, 0)


def test_identical_systems_are_no_difference():
    found = compare_scores(scores(0), scores(0) + 1e-15)
    assert (found.verdict, found.p_value, found.ties) == ("no difference", 1.0, 200)
    assert (found.difference, found.ci_low, found.ci_high) == (0, 0, 0)


def test_false_alarms_are_as_frequent_as_stated():
    alarms = sum(
        compare_scores(*np.random.default_rng(seed).random((2, 60))).verdict != "no difference" for seed in range(200)
    )
    # Binomial(200, 0.05): within 4 standard deviations.
    assert alarms <= 10 + 4 * (200 * 0.05 * 0.95) ** 0.5


def test_interval_and_p_value_agree_with_scipy():
    differences = np.random.default_rng(1).normal(0.02, 0.15, 150)
    low, high = bootstrap_interval(differences)
    reference = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=10_000, rng=2)
    assert low == pytest.approx(reference.confidence_interval.low, abs=0.002)
    assert high == pytest.approx(reference.confidence_interval.high, abs=0.002)
    permuted = stats.permutation_test(
        (differences,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=10_000, rng=2
    )
    assert randomization_p_value(differences) == pytest.approx(permuted.pvalue, abs=0.02)


def test_the_p_value_of_few_queries_is_that_of_all_sign_flips():
    differences = np.array([0.3, 0.1, 0.2, 0.4])
    # 2 of the 16 assignments are as extreme as the observed one.
    assert randomization_p_value(differences) == pytest.approx(2 / 16, abs=0.01)


def test_the_answer_is_reproducible():
    differences = scores(3) - scores(4)
    assert bootstrap_interval(differences, seed=5) == bootstrap_interval(differences, seed=5)
    assert bootstrap_interval(differences, seed=5) != bootstrap_interval(differences, seed=6)


def evaluation(query_ids, per_query):
    empty = Ranking(query_ids, [], np.empty((len(query_ids), 0), np.int64), np.empty((len(query_ids), 0)))
    return RetrievalEvaluation("m", "d", "test", query_ids, per_query, empty)


def test_evaluations_of_other_queries_are_not_compared():
    left = evaluation(["a", "b"], {"ndcg@10": np.array([0.1, 0.2])})
    with pytest.raises(DataError, match="other queries"):
        compare(left, evaluation(["a", "c"], {"ndcg@10": np.array([0.1, 0.2])}))
    with pytest.raises(DataError, match="no metric in common"):
        compare(left, evaluation(["a", "b"], {"mrr@10": np.array([0.1, 0.2])}))
