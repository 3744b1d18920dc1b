"""A document that comes up for everything is found; chance is not taken for one."""

import numpy as np
import pytest
from error_cases import document_id, evaluation_of, one_relevant_each
from scipy.stats import skew

from embedft.evaluation.errors.hubs import by_chance, hubs_of, hubs_reading, occurrences, skewness
from embedft.evaluation.errors.judged import Case

PLANTED = 7


def case_of(data, scores):
    return Case.of(evaluation_of(data, scores), None, data)


def test_a_planted_hub_is_the_first_with_the_queries_that_it_comes_up_for():
    data, scores = one_relevant_each(200, 300)
    scores[::2, PLANTED] += 6
    hubs = hubs_of(case_of(data, scores), 10)
    worst = hubs["top"][0]
    assert worst["id"] == document_id(PLANTED)
    assert worst["queries"] >= 100
    assert worst["relevant_to"] == 1
    assert hubs["skewness"] > 3 * hubs["by_chance"]
    assert document_id(PLANTED) in hubs_reading(hubs, 200)


def test_skewness_is_scipys_and_that_of_random_rankings_is_the_one_by_chance():
    counts = np.random.default_rng(0).poisson(2, 500)
    assert skewness(counts) == pytest.approx(skew(counts))
    data, _ = one_relevant_each(2000, 400)
    scores = np.random.default_rng(1).normal(size=(2000, 400))
    hubs = hubs_of(case_of(data, scores), 10)
    assert hubs["skewness"] == pytest.approx(by_chance(2000, 10, 400), abs=0.25)
    assert hubs_reading(hubs, 2000) is None


def test_a_document_that_is_relevant_wherever_it_comes_up_is_no_hub():
    data, scores = one_relevant_each(100, 20)
    scores[:] = -1
    scores[np.arange(100), np.arange(100) % 20] = 1
    hubs = hubs_of(case_of(data, scores), 1)
    assert hubs["top"] == []
    assert hubs["skewness"] is None


def test_occurrences_count_each_place_in_the_top_k_once():
    data, scores = one_relevant_each(50, 40)
    case = case_of(data, scores)
    counts, hits = occurrences(case.own, 40, 10)
    assert counts.sum() == 500
    assert hits.sum() == (case.own.grades[:, :10] > 0).sum()
