"""Fused rankings are their formulas' and ranx's, and the weight is as good as the one that ranx finds."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import DataError
from embedft.evaluation import Ranking, score_ranking
from embedft.index.lexical import rrf, tune_weight, weighted
from embedft.index.lexical.fusion import _ndcg


@pytest.fixture(scope="module")
def ranx():
    return pytest.importorskip("ranx")


def ranking(seed, queries=6, depth=8, documents=20, full=False):
    """Distinct documents for each query, fewer for some, with distinct falling scores."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.permutation(documents)[:depth] for _ in range(queries)]).astype(np.int64)
    scores = -np.sort(-rng.random((queries, depth)), axis=1).astype(np.float32)
    if not full:
        for query in range(queries):
            missing = depth - int(rng.integers(1, depth + 1))
            rows[query, depth - missing :] = -1
            scores[query, depth - missing :] = -np.inf
    return scores, rows


def run_of(ranx, scores, rows):
    return ranx.Run(
        {
            f"q{query}": {str(row): float(score) for score, row in zip(*found, strict=True) if row >= 0}
            for query, found in enumerate(zip(scores.tolist(), rows.tolist(), strict=True))
        }
    )


def scored(run):
    return {query: {int(row): score for row, score in hits.items()} for query, hits in run.to_dict().items()}


def as_scores(scores, rows):
    return {
        f"q{query}": {row: score for score, row in zip(*found, strict=True) if row >= 0}
        for query, found in enumerate(zip(scores.tolist(), rows.tolist(), strict=True))
    }


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for query, hits in ours.items():
        assert hits == pytest.approx(theirs[query], rel=1e-5, abs=1e-7)


# ranx compiles itself, half a minute the first time.
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_rrf_is_that_of_ranx(ranx, seed):
    rankings = [ranking(seed), ranking(seed + 100, depth=5), ranking(seed + 200)]
    theirs = ranx.fuse([run_of(ranx, *found) for found in rankings], method="rrf", params={"k": 60})
    assert_same(as_scores(*rrf([rows for _, rows in rankings])), scored(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_the_weighted_sum_is_that_of_ranx_after_min_max(ranx, seed):
    rankings = [ranking(seed), ranking(seed + 100, depth=5)]
    theirs = ranx.fuse(
        [run_of(ranx, *found) for found in rankings], norm="min-max", method="wsum", params={"weights": (0.3, 0.7)}
    )
    assert_same(as_scores(*weighted(rankings, [0.3, 0.7])), scored(theirs))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_the_tuned_weight_is_as_good_as_the_one_ranx_finds(ranx, seed):
    # Of all documents, so that hardly any score ties: ranx leaves the order of ties open.
    dense, lexical = ranking(seed, 12, 20, full=True), ranking(seed + 100, 12, 20, full=True)
    rng = np.random.default_rng(seed)
    grades = [{int(row): int(rng.integers(1, 4)) for row in rng.permutation(20)[:4]} for _ in range(12)]
    qrels = ranx.Qrels({f"q{query}": {str(row): grade for row, grade in of.items()} for query, of in enumerate(grades)})
    best = ranx.optimize_fusion(
        qrels, [run_of(ranx, *dense), run_of(ranx, *lexical)], norm="min-max", method="wsum", metric="ndcg@10"
    )
    weight = tune_weight(dense, lexical, grades)
    theirs = best["weights"]
    ours = _ndcg(weighted([dense, lexical], [weight, 1 - weight], depth=10)[1], grades)
    assert ours == pytest.approx(_ndcg(weighted([dense, lexical], theirs, depth=10)[1], grades), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_ndcg_that_weights_are_tuned_by_is_that_of_evaluations(seed):
    scores, rows = ranking(seed, 10, depth=10)
    rng = np.random.default_rng(seed)
    grades = [{int(row): int(rng.integers(0, 4)) for row in rng.permutation(20)[:5]} | {19: 1} for _ in range(10)]
    qrels = [(f"q{query}", f"{row:02}", grade) for query, of in enumerate(grades) for row, grade in of.items()]
    table = pa.table(dict(zip(["query_id", "corpus_id", "grade"], zip(*qrels, strict=True), strict=True)))
    judged = Ranking([f"q{query}" for query in range(10)], [f"{row:02}" for row in range(20)], rows, scores)
    assert _ndcg(rows, grades) == pytest.approx(score_ranking(judged, table, ["ndcg@10"])["ndcg@10"].mean())


def by_formula(rankings, shares):
    """For each query: document -> the sum of what each ranking gives to it."""
    fused = [{} for _ in rankings[0][1]]
    for (scores, rows), share in zip(rankings, shares, strict=True):
        for query, hits in enumerate(fused):
            found = [(row, float(score)) for row, score in zip(rows[query], scores[query], strict=True) if row >= 0]
            for rank, (row, score) in enumerate(found, start=1):
                hits[row] = hits.get(row, 0) + share(rank, score, [score for _, score in found])
    return {f"q{query}": hits for query, hits in enumerate(fused)}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 10, 60]))
