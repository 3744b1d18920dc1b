"""Holm's correction: the textbook's numbers, never weaker than Bonferroni, and false alarms kept among them all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from embedft.errors import DataError
from embedft.evaluation.significance import holm

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=20)


def test_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(p_values)
def test_it_stands_between_no_correction_and_bonferroni_and_keeps_the_order(values):
    given_ = np.array(values)
    adjusted = holm(given_)
    assert (adjusted >= given_).all()
    assert (adjusted <= np.minimum(given_ * len(given_), 1) + 1e-12).all()
    order = np.argsort(given_, kind="stable")
    assert (np.diff(adjusted[order]) >= 0).all()
    assert holm(given_[order]) == pytest.approx(adjusted[order])


@given(p_values)
def test_it_rejects_as_holm_wrote_it(values):
    rejected = set()
    for step, row in enumerate(np.argsort(values, kind="stable")):
        if values[row] * (len(values) - step) >= 0.05:
            break
        rejected.add(row)
    assert {row for row, p in enumerate(holm(values)) if p < 0.05} == rejected


def test_the_chance_of_any_false_alarm_is_kept():
    # Six tests of two samples each, which share one of them: dependent.
    draws = np.random.default_rng(0).normal(size=(2000, 7, 1))
    z = (draws[:, 1:, 0] - draws[:, :1, 0]) / 2**0.5
    alarms = [(holm(each) < 0.05).any() for each in 2 * stats.norm.sf(np.abs(z))]
    assert np.mean(alarms) <= 0.05 + 4 * (0.05 * 0.95 / 2000) ** 0.5


def test_a_table_keeps_its_shape_and_an_empty_one_stays_empty():
    table = np.array([[0.01, 0.5], [0.2, 0.02]])
    assert holm(table).shape == (2, 2)
    assert holm(table).ravel() == pytest.approx(holm(table.ravel()))
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5])
def test_what_is_no_p_value_is_refused(value):
    with pytest.raises(DataError, match="p-value 2 of 2"):
        holm([0.1, value])
