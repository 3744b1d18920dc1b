"""Scores of what an index finds, against those of the encoder without an index."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from embedft.encoder import Encoder
from embedft.errors import ConfigError, DataError
from embedft.evaluation import compare, evaluate_retrieval, evaluate_through
from embedft.index import Index

METRICS = ("recall@100", "ndcg@10", "mrr@3", "recall@1", "map@100", "precision@3")


@pytest.fixture(scope="module")
def exact(tmp_path_factory, garden_data, encoder):
    return Index.build(garden_data.corpus, encoder, tmp_path_factory.mktemp("through") / "exact")


@pytest.fixture(scope="module")
def rough(tmp_path_factory, garden_data, encoder):
    """An approximate index that is satisfied with half of the hits."""
    path = tmp_path_factory.mktemp("through") / "rough"
    return Index.build(garden_data.corpus, encoder, path, kind="binary", recall=0.3, k=3)


@pytest.fixture(scope="module")
def rough_words(tmp_path_factory, garden_data, encoder):
    """Such an index that keeps words of the same documents."""
    path = tmp_path_factory.mktemp("through") / "words"
    return Index.build(garden_data.corpus, encoder, path, kind="binary", recall=0.3, k=3)


def test_an_exact_index_scores_as_the_encoder_does_without_one(exact, garden_data, encoder):
    plain = evaluate_retrieval(encoder, garden_data, "test", metrics=METRICS)
    found = evaluate_through(exact, garden_data, "test", metrics=METRICS)
    assert list(found.per_query) == list(METRICS)
    for name, scores in plain.per_query.items():
        np.testing.assert_allclose(found.per_query[name], scores, atol=1e-6)
    assert (found.query_ids, found.split, found.data) == (plain.query_ids, plain.split, plain.data)
    np.testing.assert_array_equal(found.ranking.rows[:, :48], plain.ranking.rows)


def test_equal_documents_around_the_cut_are_ordered_by_their_ids(garden_data, encoder, tmp_path):
    # Each text 12 times, the judged one in the middle: which copies are among the first 10 is told by ids alone.
    rows = garden_data.corpus.slice(0, 6).to_pylist()
    corpus = [{**row, "id": f"{number:02}-{row['id']}"} for number in reversed(range(12)) for row in rows]
    qrels = [
        {"query_id": "q", "corpus_id": f"{number:02}-{row['id']}", "grade": 1} for number in (6, 9, 11) for row in rows
    ]
    data = dataclasses.replace(
        garden_data,
        corpus=pa.Table.from_pylist(corpus, schema=garden_data.corpus.schema),
        queries=pa.table({"id": ["q"], "text": [rows[0]["text"]], "metadata": pa.array([None], pa.string())}),
        qrels={"test": pa.Table.from_pylist(qrels, schema=garden_data.split("test").schema)},
    )
    index = Index.build(data.corpus, encoder, tmp_path / "idx")
    for metrics in (("ndcg@10", "recall@5"), ("recall@13",)):
        plain = evaluate_retrieval(encoder, data, metrics=metrics)
        assert evaluate_through(index, data, metrics=metrics).metrics == pytest.approx(plain.metrics, abs=1e-6)


def test_each_cut_off_is_searched_as_users_search_it(rough, garden_data):
    texts = garden_data.judged_queries("test")[1]
    found = evaluate_through(rough, garden_data, "test", metrics=("recall@3", "recall@100"))
    relevant = dict(zip(*garden_data.split("test").select(["query_id", "corpus_id"]).to_pydict().values(), strict=True))
    hits = rough.search(texts, 3)
    expected = [relevant[query] in {hit.id for hit in each} for query, each in zip(found.query_ids, hits, strict=True)]
    np.testing.assert_array_equal(found.per_query["recall@3"], expected)


def test_an_approximate_index_is_compared_with_exact_search_over_it(rough, exact, garden_data):
    through = evaluate_through(rough, garden_data, "test", metrics=METRICS)
    truth = evaluate_through(rough, garden_data, "test", metrics=METRICS, exact=True)
    assert truth.metrics == pytest.approx(
        evaluate_through(exact, garden_data, "test", metrics=METRICS).metrics, abs=1e-6
    )
    assert through.model.endswith("rough (binary)") and truth.model.endswith("rough (exact)")
    compared = compare(through, truth)
    assert compared["ndcg@10"].difference == pytest.approx(through.metrics["ndcg@10"] - truth.metrics["ndcg@10"])
    assert through.metrics["recall@1"] <= truth.metrics["recall@1"]


def test_hybrid_search_is_scored_as_it_ranks(exact, garden_data):
    found = evaluate_through(exact, garden_data, "test", metrics=("mrr@10",), hybrid=True)
    hits = exact.search(garden_data.judged_queries("test")[1], 10, hybrid=True)
    known = found.ranking.document_ids
    # Those that are fused to one score may stand in either order.
    for row, scores, each in zip(found.ranking.rows, found.ranking.scores, hits, strict=True):
        assert {known[place] for place in row} == {hit.id for hit in each}
        np.testing.assert_allclose(scores, [hit.fused for hit in each])
    assert "hybrid" in found.model


def test_hybrid_search_is_compared_with_hybrid_search_of_every_vector(exact, rough_words, garden_data):
    through, truth, plain = (
        evaluate_through(index, garden_data, "test", metrics=METRICS, hybrid=True, exact=every)
        for index, every in ((rough_words, False), (rough_words, True), (exact, True))
    )
    assert truth.metrics == pytest.approx(plain.metrics, abs=1e-6)
    assert truth.model.endswith("(hybrid, exact)") and through.model.endswith("(hybrid, binary)")


def test_queries_are_encoded_once_however_many_cut_offs_there_are(exact, garden_data, monkeypatch):
    encoded = []
    original = Encoder.encode_queries
    monkeypatch.setattr(
        Encoder, "encode_queries", lambda self, texts, **how: encoded.append(texts) or original(self, texts, **how)
    )
    for hybrid in (False, True):
        encoded.clear()
        evaluate_through(exact, garden_data, "test", metrics=METRICS, hybrid=hybrid)
        assert encoded == [garden_data.judged_queries("test")[1]]


def test_what_was_added_and_deleted_counts(garden_data, encoder, tmp_path):
    index = Index.build(garden_data.corpus.slice(0, 30), encoder, tmp_path / "idx")
    with pytest.raises(DataError, match=r"holds 30 documents; .* has 48"):
        evaluate_through(index, garden_data)
    index.add(garden_data.corpus.slice(20))
    plain = evaluate_retrieval(encoder, garden_data)
    assert evaluate_through(index, garden_data).metrics == pytest.approx(plain.metrics, abs=1e-6)
    index.delete([garden_data.corpus["id"][0].as_py()])
    index.add([{"id": "stranger", "text": text} for text in garden_data.judged_queries("test")[1][:1]])
    with pytest.raises(DataError, match="finds 'stranger', which is not there"):
        evaluate_through(index, garden_data)


def test_what_cannot_be_scored_is_refused(exact, garden_data):
    with pytest.raises(ConfigError, match="ndgc@10"):
        evaluate_through(exact, garden_data, metrics=("ndgc@10",))
    with pytest.raises(DataError, match="has no split 'tset'"):
        evaluate_through(exact, garden_data, "tset")
