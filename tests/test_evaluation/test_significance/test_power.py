"""What can be seen: power is SciPy's noncentral t, and its inverses are inverses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from embedft.errors import ConfigError
from embedft.evaluation.significance import (
    cohens_d,
    detectable_difference,
    detectable_sentence,
    power_of,
    queries_needed,
    superiority,
    t_test_p_value,
)

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


@given(counts, st.floats(0.01, 10), st.floats(0.1, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_detectable_difference_has_the_power_that_was_asked(count, deviation, power):
    smallest = detectable_difference(count, deviation, power=power)
    assert power_of(smallest, deviation, count) == pytest.approx(power, abs=1e-6)


@given(st.floats(0.02, 2), st.floats(0.3, 0.95))
@settings(max_examples=60, deadline=None)
def test_the_queries_needed_are_the_fewest_that_do(effect, power):
    fewest = queries_needed(effect * 0.3, 0.3, power=power)
    assert power_of(effect * 0.3, 0.3, fewest) >= power
    assert fewest == 2 or power_of(effect * 0.3, 0.3, fewest - 1) < power


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
    assert "nothing" not in detectable_sentence(0.02, 225, difference=0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: detectable_difference(225, 0), "standard deviation of 0"),
        (lambda: detectable_difference(1, 0.2), "1 queries have no spread"),
        (lambda: detectable_difference(225, 0.2, power=0.01), "no rates"),
        (lambda: power_of(0.1, float("nan"), 10), "standard deviation of nan"),
        (lambda: queries_needed(0, 0.2), "not found with"),
    ],
)
def test_what_has_no_answer_is_refused(call, said):
    with pytest.raises(ConfigError, match=said):
        call()


def test_effect_sizes_are_their_definitions():
    values = np.array([0.2, 0.0, -0.1, 0.4, 0.0])
    assert cohens_d(values) == pytest.approx(values.mean() / values.std(ddof=1))
    assert superiority(values) == pytest.approx((2 + 1) / 5)
    assert cohens_d(-values) == -cohens_d(values)


def test_effect_sizes_of_what_does_not_vary():
    assert cohens_d(np.zeros(9)) == 0 and superiority(np.zeros(9)) == 0.5
    assert cohens_d([0.3]) is None and cohens_d([0.3] * 4) is None
