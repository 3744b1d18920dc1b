"""Intervals are SciPy's where it has them, and hold what they should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from embedft.errors import ConfigError, DataError
from embedft.evaluation.significance import (
    bca_interval,
    bootstrap_interval,
    mean_acceleration,
    percentile_interval,
)
from embedft.evaluation.significance.intervals import METHODS

SKEWED = np.random.default_rng(0).exponential(size=60) * (np.random.default_rng(1).random(60) < 0.3)
scores = st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=2, max_size=30).map(np.array)


@pytest.mark.parametrize(("ours", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
@pytest.mark.parametrize("values", [SKEWED, np.random.default_rng(2).normal(0.02, 0.15, 150)])
def test_intervals_of_a_mean_are_those_of_scipy(ours, theirs, values):
    reference = stats.bootstrap((values,), np.mean, method=theirs, n_resamples=20_000, rng=3).confidence_interval
    found = bootstrap_interval(values, method=ours, rounds=20_000)
    # Both are random: two percent of the width of the interval.
    assert found == pytest.approx(reference, abs=0.02 * (reference.high - reference.low))


def jackknife_acceleration(statistic, count):
    left_out = np.array([statistic(np.delete(np.arange(count), row)) for row in range(count)])
    influence = left_out.mean() - left_out
    return (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)


def test_bca_of_any_statistic_is_that_of_scipy():
    x = np.random.default_rng(4).normal(size=40)
    y = x + np.random.default_rng(5).normal(size=40)

    def pearson(rows):
        left, right = (each[rows] - each[rows].mean(-1, keepdims=True) for each in (x, y))
        return (left * right).sum(-1) / np.sqrt((left**2).sum(-1) * (right**2).sum(-1))

    rows = np.random.default_rng(6).integers(0, 40, (20_000, 40))
    found = bca_interval(pearson(rows), pearson(np.arange(40)), jackknife_acceleration(pearson, 40))
    reference = stats.bootstrap(
        (x, y),
        lambda a, b: stats.pearsonr(a, b)[0],
        paired=True,
        vectorized=False,
        n_resamples=4000,
        method="BCa",
        rng=0,
    ).confidence_interval
    assert found == pytest.approx(reference, abs=0.03)


@pytest.mark.parametrize("count", [2, 3, 50])
def test_the_acceleration_of_a_mean_in_closed_form_is_the_jackknife(count):
    values = np.random.default_rng(count).exponential(size=count)
    by_leaving_out = jackknife_acceleration(lambda rows: values[rows].mean(-1), count)
    assert float(mean_acceleration(values)) == pytest.approx(by_leaving_out, abs=1e-12)


def test_the_interval_of_student_is_that_of_scipy():
    reference = stats.ttest_1samp(SKEWED, 0).confidence_interval()
    assert bootstrap_interval(SKEWED, method="t") == pytest.approx(reference, abs=1e-12)


def test_the_expanded_interval_of_normal_differences_is_as_wide_as_that_of_student():
    values = np.random.default_rng(6).normal(size=12)
    expanded, student = (bootstrap_interval(values, method=method, rounds=40_000) for method in ("expanded", "t"))
    plain = bootstrap_interval(values, method="percentile", rounds=40_000)
    width = [high - low for low, high in (plain, expanded, student)]
    assert width[0] < 0.85 * width[2]
    assert width[1] == pytest.approx(width[2], rel=0.08)


@pytest.mark.parametrize("count", [2, 12, 225])
def test_the_tails_are_expanded_as_hesterberg_wrote(count):
    evenly = np.linspace(0, 1, 100_001)
    tail = stats.norm.cdf(stats.t.ppf(0.025, count - 1) * (count / (count - 1)) ** 0.5)
    np.testing.assert_allclose(percentile_interval(evenly, count=count), [tail, 1 - tail], atol=1e-12)


def test_the_expansion_vanishes_with_many_queries():
    replicates = np.random.default_rng(7).normal(size=10_000)
    np.testing.assert_allclose(percentile_interval(replicates, count=10**7), percentile_interval(replicates), atol=1e-4)


def test_many_samples_at_once_are_each_alone():
    replicates = np.random.default_rng(8).normal(size=(5, 1000))
    estimates, accelerations = replicates.mean(1) + 0.01, np.linspace(-0.1, 0.1, 5)
    together = bca_interval(replicates, estimates, accelerations)
    for row in range(5):
        alone = bca_interval(replicates[row], estimates[row], accelerations[row])
        np.testing.assert_allclose([end[row] for end in together], alone, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_equal_differences_and_a_single_one_are_their_own_interval(method):
    assert bootstrap_interval([0.25] * 7, method=method) == (0.25, 0.25)
    assert bootstrap_interval([0.25], method=method) == (0.25, 0.25)
    assert bootstrap_interval([0.0] * 3, method=method) == (0.0, 0.0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[0.1, 0.3], [0.1, 0.1, 0.4], [0, 0, 1]])
def test_intervals_of_two_and_three_queries_are_numbers_in_order(method, values):
    low, high = bootstrap_interval(values, method=method)
    assert np.isfinite([low, high]).all() and low <= np.mean(values) <= high


@settings(max_examples=30, deadline=None)
@given(scores, st.sampled_from(METHODS))
def test_swapping_the_systems_mirrors_the_interval(values, method):
    low, high = bootstrap_interval(values, method=method, rounds=500)
    mirrored = bootstrap_interval(-values, method=method, rounds=500)
    # The resamples are the same rows, or counts of values in the opposite order: mirrored up to chance.
    allowed = 1e-9 if method == "t" else 0.35 * (high - low) + 1e-9
    assert mirrored == pytest.approx((-high, -low), abs=allowed)


@settings(max_examples=30, deadline=None)
@given(scores, st.sampled_from(METHODS), st.integers(0, 9))
def test_the_order_of_the_queries_does_not_matter(values, method, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    low, high = bootstrap_interval(values, method=method, rounds=500)
    allowed = 1e-9 if method == "t" else 0.35 * (high - low) + 1e-9
    assert bootstrap_interval(shuffled, method=method, rounds=500) == pytest.approx((low, high), abs=allowed)


def test_what_is_no_number_is_told_with_its_query():
    with pytest.raises(DataError, match="query 3 is nan; 2 of 4 are no number"):
        bootstrap_interval([0.1, 0.2, np.nan, np.inf])
    with pytest.raises(DataError, match="one number a query"):
        bootstrap_interval([])
    with pytest.raises(DataError, match="one number a query"):
        bootstrap_interval(np.zeros((2, 2)))
    with pytest.raises(ConfigError, match="no interval is named 'normal'"):
        bootstrap_interval([0.1, 0.2], method="normal")
