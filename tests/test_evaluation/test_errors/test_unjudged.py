"""Holes in the judgments: their share, whom they favour, and the score without them."""

import numpy as np
import pytest
from error_cases import data_of, evaluation_of

from embedft.evaluation.errors import retrieval_errors


def world(irrelevant=True):
    """40 queries: document 0 is relevant, 1 to 10 are judged irrelevant, 11 to 29 are not judged."""
    qrels = [(query, 0, 1) for query in range(40)]
    if irrelevant:
        qrels += [(query, document, 0) for query in range(40) for document in range(1, 11)]
    data = data_of([f"text {row}" for row in range(30)], [f"query {row}" for row in range(40)], qrels)
    judged = np.tile(-np.arange(30.0), (40, 1))
    return data, judged


def test_the_share_of_unjudged_documents_and_whom_it_favours():
    data, judged = world()
    holes = judged.copy()
    holes[:, 11:16] += 100
    own, against = evaluation_of(data, holes), evaluation_of(data, judged, model="other")
    answer = retrieval_errors(own, against, data)["unjudged"]
    assert (answer["share"], answer["against_share"], answer["difference"]) == (0.5, 0, 0.5)
    assert "The other model has fewer of them (0 %): the judgments may favour it." in answer["reading"]
    swapped = retrieval_errors(against, own, data)["unjudged"]
    assert "the judgments may favour this one" in swapped["reading"]


def test_without_its_unjudged_documents_a_ranking_scores_as_one_that_never_had_them():
    data, judged = world()
    holes = judged.copy()
    holes[:, 11:16] += 100
    own, against = evaluation_of(data, holes), evaluation_of(data, judged, model="other")
    assert own.metrics["ndcg@10"] < 0.5
    condensed = retrieval_errors(own, against, data)["unjudged"]["condensed"]
    assert (condensed["score"], condensed["against"]) == pytest.approx((1.0, 1.0))
    assert condensed["difference"] == condensed["ci_low"] == condensed["ci_high"] == 0
    assert "do not differ for certain, where with all of them" in condensed["reading"]


def test_models_that_change_places_without_unjudged_documents_are_told():
    data, judged = world()
    holes, worse = judged.copy(), judged.copy()
    holes[:, 11:16] += 100
    worse[:, 1:4] += 100
    own, against = evaluation_of(data, holes), evaluation_of(data, worse, model="other")
    assert own.metrics["ndcg@10"] < against.metrics["ndcg@10"]
    answer = retrieval_errors(own, against, data)
    assert "the other way round than with all" in answer["unjudged"]["condensed"]["reading"]
    assert answer["unjudged"]["condensed"]["reading"] in answer["reading"]


def test_a_difference_that_only_the_judged_documents_show_is_not_told_as_the_other_way_round():
    data, judged = world()
    holes, worse = judged.copy(), judged.copy()
    # With all documents this model loses more by half of the queries than the other by the rest, but not for certain.
    holes[:21, 11:14] += 100
    worse[21:, 1:4] += 100
    own, against = evaluation_of(data, holes), evaluation_of(data, worse, model="other")
    assert own.metrics["ndcg@10"] < against.metrics["ndcg@10"]
    condensed = retrieval_errors(own, against, data)["unjudged"]["condensed"]
    assert condensed["ci_low"] > 0
    assert "which differ, where with all of them" in condensed["reading"]
    assert "no difference is shown" in condensed["reading"]


def test_qrels_of_relevant_documents_alone_are_said_to_be_such():
    data, judged = world(irrelevant=False)
    answer = retrieval_errors(evaluation_of(data, judged), None, data)["unjudged"]
    assert answer["share"] == pytest.approx(0.9)
    assert answer["condensed"] is None
    assert "name relevant documents alone" in answer["reading"]
