"""A model that prefers short documents is found out, and one that does not is not accused."""

import numpy as np
import pytest
from error_cases import data_of, evaluation_of

from embedft.evaluation.errors import retrieval_errors

COUNT = 100


def world(seed=0):
    """Each query has one relevant document of 5 to 200 words; a third of them come first."""
    random = np.random.default_rng(seed)
    sizes = random.integers(5, 200, COUNT)
    data = data_of(["word " * size for size in sizes], [f"query {row}" for row in range(COUNT)],
                   [(row, row, 1) for row in range(COUNT)])  # fmt: skip
    scores = random.normal(size=(COUNT, COUNT))
    scores[np.arange(0, COUNT, 3), np.arange(0, COUNT, 3)] += 20
    return data, scores, sizes


def test_a_planted_preference_for_short_documents_is_told():
    data, scores, sizes = world()
    short = retrieval_errors(evaluation_of(data, scores - sizes / 40), None, data)["length"]
    assert short["to_relevant"]["ci_high"] < 0.6
    assert short["to_all"]["ci_high"] < 0.6
    assert short["wrong"] < short["relevant"]
    assert "short documents are preferred" in short["reading"]
    long = retrieval_errors(evaluation_of(data, scores + sizes / 40), None, data)
    assert "long documents are preferred" in long["length"]["reading"]
    assert long["length"]["reading"] in long["reading"]


def test_random_mistakes_are_as_long_as_the_relevant_documents():
    data, scores, sizes = world()
    fair = retrieval_errors(evaluation_of(data, scores), None, data)["length"]
    wrong = np.flatnonzero(scores.argmax(1) != np.arange(COUNT))
    assert fair["queries"] == len(wrong)
    assert fair["to_relevant"]["ratio"] == pytest.approx(
        np.exp(np.log(sizes[scores.argmax(1)[wrong]] / sizes[wrong]).mean())
    )
    assert "no preference" in fair["reading"]


def test_relevant_documents_that_are_long_anyway_make_no_preference():
    data, _, sizes = world()
    long = np.argsort(-sizes)[:20]
    qrels = [(row, int(long[row % 20]), 1) for row in range(COUNT)]
    data = data_of(data.corpus["text"].to_pylist(), data.queries["text"].to_pylist(), qrels)
    fair = retrieval_errors(evaluation_of(data, np.random.default_rng(1).normal(size=(COUNT, COUNT))), None, data)[
        "length"
    ]
    assert fair["to_relevant"]["ci_high"] < 1
    assert "no preference" in fair["reading"]
