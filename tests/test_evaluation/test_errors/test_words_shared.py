"""A ranking that only matches words is told as such, and one that knows better is not."""

import numpy as np
import pytest
from error_cases import data_of, evaluation_of

from embedft.evaluation.errors import retrieval_errors
from embedft.evaluation.errors.judged import Case
from embedft.evaluation.errors.overlap import Vocabulary, relevant_shares

COUNT = 120


def world(seed=0):
    """Queries of six words; each relevant document holds some of them, and decoys hold them too."""
    random = np.random.default_rng(seed)
    asked = [[f"term{number}" for number in random.choice(400, 6, replace=False)] for _ in range(COUNT)]
    held = random.integers(0, 5, COUNT)
    documents = [[*asked[row][: held[row]], f"own{row}", f"fill{row % 9}"] for row in range(COUNT)]
    documents += [[f"term{number}" for number in random.choice(400, 40, replace=False)] for _ in range(COUNT)]
    data = data_of(
        [" ".join(words) for words in documents], [" ".join(words) for words in asked],
        [(row, row, 1) for row in range(COUNT)],
    )  # fmt: skip
    shared = np.array([[len(set(query) & set(words)) for words in documents] for query in asked], np.float64)
    return data, shared, held


def test_shares_are_counted_word_by_word():
    data, shared, held = world()
    case = Case.of(evaluation_of(data, shared), None, data)
    assert relevant_shares(case, Vocabulary(case, None)) == pytest.approx(held / 6)


def test_a_ranking_by_shared_words_is_said_to_match_words_alone():
    data, shared, _ = world()
    answer = retrieval_errors(evaluation_of(data, shared), None, data)["overlap"]
    assert answer["spearman"] > 0.5
    assert answer["ci_low"] > 0
    assert answer["order"]["mean"] > 0.75
    assert "hardly anything else" in answer["reading"]
    assert "there words misled" in answer["reading"]


def test_a_ranking_that_knows_the_answer_does_not_follow_words():
    data, shared, _ = world()
    scores = np.random.default_rng(1).normal(size=shared.shape)
    scores[np.arange(COUNT), np.arange(COUNT)] += 2.5
    answer = retrieval_errors(evaluation_of(data, scores), evaluation_of(data, shared), data)["overlap"]
    assert abs(answer["spearman"]) < 0.25
    assert answer["against"] > 0.5
    assert answer["order"]["mean"] == pytest.approx(0.5, abs=0.08)
    assert answer["order"]["against"] > 0.75
    assert "words decide little" in answer["reading"]


def test_words_of_no_language_are_taken_as_they_are():
    data = data_of(["Die Häuser"] * 3, ["die häuser der stadt"] * 3, [(row, row, 1) for row in range(3)])
    case = Case.of(evaluation_of(data, np.eye(3)), None, data)
    assert relevant_shares(case, Vocabulary(case, None)).tolist() == [0.5] * 3
    assert relevant_shares(case, Vocabulary(case, "german")).tolist() == [0.5] * 3
