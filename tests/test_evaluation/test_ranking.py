"""A ranking holds numbers alone, orders ties by id, and judges each query as if it stood alone."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.errors import DataError
from embedft.evaluation import parse_metrics, rank, ranking_of_run, score_ranking
from embedft.evaluation.judgments import Judgments

METRICS = [f"{kind}@{k}" for kind in ("ndcg", "mrr", "recall", "precision", "map") for k in (1, 3, 5, 10, 100)]


def qrels_table(qrels):
    rows = [(query, document, grade) for query, grades in qrels.items() for document, grade in grades.items()]
    return pa.table([list(column) for column in zip(*rows, strict=True)], names=["query_id", "corpus_id", "grade"])


def random_case(seed, queries=6, documents=40, depth=15):
    """Runs and qrels with ties, with relevant documents that were not found and some that are not in the run at all."""
    rng = np.random.default_rng(seed)
    qrels, run = {}, {}
    for query in range(queries):
        names = [f"d{number}" for number in rng.permutation(documents)]
        found = names[: rng.integers(1, depth + 1)]
        run[f"q{query}"] = {name: float(rng.integers(0, 6)) for name in found}
        judged = rng.choice(names, 7, replace=False).tolist()
        qrels[f"q{query}"] = {name: int(rng.integers(0, 4)) for name in judged} | {"beyond": 1}
    return qrels, run


@pytest.mark.parametrize("seed", range(5))
def test_a_run_is_ordered_by_score_and_then_by_id(seed):
    _, run = random_case(seed)
    ranking = ranking_of_run(run)
    assert ranking.query_ids == list(run)
    assert ranking.document_ids == sorted({name for hits in run.values() for name in hits})
    for hits, rows, scores in zip(run.values(), ranking.rows, ranking.scores, strict=True):
        expected = sorted(hits, key=lambda name: (-hits[name], name))
        assert [ranking.document_ids[row] for row in rows if row >= 0] == expected
        assert scores[: len(hits)].tolist() == [hits[name] for name in expected]
        assert (rows[len(hits) :] == -1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_a_query_alone_scores_as_among_others_to_the_last_bit(seed):
    qrels, run = random_case(seed)
    together = score_ranking(ranking_of_run(run), qrels_table(qrels), METRICS)
    for row, query in enumerate(run):
        alone = score_ranking(ranking_of_run({query: run[query]}), qrels_table(qrels), METRICS)
        assert [scores[0] for scores in alone.values()] == [scores[row] for scores in together.values()]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_a_score_does_not_depend_on_the_other_cut_offs_to_the_last_bit(seed):
    qrels, run = random_case(seed)
    ranking = ranking_of_run(run)
    together = score_ranking(ranking, qrels_table(qrels), METRICS)
    for name in METRICS:
        np.testing.assert_array_equal(score_ranking(ranking, qrels_table(qrels), [name])[name], together[name])


def test_judgments_looked_up_once_serve_every_ranking_of_the_same_ids():
    rng = np.random.default_rng(0)
    documents, queries = [f"d{row}" for row in range(50)], ["a", "b", "c"]
    vectors = rng.normal(size=(53, 8)).astype(np.float32)
    qrels = qrels_table({query: {documents[row]: 2 for row in rng.integers(0, 50, 5)} for query in queries})
    rankings = [rank(queries, vectors[:3], documents, vectors[3:], depth) for depth in (5, 20)]
    judgments = Judgments.of(qrels, queries, rankings[0].document_ids)
    for ranking in rankings:
        for metric in parse_metrics(METRICS):
            np.testing.assert_array_equal(metric(ranking.judge(judgments)), metric(ranking.judge(qrels)))
    other = rank(queries, vectors[:3], documents[:-1], vectors[3:-1], 5)
    with pytest.raises(DataError, match="other queries or documents"):
        other.judge(judgments)


@pytest.mark.parametrize(("queries", "relevant"), [(3, 900), (2000, 30)])
def test_many_relevant_documents_are_found_each_at_its_rank(queries, relevant):
    """Hundreds for a query, and so many in all that some share a place in the look-up."""
    rng = np.random.default_rng(queries)
    documents = [f"d{number:04d}" for number in range(2000)]
    grades = []
    for _ in range(queries):
        chosen = rng.choice(2000, relevant, replace=False).tolist()
        grades.append(dict(zip(chosen, rng.integers(1, 9, relevant).tolist(), strict=True)))
    rows = np.stack([rng.choice(2000, 50, replace=False) for _ in range(queries)])
    names = [f"q{number}" for number in range(queries)]
    qrels = {
        query: {documents[row]: grade for row, grade in own.items()} for query, own in zip(names, grades, strict=True)
    }
    gains = Judgments.of(qrels_table(qrels), names, documents).judge(rows).gains
    assert gains.tolist() == [
        [own.get(row, 0) for row in found] for own, found in zip(grades, rows.tolist(), strict=True)
    ]


def test_the_grades_along_the_ranking_are_those_of_the_qrels():
    qrels = {"q": {"a": 3, "b": 0, "d": 1, "nowhere": 2}, "r": {"b": 2}}
    ranking = ranking_of_run({"q": {"a": 1.0, "b": 3.0, "c": 2.0}, "r": {"a": 1.0, "b": 2.0}})
    judged = ranking.judge(qrels_table(qrels))
    assert judged.gains.tolist() == [[0, 0, 3], [2, 0, 0]]
    assert judged.relevant.tolist() == [3, 1]


@pytest.mark.parametrize("copies", [3, 40])
def test_equal_documents_are_ordered_by_id_also_where_they_reach_beyond_the_cut(copies):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(60, 8)).astype(np.float32)
    vectors[10 : 10 + copies] = vectors[10]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"d{number:02d}" for number in rng.permutation(60)]
    ranking = rank(["q", "r"], vectors[[10, 0]], names, vectors, 2)
    expected = sorted(names[10 : 10 + copies])[:2]
    assert [ranking.document_ids[row] for row in ranking.rows[0]] == expected
    assert ranking.document_ids[ranking.rows[1, 0]] == names[0]


def test_documents_of_one_vector_are_ordered_by_id_in_little_memory():
    vectors = np.tile(np.random.default_rng(1).normal(size=8).astype(np.float32), (20_000, 1))
    names = [f"d{number:05d}" for number in np.random.default_rng(2).permutation(20_000)]
    tracemalloc.start()
    try:
        ranking = rank([str(number) for number in range(200)], vectors[:200], names, vectors, 10)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (ranking.rows == np.arange(10)).all()
    # Scores of all documents for all queries would be 16 MB, and their order 32 more.
    assert most < 8 << 20


def test_a_score_that_is_no_number_is_refused_and_named():
    with pytest.raises(DataError, match="query 'q': the score of document 'b' is NaN"):
        ranking_of_run({"p": {"a": 1.0}, "q": {"a": 1.0, "b": float("nan")}})


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("side", ["query", "document"])
def test_a_vector_that_is_not_finite_is_refused_and_named(side, value):
    vectors = {"query": np.eye(3, dtype=np.float32), "document": np.eye(3, dtype=np.float32)}
    vectors[side][1, 2] = value
    with pytest.raises(DataError, match=f"the vector of {side} '{side}1'"):
        rank(["query0", "query1", "query2"], vectors["query"],
             ["document0", "document1", "document2"], vectors["document"], 2)  # fmt: skip


def test_a_query_that_found_nothing_scores_0():
    qrels = {"q": {"a": 1}, "r": {"a": 1}}
    for run in ({"q": {}, "r": {"a": 1.0}}, {"q": {}, "r": {}}):
        scores = score_ranking(ranking_of_run(run), qrels_table(qrels), METRICS)
        for values in scores.values():
            assert values[0] == 0
            assert (values[1] > 0) == bool(run["r"])


def test_a_ranking_of_no_query_is_refused():
    with pytest.raises(DataError, match="no query to judge"):
        score_ranking(ranking_of_run({}), qrels_table({"q": {"a": 1}}), METRICS)


@pytest.mark.parametrize("queries", [3, 20_000])
def test_few_and_many_queries_are_judged_alike(queries):
    """Each query finds its one relevant document at a rank that its number tells."""
    depth, documents = 20, 1000
    rng = np.random.default_rng(0)
    ids = [f"d{number:04d}" for number in range(documents)]
    numbers = np.arange(queries)
    rows = (rng.integers(0, documents, (queries, 1)) + np.arange(depth)) % documents
    relevant = rows[numbers, numbers % depth]
    run = ranking_of_run({"q": {"d0000": 1.0}})
    ranking = type(run)([f"q{n}" for n in numbers], ids, rows, np.tile(np.arange(depth, 0.0, -1), (queries, 1)))
    qrels = pa.table({
        "query_id": ranking.query_ids, "corpus_id": [ids[row] for row in relevant], "grade": np.ones(queries, int),
    })  # fmt: skip
    scores = score_ranking(ranking, qrels, ["mrr@10", "ndcg@20", "recall@5", "precision@20"])
    ranks = numbers % depth
    np.testing.assert_array_equal(scores["mrr@10"], np.where(ranks < 10, 1 / (ranks + 1), 0))
    np.testing.assert_allclose(scores["ndcg@20"], 1 / np.log2(ranks + 2), rtol=1e-15)
    np.testing.assert_array_equal(scores["recall@5"], ranks < 5)
    np.testing.assert_array_equal(scores["precision@20"], 1 / 20)
