"""Tuning: recalls as they are, bounds that hold, the fastest point of those that are shown to meet the target."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedft.errors import DataError
from embedft.index import exact_search
from embedft.index.approximate import (
    KINDS,
    Measured,
    Point,
    Stage,
    Tuning,
    approximate_search,
    mean_lower_bound,
    recall_of,
    tune,
)
from embedft.index.approximate.tune import _passing

STAGES = [name for name, kind in KINDS.items() if kind is not None]


pytestmark = pytest.mark.usefixtures("one_thread")


def unit(rng, rows, dim=32, centres=50):
    middles = np.random.default_rng(7).normal(size=(centres, dim))
    vectors = middles[rng.integers(centres, size=rows)] + rng.normal(size=(rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def material():
    rng = np.random.default_rng(0)
    return unit(rng, 3000), unit(rng, 300)


def test_recall_counts_ties_with_the_last_exact_hit():
    truth = np.array([[0.9, 0.8, 0.8]], np.float32)
    assert recall_of(np.array([[0.9, 0.8, 0.8]], np.float32), truth).tolist() == [1.0]
    assert recall_of(np.array([[0.9, 0.8, 0.7]], np.float32), truth).tolist() == pytest.approx([2 / 3])
    assert recall_of(np.array([[0.8, -np.inf, -np.inf]], np.float32), truth).tolist() == pytest.approx([1 / 3])


def test_recall_where_there_are_fewer_hits_than_asked_for():
    none = -np.inf
    truth = np.array([[0.9, 0.8, none], [none, none, none]], np.float32)
    assert recall_of(np.array([[0.9, none, none], [none] * 3], np.float32), truth).tolist() == [0.5, 1.0]


@given(st.lists(st.integers(0, 10), min_size=1, max_size=300))
def test_the_bound_is_below_the_mean_and_never_negative(tenths):
    values = np.array(tenths) / 10
    assert 0 <= mean_lower_bound(values) <= values.mean()


@pytest.mark.parametrize(("queries", "bound"), [(10, 0.67), (50, 0.925), (100, 0.96), (1000, 0.996)])
def test_no_miss_in_few_queries_does_not_prove_perfection(queries, bound):
    assert mean_lower_bound(np.ones(queries)) == pytest.approx(bound, abs=0.02)


def test_more_queries_and_less_confidence_bring_the_bound_nearer():
    rng = np.random.default_rng(0)
    values = rng.binomial(10, rng.beta(9.5, 0.5, 2000)) / 10
    bounds = [mean_lower_bound(values[:count]) for count in (50, 200, 2000)]
    assert bounds == sorted(bounds)
    assert values.mean() - bounds[-1] < 0.01
    assert mean_lower_bound(values, level=0.9) > mean_lower_bound(values, level=0.999)


@pytest.mark.parametrize("mean", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("alike", [1.0, 5.0, 50.0])
@pytest.mark.parametrize("queries", [50, 400])
def test_the_bound_covers_the_mean_of_beta_binomial_recalls(mean, alike, queries):
    # Misses come together in some queries: the smaller ``alike``, the more. The t interval misses 40 % of the time in
    # the hardest of these cases.
    rng = np.random.default_rng(0)
    chances = rng.beta(mean * alike, (1 - mean) * alike, (200, queries))
    too_high = sum(mean_lower_bound(recalls) > mean for recalls in rng.binomial(10, chances) / 10)
    assert too_high <= 11  # of 200; with 2.5 % each, more happens once in 100 such tests


@pytest.mark.parametrize("kind", STAGES)
def test_the_chosen_point_is_the_fastest_that_is_shown_to_meet_the_target(kind, material):
    vectors, queries = material
    tuning = tune(Stage.build(kind, vectors), vectors, queries, target=0.9)
    assert (tuning.kind, tuning.k, tuning.target, tuning.failed) == (kind, 10, 0.9, None)
    assert 200 <= tuning.queries < 300
    assert tuning.chosen in tuning.curve
    assert 0.9 <= tuning.chosen.ci_low <= tuning.chosen.recall
    speeds = [entry.qps for entry in tuning.curve]
    assert speeds == sorted(speeds, reverse=True)
    assert min(speeds) > 0
    assert min(entry.latency_ms for entry in tuning.curve) > 0


def test_stated_recalls_are_those_of_exact_search(material):
    vectors, queries = material
    stage = Stage.build("ivf-pq", vectors)
    tuning = tune(stage, vectors, queries, target=0.9)
    truth = exact_search(queries, vectors, 10)[0]
    found = approximate_search(stage, vectors, queries, 10, tuning.chosen.point)[0]
    assert recall_of(found, truth).mean() == pytest.approx(tuning.chosen.recall, abs=0.02)


def test_a_higher_level_lowers_the_bounds_and_no_recall(material):
    vectors, queries = material
    stage = Stage.build("binary", vectors)
    alone, one_of_three = (tune(stage, vectors, queries, level=level) for level in (0.975, 1 - 0.025 / 3))
    measured = [{entry.point: entry for entry in tuning.curve} for tuning in (alone, one_of_three)]
    common = measured[0].keys() & measured[1].keys()  # which points are worth measuring depends on their speed
    assert common
    for point in common:
        assert measured[0][point].recall == measured[1][point].recall
        assert measured[0][point].ci_low > measured[1][point].ci_low


def test_a_target_that_cannot_be_shown_chooses_nothing_and_says_so(material):
    vectors, queries = material
    stage = Stage.build("hnsw", vectors)
    for target, asked in ((1.0, queries), (0.95, queries[:30])):
        tuning = tune(stage, vectors, asked, target=target)
        assert (tuning.chosen, tuning.failed) == (None, "recall")
        assert tuning.curve


def test_a_limit_of_latency_that_none_meets_chooses_nothing_and_says_so(material):
    vectors, queries = material
    tuning = tune(Stage.build("hnsw", vectors), vectors, queries, target=0.9, latency_ms=1e-9)
    assert (tuning.chosen, tuning.failed) == (None, "latency")


def test_points_beyond_the_first_failure_do_not_pass_whatever_their_bound():
    chain = [Measured(Point(effort, 1), low, low, 1.0, 1.0) for effort, low in ((1, 0.97), (2, 0.9), (3, 0.96))]
    assert [entry.point.effort for entry in _passing(chain, 0.95)] == [3]


def test_more_hits_than_vectors_can_be_asked_for():
    rng = np.random.default_rng(0)
    vectors, queries = unit(rng, 40), unit(rng, 300)
    tuning = tune(Stage.build("hnsw-sq8", vectors), vectors, queries, k=50, target=0.9)
    assert tuning.chosen.recall == 1.0


def test_a_tuning_goes_through_json_and_back(material):
    vectors, queries = material
    stage = Stage.build("truncated", vectors)
    for tuning in (tune(stage, vectors, queries, target=0.5), tune(stage, vectors, queries[:20], target=0.99)):
        assert Tuning.from_dict(json.loads(json.dumps(tuning.as_dict()))) == tuning


def test_too_few_queries_are_refused(material):
    vectors, queries = material
    with pytest.raises(DataError, match="9 queries are too few to tune on"):
        tune(Stage.build("binary", vectors), vectors, queries[:9])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hnsw-sq8", "ivf-pq"])
def test_the_target_is_met_on_other_queries_in_19_of_20_builds(kind):
    met = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        vectors, queries, others = unit(rng, 10_000, 64), unit(rng, 600, 64), unit(rng, 2000, 64)
        stage = Stage.build(kind, vectors, seed=seed)
        tuning = tune(stage, vectors, queries, seed=seed)
        found = approximate_search(stage, vectors, others, 10, tuning.chosen.point)[0]
        met += recall_of(found, exact_search(others, vectors, 10)[0]).mean() >= 0.95
    assert met >= 19
