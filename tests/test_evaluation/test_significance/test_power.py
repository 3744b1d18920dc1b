"""What can be seen: power is SciPy's noncentral t, and its inverses are inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from embedft.errors import ConfigError
from embedft.evaluation.significance import (
    detectable_difference,
    detectable_sentence,
    power_of,
    queries_needed,
    t_test_p_value,
)
from embedft.evaluation.significance.effect import deviation_of, standardised

counts = st.integers(2, 20_000)


@given(st.floats(0, 3), st.integers(2, 2000))
@settings(max_examples=60, deadline=None)
def test_power_is_that_of_the_noncentral_t(effect, count):
    critical = stats.t.ppf(0.975, count - 1)
    shift = effect * count**0.5
    expected = stats.nct.sf(critical, count - 1, shift) + (
        stats.nct.cdf(-critical, count - 1, shift) if shift < 5 else 0
    )
    assert power_of(0.2 * effect, 0.2, count) == pytest.approx(expected, abs=1e-8)


def test_power_is_how_often_the_test_finds_it():
    draws = np.random.default_rng(0).normal(0.1, 0.3, (1500, 40))
    found = np.mean([t_test_p_value(each) < 0.05 for each in draws])
    assert found == pytest.approx(power_of(0.1, 0.3, 40), abs=4 * (0.25 / 1500) ** 0.5)


@given(counts, st.floats(0.01, 10), st.floats(1e-4, 0.2))
@settings(max_examples=60, deadline=None)
def test_the_detectable_difference_is_found_four_times_in_five(count, deviation, alpha):
    smallest = detectable_difference(count, deviation, alpha=alpha)
    assert power_of(smallest, deviation, count, alpha=alpha) == pytest.approx(0.8, abs=1e-6)


@given(st.floats(0.02, 2), st.floats(1e-4, 0.2))
@settings(max_examples=60, deadline=None)
def test_the_queries_needed_are_the_fewest_that_do(effect, alpha):
    fewest = queries_needed(effect * 0.3, 0.3, alpha=alpha)
    assert power_of(effect * 0.3, 0.3, fewest, alpha=alpha) >= 0.8
    assert fewest == 2 or power_of(effect * 0.3, 0.3, fewest - 1, alpha=alpha) < 0.8


def test_no_difference_is_found_as_often_as_a_false_alarm():
    assert power_of(0, 0.2, 100) == pytest.approx(0.05)


def test_four_times_the_queries_show_half_the_difference():
    assert detectable_difference(4000, 0.2) == pytest.approx(detectable_difference(1000, 0.2) / 2, rel=0.002)
    # Cohen's tables: 0.2 standard deviations need 199 pairs.
    assert queries_needed(0.2, 1) == 199


def test_sentences_say_what_could_be_seen():
    said = detectable_sentence(detectable_difference(225, 0.107), 225)
    assert said == "With 225 queries you could see a difference of 0.02 (80 % power at p < 0.05)."
    assert detectable_sentence(0.02, 225, unit="pairs", difference=0.01).endswith("0.01, about 900 pairs.")
    assert detectable_sentence(0.02, 225, difference=0.03) == said
    assert detectable_sentence(None, 3).endswith("how small a difference could be seen is not known.")
    for nothing in (0, 1e-9):
        assert detectable_sentence(0.02, 225, difference=nothing) == said
    assert detectable_sentence(None, 24, differing=0).startswith("On 24 queries the systems answer alike:")
    assert detectable_sentence(None, 1).startswith("On 1 query all systems differ alike:")
    few = "The systems differ on {} of 24 queries, too few for any test{} to tell them apart."
    assert detectable_sentence(None, 24, differing=5) == few.format(5, "")
    assert detectable_sentence(None, 24, differing=8, tests=60) == few.format(8, ", corrected for 60 tests")
    assert detectable_sentence(None, 24, differing=5, at_most=True) == few.format("at most 5", "")


def test_sentences_of_corrected_tests_say_for_how_many_and_how_many_queries_these_take():
    found = detectable_difference(225, 0.107, alpha=0.05 / 60)
    said = detectable_sentence(found, 225, difference=found / 2, tests=60)
    assert "difference of 0.03 (80 % power at p < 0.05, corrected for 60 tests)" in said
    # By the noncentral t the corrected test takes a little less than four times as many.
    assert said.endswith("about 890 queries.")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: detectable_difference(225, 0), "standard deviation of 0"),
        (lambda: detectable_difference(1, 0.2), "1 queries have no spread"),
        (lambda: detectable_difference(225, 0.2, alpha=0.9), "no rate of false alarms"),
        (lambda: power_of(0.1, float("nan"), 10), "standard deviation of nan"),
        (lambda: queries_needed(0, 0.2), "not found with"),
    ],
)
def test_what_has_no_answer_is_refused(call, said):
    with pytest.raises(ConfigError, match=said):
        call()


def test_the_effect_size_is_the_difference_in_standard_deviations():
    values = np.array([0.2, 0.0, -0.1, 0.4, 0.0])
    assert standardised(values.mean(), deviation_of(values)) == pytest.approx(values.mean() / values.std(ddof=1))
    assert standardised(0.0, deviation_of(np.zeros(9))) == 0
    for same in (np.array([0.3]), np.array([0.3] * 4)):
        assert standardised(0.3, deviation_of(same)) is None
