"""Verdicts: right on clear cases, silent on noise, the same for the same seed."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from embedft.errors import DataError
from embedft.evaluation import bootstrap_interval, compare, compare_scores, randomization_p_value
from embedft.evaluation.comparison import (
    Comparison,
    compare_answers,
    compare_resampled,
    corrected,
    p_phrase,
    p_text,
    rule_text,
)
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


def test_size_and_what_could_be_seen_stand_beside_the_difference():
    differences = np.random.default_rng(5).normal(0.02, 0.1, 225)
    found = compare_scores(0.5 + differences, np.full(225, 0.5))
    assert found.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1))
    # The normal approximation of 80 % power at 5 %.
    assert found.detectable == pytest.approx((1.960 + 0.842) * differences.std(ddof=1) / 15, rel=0.01)
    assert found.test == "paired randomisation" and found.tests[found.test] == found.p_value
    assert found.tests["Student's t"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
    assert found.count == 225


def test_json_has_every_key_and_no_correction_where_none_was_made():
    found = json.loads(json.dumps(compare_scores(scores(0), scores(1)).as_dict()))
    assert found.keys() == {
        "difference", "ci_low", "ci_high", "p_value", "wins", "losses", "ties", "verdict",
        "effect_size", "detectable", "test", "tests",
    }  # fmt: skip
    (one,) = corrected({"a": compare_scores(scores(0), scores(1))}).values()
    assert one.as_dict()["p_adjusted"] == one.p_value


def test_what_identical_systems_could_show_is_not_known():
    found = compare_scores(scores(0), scores(0))
    assert (found.effect_size, found.detectable) == (0.0, None)
    assert set(found.tests.values()) == {1.0}


def test_the_same_gain_on_every_query_has_no_effect_size():
    found = compare_scores(np.full(40, 0.75), np.full(40, 0.5))
    assert (found.verdict, found.effect_size, found.detectable) == ("better", None, None)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_handful_of_queries_is_never_enough(count):
    found = compare_scores(np.linspace(0.8, 0.9, count), np.zeros(count))
    assert found.verdict == "no difference" and found.p_value == pytest.approx(2 / 2**count)
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_what_is_no_number_is_told_with_the_id_of_its_query():
    with pytest.raises(DataError, match="second system: that of query 'q7' is nan; 1 of 2 are no number"):
        compare_scores([0.1, 0.2], [0.1, np.nan], names=["q3", "q7"])
    with pytest.raises(DataError, match="scores of 2 queries, the other of 3"):
        compare_scores([0.1, 0.2], [0.1, 0.2, 0.3])
    with pytest.raises(DataError, match="one number a query"):
        compare_scores([], [])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0, 0.5, 1]), st.sampled_from([0, 0.5, 1])), min_size=1, max_size=40))
def test_swapping_the_systems_swaps_all_that_has_a_side(pairs):
    one, other = (np.array(side, float) for side in zip(*pairs, strict=True))
    left, right = compare_scores(one, other), compare_scores(other, one)
    assert left.difference == -right.difference
    assert (left.wins, left.losses, left.ties) == (right.losses, right.wins, right.ties)
    assert left.p_value == pytest.approx(right.p_value, abs=0.02)
    assert left.detectable == pytest.approx(right.detectable) and left.effect_size == pytest.approx(
        -right.effect_size if right.effect_size is not None else None
    )


def test_right_and_wrong_answers_are_compared_by_mcnemar():
    right, other = np.repeat([True, False], [70, 30]), np.repeat([True, False, True], [60, 35, 5])
    found = compare_answers(right, other)
    assert (found.wins, found.losses, found.ties) == (10, 5, 85)
    assert found.p_value == pytest.approx(stats.binomtest(10, 15).pvalue)
    assert found.test == "McNemar, exact" and found.tests["McNemar, mid-p"] < found.p_value
    assert found.difference == pytest.approx(0.05)


def test_a_metric_that_is_no_mean_is_compared_as_a_mean_would_be():
    gains = np.random.default_rng(6).normal(0.09, 0.1, 8)
    resampled = gains[np.random.default_rng(7).integers(0, 8, (40_000, 8))].mean(1)
    expected = compare_scores(gains, np.zeros(8))
    found = compare_resampled(gains.mean(), resampled, gains, {"some test": expected.p_value})
    assert found.effect_size == pytest.approx(expected.effect_size, rel=0.02)
    assert found.detectable == pytest.approx(expected.detectable, rel=0.02)
    assert (found.ci_low, found.ci_high) == pytest.approx((expected.ci_low, expected.ci_high), abs=0.005)
    assert found.test == "some test" and (found.wins, found.losses) == (expected.wins, expected.losses)
    less = compare_resampled(-gains.mean(), -resampled, gains, {"some test": 0.001}, lower_is_better=True)
    assert less.verdict == found.verdict == "better"


def test_correcting_many_comparisons_takes_verdicts_back():
    base = scores(8)
    noise = np.random.default_rng(10).normal(0, 0.1, (12, 200))
    together = {f"system {n}": compare_scores(base + 0.018 + each - each.mean(), base) for n, each in enumerate(noise)}
    assert {each.verdict for each in together.values()} == {"better"}
    after = corrected(together)
    assert {each.verdict for each in after.values()} == {"no difference"}
    assert all(after[name].p_adjusted >= 12 * min(e.p_value for e in together.values()) - 1e-9 for name in after)
    assert all(after[name].p_value == together[name].p_value for name in after)


def test_the_metric_that_counts_is_tested_alone_and_the_others_are_corrected():
    drawn = np.random.default_rng(3).normal(0.012, 0.08, (6, 225))
    found = {str(number): compare_scores(each, np.zeros(225)) for number, each in enumerate(drawn)}
    after = corrected(found, alone="2")
    assert after["2"] == found["2"]
    rest = [name for name in found if name != "2"]
    assert {name: after[name] for name in rest} == corrected({name: found[name] for name in rest})
    assert min(after[name].p_adjusted for name in rest) == pytest.approx(5 * min(found[n].p_value for n in rest))
    assert all(after[name].detectable > 1.2 * found[name].detectable for name in rest)
    none = replace(found["0"], difference=float("nan"), p_value=1e-4)
    with_none = corrected({**found, "none": none})
    assert with_none["none"] == none and {name: with_none[name] for name in found} == corrected(found)


def test_six_metrics_without_a_difference_ring_no_more_often_than_one():
    """Metrics of one ranking go together (0.8 here): the first rings in 5 of 100 runs, and so do the others at most."""
    rng, rung = np.random.default_rng(0), np.zeros(3)
    for _ in range(300):
        joint = rng.normal(0, 1, 225)
        differences = np.sqrt(0.8) * joint + np.sqrt(0.2) * rng.normal(0, 1, (6, 225))
        t = differences.mean(1) / differences.std(1, ddof=1) * 15
        raw = {str(n): made(float(p)) for n, p in enumerate(stats.t.sf(np.abs(t), 224) * 2)}
        after = corrected(raw, alone="0")
        verdicts = [after[name].verdict != "no difference" for name in after]
        rung += verdicts[0], any(verdicts[1:]), any(each.verdict != "no difference" for each in raw.values())
    assert rung[0] <= 0.09 * 300 and rung[1] <= 0.08 * 300 < rung[2]


def made(p_value):
    verdict = "better" if p_value < 0.05 else "no difference"
    return Comparison(0.1, 0.01, 0.2, p_value, 1, 0, 0, verdict)


@pytest.mark.parametrize(("differing", "seen"), [(1, False), (5, False), (6, True)])
def test_what_no_test_could_tell_apart_is_not_said_to_be_detectable(differing, seen):
    gains = np.zeros(24)
    gains[:differing] = np.linspace(0.1, 1, differing)
    found = compare_scores(gains, np.zeros(24))
    assert found.p_value == pytest.approx(found.smallest_p) and (found.p_value < 0.05) == seen
    assert (found.detectable is not None) == seen
    answers = compare_answers(gains > 0, np.zeros(24, bool))
    assert answers.p_value == pytest.approx(answers.smallest_p) and (answers.detectable is not None) == seen
    # Corrected for ten, six are too few.
    many = corrected({str(number): found for number in range(10)})
    assert {each.detectable for each in many.values()} == {None}


def test_a_sentence_says_what_the_verdicts_stand_on():
    found = corrected({name: made(0.01) for name in ("ndcg@10", "mrr@10", "map@10")}, alone="ndcg@10")
    said = "Verdicts: ndcg@10 by itself at p < 0.05, the other 2 metrics corrected together by Holm."
    assert rule_text(found) == rule_text({name: each.as_dict() for name, each in found.items()}) == said
    assert rule_text(found, shown="before") == said[:-1] + "; p is shown before it."
    # A run of before that rule, and one metric.
    assert rule_text({name: made(0.01) for name in "ab"}) == "Verdicts: each metric by itself at p < 0.05."


@pytest.mark.parametrize(
    ("p", "cell", "phrase"),
    [(0.03101, "0.0310", "p = 0.0310"), (1e-4, "<0.0002", "p < 0.0002")],
)
def test_p_values_are_written_in_one_way(p, cell, phrase):
    assert (p_text(p), p_phrase(p)) == (cell, phrase)


def evaluation(query_ids, per_query):
    empty = Ranking(query_ids, [], np.empty((len(query_ids), 0), np.int64), np.empty((len(query_ids), 0)))
    return RetrievalEvaluation("m", "d", "test", query_ids, per_query, empty)


def test_evaluations_of_other_queries_are_not_compared():
    left = evaluation(["a", "b"], {"ndcg@10": np.array([0.1, 0.2])})
    with pytest.raises(DataError, match="other queries"):
        compare(left, evaluation(["a", "c"], {"ndcg@10": np.array([0.1, 0.2])}))
    with pytest.raises(DataError, match="no metric in common"):
        compare(left, evaluation(["a", "b"], {"mrr@10": np.array([0.1, 0.2])}))
