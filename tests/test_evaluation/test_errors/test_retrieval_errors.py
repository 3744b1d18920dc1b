"""What a retrieval model lost, won and failed, and every odd case of a ranking."""

import json
from dataclasses import replace

import numpy as np
import pytest
from error_cases import data_of, document_id, evaluation_by_rows, evaluation_of, one_relevant_each, query_id

from embedft.errors import ConfigError, DataError
from embedft.evaluation import evaluate_retrieval
from embedft.evaluation.errors import retrieval_errors


def checked(answer):
    """The analysis, if it is plain JSON without NaN."""
    return json.loads(json.dumps(answer, allow_nan=False))


def errors_of(data, scores, others=None, **options):
    own = evaluation_of(data, scores)
    against = evaluation_of(data, others, model="other") if others is not None else None
    return checked(retrieval_errors(own, against, data, **options))


def test_a_query_that_lost_its_document_is_the_first_with_both_ranks_and_what_came_instead():
    data, scores = one_relevant_each(50, 60)
    others = scores.copy()
    others[4, 4] = 50
    scores[4] = -np.arange(60.0)
    scores[4, 4] = -30.5
    answer = errors_of(data, scores, others)
    lost = answer["lost"][0]
    assert (lost["query_id"], lost["score"], lost["against"]) == (query_id(4), 0, 1)
    assert [(one["id"], one["rank"], one["against_rank"]) for one in lost["relevant"]] == [(document_id(4), 31, 1)]
    assert [one["id"] for one in lost["instead"]] == [document_id(row) for row in (0, 1, 2, 3, 5)]
    assert [one["grade"] for one in lost["instead"]] == [None] * 5
    swapped = errors_of(data, others, scores)
    assert [one["query_id"] for one in swapped["won"]] == [one["query_id"] for one in answer["lost"]]
    assert "1 query scores higher than with the other model, 0 lower." in swapped["reading"]


def test_counts_and_scores_are_those_of_the_evaluation():
    data, scores = one_relevant_each(80, 90)
    others = np.random.default_rng(3).normal(size=scores.shape) + scores / 2
    own, against = evaluation_of(data, scores), evaluation_of(data, others)
    answer = checked(retrieval_errors(own, against, data, metric="mrr@10"))
    apart = own.per_query["mrr@10"] - against.per_query["mrr@10"]
    assert answer["counts"]["lost"] == (apart < 0).sum()
    assert answer["counts"]["won"] == (apart > 0).sum()
    assert answer["counts"]["failed"] == (own.per_query["mrr@10"] == 0).sum()
    assert answer["score"] == pytest.approx(own.metrics["mrr@10"])
    assert answer["against"] == pytest.approx(against.metrics["mrr@10"])
    assert all(one["score"] == 0 for one in answer["failed"])
    losses = [one["score"] - one["against"] for one in answer["lost"]]
    assert losses == sorted(losses)
    assert losses[0] == pytest.approx(apart.min())
    for one in answer["lost"] + answer["won"]:
        assert not {other["id"] for other in one["relevant"]} & {other["id"] for other in one["instead"]}


def test_what_is_judged_irrelevant_came_instead_with_its_grade_and_is_not_relevant():
    data, scores = one_relevant_each(40, 60)
    qrels = [(row, row, 2) for row in range(40)] + [(row, 59, 0) for row in range(40)]
    graded = data_of(data.corpus["text"].to_pylist(), data.queries["text"].to_pylist(), qrels)
    scores[0] = -np.arange(60.0)
    scores[0, [59, 0]] = 1, -30.5
    failed = errors_of(graded, scores)["failed"][0]
    assert (failed["query_id"], failed["relevant_count"]) == (query_id(0), 1)
    assert [(one["id"], one["grade"]) for one in failed["relevant"]] == [(document_id(0), 2)]
    assert [(one["id"], one["grade"]) for one in failed["instead"][:2]] == [
        (document_id(59), 0),
        (document_id(1), None),
    ]


def test_identical_systems_have_nothing_lost_or_won_and_no_difference():
    data, scores = one_relevant_each(90, 60)
    answer = errors_of(data, scores, scores)
    assert answer["lost"] == answer["won"] == []
    assert {row["difference"] for row in answer["slices"]} == {0.0}
    assert not any("difference to the other" in sentence for sentence in answer["reading"])


def test_without_another_model_its_places_are_empty():
    data, scores = one_relevant_each(60, 60)
    answer = errors_of(data, scores)
    assert answer["against"] is None
    assert answer["lost"] == answer["won"] == []
    assert {row["difference"] for row in answer["slices"]} == {None}
    assert answer["overlap"]["against"] is answer["unjudged"]["against_share"] is None


def test_three_queries_are_too_few_for_slices_and_intervals_and_that_is_said():
    data, scores = one_relevant_each(3, 5)
    answer = errors_of(data, scores, scores[:, ::-1])
    assert answer["slices"] == []
    assert len(answer["left_out"]) == 5
    assert answer["overlap"]["spearman"] is None
    assert "too little to tell" in answer["overlap"]["reading"]
    assert answer["unjudged"]["ci_low"] is None


