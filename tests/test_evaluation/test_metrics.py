"""Metrics equal those of ranx and trec_eval, also where scores tie; one ranking serves every cut-off."""

import numpy as np
import pyarrow as pa
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from embedft.data import read_retrieval
from embedft.errors import ConfigError, DataError
from embedft.evaluation import parse_metrics, rank, ranking_of_run, score_ranking

METRICS = ["ndcg@10", "ndcg@100", "mrr@10", "recall@10", "recall@100", "precision@10", "map@10", "map@100"]
TREC = {"ndcg": "ndcg_cut_", "recall": "recall_", "precision": "P_", "map": "map_cut_"}


def table(qrels):
    rows = [(query, document, grade) for query, grades in qrels.items() for document, grade in grades.items()]
    return pa.table([list(column) for column in zip(*rows, strict=True)], names=["query_id", "corpus_id", "grade"])


def ours(qrels, run):
    return score_ranking(ranking_of_run(run), table(qrels), METRICS)


def by_trec_eval(qrels, run):
    """trec_eval's figures; its reciprocal rank has no cut-off, so it sees the first 10 alone."""
    names = {name: TREC.get(name.split("@")[0], "") + name.split("@")[1] for name in METRICS if "mrr" not in name}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, set(names.values()))
    found = evaluator.evaluate(run)
    answer = {name: np.array([found[query][trec] for query in run]) for name, trec in names.items()}
    first_ten = {
        query: dict(sorted(hits.items(), key=lambda hit: (hit[1], hit[0]), reverse=True)[:10])
        for query, hits in run.items()
    }
    ranks = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank"}).evaluate(first_ten)
    return {**answer, "mrr@10": np.array([ranks[query]["recip_rank"] for query in run])}


def by_ranx(qrels, run):
    from ranx import Qrels, Run, evaluate

    positive = {query: {doc: grade for doc, grade in grades.items() if grade > 0} for query, grades in qrels.items()}
    scores = evaluate(Qrels(positive), Run(run), METRICS, return_mean=False)
    order = np.argsort(np.argsort(np.array(list(run))))
    return {name: np.asarray(scores[name])[order] for name in METRICS}


def without_ties(run):
    """The run with scores that say our order outright: by score, then by document id ascending."""
    return {
        query: {
            document: float(len(hits) - place)
            for place, (document, _) in enumerate(sorted(hits.items(), key=lambda hit: (-hit[1], hit[0])))
        }
        for query, hits in run.items()
    }


def assert_equal(left, right):
    for name in METRICS:
        np.testing.assert_allclose(left[name], right[name], rtol=0, atol=1e-9, err_msg=name)


def random_run(seed):
    """Queries with graded judgments, unjudged and missing documents, and scores of which most tie."""
    rng = np.random.default_rng(seed)
    qrels, run = {}, {}
    for query in range(8):
        documents = [f"d{number}" for number in rng.permutation(300)]
        judged = documents[: rng.integers(1, 30)]
        grades = {document: int(rng.integers(0, 4)) for document in judged}
        grades[judged[0]] = 2
        retrieved = rng.choice(documents, size=rng.integers(100, 250), replace=False)
        qrels[f"q{query}"] = grades
        run[f"q{query}"] = {str(document): float(rng.integers(0, 12)) for document in retrieved}
    return qrels, run


# ranx compiles itself, half a minute the first time.
REFERENCES = [by_trec_eval, pytest.param(by_ranx, marks=pytest.mark.slow)]


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("seed", range(20))
def test_random_runs_with_ties_equal_trec_eval_and_ranx(seed, reference):
    qrels, run = random_run(seed)
    scores = ours(qrels, run)
    ordered = without_ties(run)
    assert_equal(scores, ours(qrels, ordered))
    assert_equal(scores, reference(qrels, ordered))


def test_trec_evals_own_order_of_ties_is_ours_with_ids_reversed():
    qrels, run = random_run(3)

    def renamed(mapping):
        """Ids whose ascending order is the descending order of the old ones."""
        ids = sorted({document for hits in [*qrels.values(), *run.values()] for document in hits}, reverse=True)
        new = {document: f"{place:04d}" for place, document in enumerate(ids)}
        return {query: {new[document]: value for document, value in hits.items()} for query, hits in mapping.items()}

    assert_equal(ours(renamed(qrels), renamed(run)), by_trec_eval(qrels, run))


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("name", ["cranfield", "liveqa_med"])
def test_real_judgments_equal_trec_eval_and_ranx(shared, name, reference):
    data = read_retrieval(shared / "retrieval" / name)
    query_ids, texts = data.judged_queries("test")

    # Bags of hashed words: a cheap ranking with many ties, so that no encoder is needed here.
    def vectors(values):
        matrix = np.zeros((len(values), 512), dtype=np.float32)
        for row, value in enumerate(values):
            for word in value.lower().split():
                matrix[row, sum(word.encode()) % 512] += 1
        return matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)

    ids = data.corpus["id"].to_pylist()
    ranking = rank(query_ids, vectors(texts), ids, vectors(data.document_texts()), 100)
    scores = score_ranking(ranking, data.split("test"), METRICS)
    run = {
        query: {ranking.document_ids[document]: float(100 - place) for place, document in enumerate(row)}
        for query, row in zip(query_ids, ranking.rows, strict=True)
    }
    qrels = {query: {} for query in query_ids}
    for row in data.split("test").to_pylist():
        if row["query_id"] in qrels:
            qrels[row["query_id"]][row["corpus_id"]] = row["grade"]
    assert 0.01 < scores["ndcg@10"].mean() < 0.99
    assert_equal(scores, reference(qrels, run))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_scores_lie_between_0_and_1_and_grow_with_depth(seed):
    scores = ours(*random_run(seed))
    for values in scores.values():
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    assert (scores["recall@10"] <= scores["recall@100"] + 1e-12).all()


def test_the_ideal_order_scores_1():
    qrels = {"q": {"a": 3, "b": 2, "c": 1}}
    scores = ours(qrels, {"q": {"a": 0.9, "b": 0.8, "c": 0.7}})
    for name in ("ndcg@10", "mrr@10", "recall@10", "map@100"):
        assert scores[name] == pytest.approx(1)
    assert scores["precision@10"] == pytest.approx(0.3)


def test_equal_scores_are_ordered_by_document_id_whatever_the_order_of_the_corpus():
    vectors = np.ones((3, 4), dtype=np.float32) / 2
    for order in (["c", "a", "b"], ["b", "c", "a"]):
        ranking = rank(["q"], vectors[:1], order, vectors, 2)
        assert [ranking.document_ids[row] for row in ranking.rows[0]] == ["a", "b"]


def test_a_query_without_a_relevant_document_is_refused():
    with pytest.raises(DataError, match="'q' has no relevant document"):
        ours({"q": {"a": 0}}, {"q": {"a": 1.0}})


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "ndgc@10", "accuracy@1", "ndcg@ten", ""])
def test_an_unknown_metric_is_named_with_the_known_ones(name):
    with pytest.raises(ConfigError) as caught:
        parse_metrics([name])
    assert repr(name) in caught.value.message
    assert "ndcg@k" in caught.value.hint
