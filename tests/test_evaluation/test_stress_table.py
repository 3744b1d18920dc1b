"""A stress is called harmless only where the texts that were judged show it."""

import numpy as np
import pytest

from embedft.evaluation.comparison import compare_resampled, compare_scores
from embedft.evaluation.stress.conditions import Condition
from embedft.evaluation.stress.table import HARMLESS, highest_drop, stress_table


def table(losses, *, mean=True, lower_is_better=False):
    """The table of stresses by which the texts lose so much; (stresses, texts)."""
    count = losses.shape[1]
    rows = np.arange(count)
    conditions = [
        Condition(f"stress {row}", None, f"stress {row}", "noise", "", rows, np.ones(count, bool), ("a", "b"))
        for row in range(len(losses))
    ]
    before = np.ones(count)

    def outcome(condition):
        lost = losses[int(condition.label.split()[1])]
        return 1 - lost.mean(), compare_scores(before - lost, before), lost if mean else None

    return stress_table(
        conditions, np.ones((count, 2), np.float32), rows, outcome, lower_is_better=lower_is_better, model="m",
        data="d", split="test", task="retrieval", metric="ndcg@10", unit="queries", count=count, of=count, score=1.0,
        encoded=count, negation=None, left_out={},
    )  # fmt: skip


def losses_of(count):
    """Nothing lost; 1 text of 30 loses all; each loses half."""
    sparse = (np.arange(count) % 30 == 7).astype(float)
    return np.stack([np.zeros(count), sparse, np.full(count, 0.5)])


@pytest.mark.parametrize("mean", [True, False])
def test_many_texts_that_lose_nothing_show_that_a_stress_is_harmless(mean):
    found = table(losses_of(1000), mean=mean)
    [harmless] = [sentence for sentence in found.reading() if f"cost {HARMLESS:g} at most" in sentence]
    assert "stress 0" in harmless
    assert "stress 1" not in harmless
    assert 0 < found.rows[0]["drop_high"] <= HARMLESS < found.rows[1]["drop"] < found.rows[1]["drop_high"]


@pytest.mark.parametrize("mean", [True, False])
def test_few_texts_that_lose_nothing_show_nothing(mean):
    sentences = table(losses_of(50), mean=mean).reading()
    assert not any("at most" in sentence for sentence in sentences)
    assert any("No drop is shown" in sentence and "stress 0" in sentence for sentence in sentences)


def test_a_metric_that_nothing_lowers_calls_nothing_harmless():
    sentences = table(np.zeros((2, 1000))).reading()
    assert not any("at most" in sentence for sentence in sentences)


def test_an_error_of_any_scale_calls_nothing_harmless():
    found = table(losses_of(1000), mean=False, lower_is_better=True)
    assert [row["verdict"] for row in found.rows].count("worse") > 0
    assert {row["drop_high"] for row in found.rows} == {None}
    assert not any("at most" in sentence for sentence in found.reading())


def test_bounds_hold_for_all_stresses_at_once_where_few_texts_lose_much():
    rng = np.random.default_rng(0)
    stresses, tables, wrong = 20, 40, 0
    none = compare_scores(np.ones(2), np.ones(2))
    for count, lost in ((50, 0.03), (1000, 0.012)):
        for _ in range(tables):
            drawn = (rng.random((stresses, count)) < lost).astype(float)
            wrong += min(highest_drop(none, row, 1.0, risk=0.05 / stresses) for row in drawn) < lost
    # 4 are allowed on average; 10 is three standard errors above that.
    assert wrong <= 10


def test_bounds_of_a_metric_that_is_no_mean_are_wider_than_its_interval():
    gains = np.random.default_rng(1).normal(0, 0.1, 400)
    found = compare_resampled(-0.02, np.linspace(-0.04, 0.0, 1001), gains, {"some test": 0.5})
    assert highest_drop(found, None, 0.8, risk=0.05 / 20) > -found.ci_low + 0.8 * 0.01