def test_an_empty_list_of_results_fails_and_has_nothing_instead():
    data, scores = one_relevant_each(40, 30)
    own = evaluation_of(data, scores)
    rows, found = own.ranking.rows.copy(), own.ranking.scores.copy()
    rows[:2], found[:2] = -1, -np.inf
    own = evaluation_by_rows(data, rows, found, own.ranking.document_ids)
    answer = checked(retrieval_errors(own, None, data))
    first = answer["failed"][0]
    assert first["query_id"] == query_id(0)
    assert first["instead"] == []
    assert first["relevant"][0]["rank"] is None
    nothing = evaluation_by_rows(data, np.empty((40, 0), np.int64), np.empty((40, 0)), own.ranking.document_ids)
    answer = checked(retrieval_errors(nothing, own, data))
    assert answer["counts"]["failed"] == 40
    assert answer["to_label"] == []


def test_documents_beyond_the_corpus_in_qrels_and_rankings_are_named_without_text():
    data = data_of(["one", "two"], ["about one", "about two"], [(0, 0, 1), (0, "lost", 2), (1, "gone", 1)])
    rows = np.array([[0, 1, 2], [2, 1, 0]])
    own = evaluation_by_rows(data, rows, np.tile([3.0, 2, 1], (2, 1)), ["d00000", "d00001", "stray"])
    answer = checked(retrieval_errors(own, None, data))
    failed = answer["failed"][0]
    assert [(one["id"], one["text"], one["rank"]) for one in failed["relevant"]] == [("gone", "", None)]
    assert [one["id"] for one in failed["instead"]] == ["stray", "d00001", "d00000"]


def test_empty_texts_of_queries_and_documents_are_analysed():
    data = data_of([""] * 60, [""] * 60, [(row, row, 1) for row in range(60)])
    answer = errors_of(data, np.random.default_rng(0).normal(size=(60, 60)))
    assert answer["overlap"]["spearman"] is None
    assert answer["overlap"]["first_wrong"]["queries"] == 0


def test_a_field_of_the_documents_that_the_model_fails_on_is_found_and_told():
    data, scores = one_relevant_each(120, 120)
    fields = [{"source": "old" if row % 3 == 0 else "new"} for row in range(120)]
    marked = data_of(
        data.corpus["text"].to_pylist(), data.queries["text"].to_pylist(), [(row, row, 1) for row in range(120)],
        document_fields=fields,
    )  # fmt: skip
    scores[::3] = -scores[::3]
    answer = errors_of(marked, scores)
    of_source = {row["label"]: row for row in answer["slices"] if row["by"] == "document source"}
    assert of_source["old"]["count"] == 40
    assert of_source["old"]["ci_high"] < of_source["new"]["ci_low"]
    assert any("depends on document source" in sentence for sentence in answer["reading"])


def test_queries_that_begin_alike_and_fail_are_found_and_told():
    data, scores = one_relevant_each(120, 120)
    asked = [f"{'Who is' if row % 3 == 0 else 'where are'} subject{row}" for row in range(120)]
    opened = data_of(data.corpus["text"].to_pylist(), asked, [(row, row, 1) for row in range(120)])
    scores[::3] = -scores[::3]
    answer = errors_of(opened, scores)
    of = {row["label"]: row for row in answer["slices"] if row["by"] == "beginning of the query"}
    assert (of["who is"]["count"], of["where are"]["count"]) == (40, 80)
    assert any("beginning of the query" in sentence and "for 'who is'" in sentence for sentence in answer["reading"])


def test_another_metric_or_other_queries_are_refused():
    data, scores = one_relevant_each(30, 30)
    own = evaluation_of(data, scores)
    with pytest.raises(ConfigError, match="was not scored by map@5"):
        retrieval_errors(own, None, data, metric="map@5")
    few = replace(own, query_ids=own.query_ids[:-1])
    with pytest.raises(DataError, match="ranked different queries"):
        retrieval_errors(own, few, data)
    other = data_of(["a"] * 30, ["b"] * 30, [(0, 0, 1)])
    with pytest.raises(DataError, match="query 'q00001' has no relevant document in split 'test'"):
        retrieval_errors(own, None, other)
    foreign = replace(own, query_ids=[f"x{name}" for name in own.query_ids])
    with pytest.raises(DataError, match="has no query 'xq00000'"):
        retrieval_errors(foreign, None, data)


def test_a_report_of_many_queries_with_long_texts_stays_small():
    data, scores = one_relevant_each(3000, 400)
    long = data_of(
        [text + " filler" * 2000 for text in data.corpus["text"].to_pylist()],
        [text + " really" * 500 for text in data.queries["text"].to_pylist()],
        [(row, row % 400, 1) for row in range(3000)],
    )
    answer = retrieval_errors(evaluation_of(long, scores), evaluation_of(long, scores + 1e-3 * scores[::-1]), long)
    assert len(json.dumps(answer)) < 500_000


def test_the_garden_is_analysed_with_the_bundled_encoder(encoder, garden_data):
    own = evaluate_retrieval(encoder, garden_data, "test")
    answer = checked(retrieval_errors(own, None, garden_data))
    assert answer["queries"] == own.count
    assert answer["score"] == pytest.approx(own.metrics[answer["metric"]])
    ranked = {one["query_id"]: one for one in answer["failed"]}
    for name, one in ranked.items():
        assert own.per_query[answer["metric"]][own.query_ids.index(name)] == one["score"]
