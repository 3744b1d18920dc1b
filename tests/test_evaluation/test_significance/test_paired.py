"""Paired tests are those of SciPy, ranx and the papers; order and side do not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from embedft.errors import DataError
from embedft.evaluation.significance import (
    mcnemar_p_value,
    randomization_p_value,
    steiger_p_value,
    t_test_p_value,
    williams_p_value,
)

# Few values, as differences of reciprocal ranks have, so that ties of sums come up.
scores = st.lists(st.sampled_from([0.0, 0.0, 0.5, -0.5, 1 / 3, -0.25, 1.0]), min_size=1, max_size=40).map(np.array)
correlation = st.floats(-0.95, 0.95)


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.05])
def test_the_randomisation_test_is_that_of_scipy(shift):
    values = np.random.default_rng(1).normal(shift, 0.15, 150)
    reference = stats.permutation_test(
        (values,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=10_000, rng=2
    )
    assert randomization_p_value(values) == pytest.approx(reference.pvalue, abs=0.02)


@pytest.mark.parametrize("n", [2, 3, 8, 13])
def test_the_randomisation_test_of_few_queries_is_exact(n):
    values = np.random.default_rng(n).normal(0.3, 1, n)
    reference = stats.permutation_test(
        (values,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert randomization_p_value(values) == pytest.approx(reference.pvalue, abs=1e-12)
    # Queries without a difference change nothing.
    assert randomization_p_value(np.append(values, np.zeros(500))) == randomization_p_value(values)


def test_more_queries_than_are_enumerated_give_nearly_the_exact_answer():
    values = np.random.default_rng(3).normal(0.4, 1, 14)
    reference = stats.permutation_test(
        (values,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    assert randomization_p_value(values) == pytest.approx(reference.pvalue, abs=0.01)


# ranx compiles itself, half a minute the first time.
@pytest.mark.slow
def test_the_tests_are_those_of_ranx():
    from ranx.statistical_tests import fisher_randomization_test, paired_student_t_test

    rng = np.random.default_rng(4)
    control = rng.beta(1, 1, 120)
    treatment = np.clip(control + rng.normal(0.01, 0.1, 120), 0, 1)
    theirs, _ = fisher_randomization_test(control, treatment, n_permutations=10_000)
    assert randomization_p_value(treatment - control) == pytest.approx(theirs, abs=0.02)
    assert t_test_p_value(treatment - control) == pytest.approx(paired_student_t_test(control, treatment)[0], abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 60])
def test_the_t_test_is_that_of_scipy(n):
    one, other = np.random.default_rng(n).normal(size=(2, n))
    assert t_test_p_value(one - other) == pytest.approx(stats.ttest_rel(one, other).pvalue, abs=1e-12)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (5, 5), (3, 9), (40, 15), (0, 30), (600, 400)])
def test_mcnemar_is_the_binomial_test_and_its_mid_p_counts_half_of_what_was_seen(wins, losses):
    total = wins + losses
    exact = stats.binomtest(wins, total).pvalue if total else 1.0
    assert mcnemar_p_value(wins, losses) == pytest.approx(exact, rel=1e-9)
    half = stats.binom.pmf(wins, total, 0.5) if wins != losses else 0.0
    assert mcnemar_p_value(wins, losses, mid_p=True) == pytest.approx(exact - half, rel=1e-9)
    assert mcnemar_p_value(losses, wins) == mcnemar_p_value(wins, losses)


def test_mcnemar_is_what_the_randomisation_test_of_right_and_wrong_tends_to():
    differences = np.repeat([1.0, -1.0, 0.0], [30, 17, 200])
    assert randomization_p_value(differences) == pytest.approx(mcnemar_p_value(30, 17), abs=0.01)


def test_williams_test_gives_the_published_answer():
    # Steiger 1980, case A: verbal ability with masculinity .5, with femininity .4, these two .1, 103 persons: t = .89.
    assert williams_p_value(0.5, 0.4, 0.1, 103) == pytest.approx(2 * stats.t.sf(0.89, 100), abs=0.002)


def test_steigers_test_is_a_normal_one_with_the_variance_of_dunn_and_clark():
    first, second, between, n = 0.5, 0.4, 0.1, 103
    mean = (first + second) / 2
    # Pearson and Filon's covariance of two correlations that share a variable, both replaced by their mean.
    covariance = between * (1 - 2 * mean**2) - 0.5 * mean**2 * (1 - 2 * mean**2 - between**2)
    z = (np.arctanh(first) - np.arctanh(second)) * np.sqrt((n - 3) / (2 - 2 * covariance / (1 - mean**2) ** 2))
    assert steiger_p_value(first, second, between, n) == pytest.approx(2 * stats.norm.sf(z), rel=1e-9)


@pytest.mark.parametrize("test", [williams_p_value, steiger_p_value])
def test_tests_of_correlations_are_right_one_time_in_twenty_where_nothing_differs(test):
    rng = np.random.default_rng(5)
    gold, noise = rng.normal(size=(1500, 60)), rng.normal(size=(2, 1500, 60))
    found = []
    for row in range(1500):
        one, other = gold[row] + noise[:, row]
        table = np.corrcoef([gold[row], one, other])
        found.append(test(table[0, 1], table[0, 2], table[1, 2], 60) < 0.05)
    # Binomial(1500, 0.05): within 4 standard deviations.
    assert np.mean(found) == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 1500) ** 0.5)


@settings(max_examples=60, deadline=None)
@given(scores, st.integers(0, 9))
def test_neither_side_nor_order_of_the_queries_matters(values, seed):
    shuffled = np.random.default_rng(seed).permutation(values)
    for test, allowed in ((t_test_p_value, 1e-9), (randomization_p_value, 0.03)):
        p_value = test(values)
        assert 0 <= p_value <= 1
        assert test(-values) == pytest.approx(p_value, abs=allowed)
        assert test(shuffled) == pytest.approx(p_value, abs=allowed)


@settings(max_examples=60, deadline=None)
@given(correlation, correlation, st.floats(0, 1), st.integers(4, 500))
def test_tests_of_correlations_have_no_side_and_know_equal_ones(first, second, share, count):
    # Any correlation of the two models that three variables can have.
    room = np.sqrt((1 - first**2) * (1 - second**2))
    between = float(np.clip(first * second + (2 * share - 1) * room, -1, 1))
    for test in (williams_p_value, steiger_p_value):
        assert 0 <= test(first, second, between, count) <= 1
        assert test(first, second, between, count) == pytest.approx(test(second, first, between, count), abs=1e-9)
        assert test(first, first, between, count) == 1


@pytest.mark.parametrize("test", [t_test_p_value, randomization_p_value])
def test_identical_systems_have_a_p_value_of_one(test):
    assert test(np.zeros(225)) == test([0.0]) == 1


def test_a_single_query_is_no_evidence():
    assert t_test_p_value([0.7]) == randomization_p_value([0.7]) == 1
    assert randomization_p_value([0.7] * 5) > 0.05 > randomization_p_value([0.7] * 6)


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(DataError, match="query 2 is nan"):
        t_test_p_value([0.1, np.nan])
    with pytest.raises(DataError, match="query 1 is inf"):
        randomization_p_value([np.inf])
    with pytest.raises(DataError, match="no counts"):
        mcnemar_p_value(-1, 4)
    for given_ in [(0.5, 0.4, 0.1, 3), (0.5, np.nan, 0.1, 50), (0.5, 1.2, 0.1, 50)]:
        with pytest.raises(DataError, match="cannot be compared"):
            williams_p_value(*given_)