def test_rrf_is_its_formula(seed, k):
    rankings = [ranking(seed), ranking(seed + 1, depth=3), ranking(seed + 2)]
    shares = [lambda rank, *_, weight=weight: weight / (k + rank) for weight in (1.0, 0.5, 2.0)]
    assert_same(as_scores(*rrf([rows for _, rows in rankings], [1.0, 0.5, 2.0], k)), by_formula(rankings, shares))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.3, 1.0]))
def test_the_weighted_sum_is_its_formula(seed, weight):
    def stretched(_, score, scores):
        return (score - min(scores)) / max(max(scores) - min(scores), 1e-9)

    rankings = [ranking(seed), ranking(seed + 1, depth=3)]
    shares = [lambda *found: weight * stretched(*found), lambda *found: (1 - weight) * stretched(*found)]
    assert_same(as_scores(*weighted(rankings, [weight, 1 - weight])), by_formula(rankings, shares))


@pytest.mark.parametrize(("good", "weight"), [("dense", 1.0), ("lexical", 0.0), ("both", 0.5)])
def test_the_ranking_that_is_right_gets_the_weight(good, weight):
    right = np.array([[1.0, 0.5]], np.float32), np.array([[9, 8]])
    wrong = np.array([[1.0, 0.5]], np.float32), np.array([[8, 9]])
    dense, lexical = (right if good in ("dense", "both") else wrong), (right if good in ("lexical", "both") else wrong)
    found = tune_weight(dense, lexical, [{9: 1}])
    assert found == weight if good == "both" else abs(found - weight) < 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_fused_rankings_fall_hold_each_document_once_and_are_cut_where_asked(seed, depth):
    rankings = [ranking(seed, 4), ranking(seed + 1, 4)]
    for fuse in (lambda **cut: rrf([rows for _, rows in rankings], **cut), lambda **cut: weighted(rankings, **cut)):
        scores, rows = fuse()
        for found, places, first, second in zip(scores, rows, rankings[0][1], rankings[1][1], strict=True):
            held = places[places >= 0].tolist()
            assert sorted(held) == sorted({*first.tolist(), *second.tolist()} - {-1})
            assert (np.diff(found[: len(held)]) <= 0).all()
            assert np.isneginf(found[len(held) :]).all()
        cut_scores, cut_rows = fuse(depth=depth)
        assert cut_rows.shape == (4, depth)
        np.testing.assert_array_equal(cut_rows, np.pad(rows, ((0, 0), (0, 6)), constant_values=-1)[:, :depth])
        np.testing.assert_array_equal(cut_scores[cut_rows < 0], -np.inf)


def test_equal_scores_stand_in_row_order():
    one, other = np.array([[5, 3]]), np.array([[3, 5]])
    assert rrf([one, other])[1].tolist() == [[3, 5]]


def test_a_weight_of_nothing_leaves_the_other_ranking():
    rankings = [ranking(0, full=True), ranking(1, full=True)]
    np.testing.assert_array_equal(weighted(rankings, [1, 0])[1][:, :7], rankings[0][1][:, :7])


def test_no_hits_anywhere_give_an_empty_ranking():
    nothing = np.full((2, 3), -np.inf, np.float32), np.full((2, 3), -1)
    assert rrf([nothing[1]])[1].shape == (2, 0)
    assert weighted([nothing, nothing], depth=2)[1].tolist() == [[-1, -1]] * 2
    assert rrf([np.empty((0, 3), np.int64)])[1].shape == (0, 0)


def test_what_does_not_fit_is_refused():
    scores, rows = ranking(0)
    with pytest.raises(DataError, match="no ranking"):
        rrf([])
    with pytest.raises(DataError, match="6, 2 queries"):
        rrf([rows, rows[:2]])
    with pytest.raises(DataError, match="1 weights for 2"):
        rrf([rows, rows], [1.0])
    with pytest.raises(DataError, match="scores are"):
        weighted([(scores[:, :2], rows)])
    with pytest.raises(DataError, match="no query has a relevant"):
        tune_weight((scores, rows), (scores, rows), [{}] * 6)
    with pytest.raises(DataError, match="2 queries have grades"):
        tune_weight((scores, rows), (scores, rows), [{1: 1}] * 2)
