"""A ranking that only matches words is told as such, and one that knows better is not."""

import numpy as np
import pytest
from error_cases import data_of, evaluation_of

from embedft.evaluation import SimilarityEvaluation
from embedft.evaluation.errors import retrieval_errors, similarity_errors
from embedft.evaluation.errors.judged import Case
from embedft.evaluation.errors.overlap import Vocabulary, _of_first, _of_order, judged_shares

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
    assert judged_shares(case, Vocabulary(case, None)) == pytest.approx(held / 6)


def test_a_ranking_by_shared_words_is_said_to_match_words_alone():
    data, shared, _ = world()
    answer = retrieval_errors(evaluation_of(data, shared), None, data)["overlap"]
    assert answer["spearman"] > 0.5
    assert answer["ci_low"] > 0
    assert answer["order"]["mean"] > 0.75
    assert answer["order"]["ci_low"] > 0.75
    assert "hardly anything else" in answer["reading"]
    # Each query has one relevant document, so no right first document stands beside others.
    assert answer["first_wrong"]["beyond"]["mean"] is None
    assert "too few right ones" in answer["reading"]


def misleading(shared_by_right):
    """Two relevant documents a query, both with two of its six words, but one of the even queries with more.

    A decoy with five words comes before both for odd queries, one of the relevant for even ones.
    """
    documents, qrels = [], []
    for row in range(COUNT):
        words = [f"term{row}x{place}" for place in range(6)]
        more = shared_by_right if row % 2 == 0 else 2
        documents += [" ".join([*words[:count], f"own{row}"]) for count in (more, 2, 5)]
        qrels += [(row, 3 * row, 1), (row, 3 * row + 1, 1)]
    queries = [" ".join(f"term{row}x{place}" for place in range(6)) for row in range(COUNT)]
    scores = np.random.default_rng(0).random((COUNT, 3 * COUNT)) / 10
    for row in range(COUNT):
        scores[row, 3 * row : 3 * row + 3] = (3, 2, 1) if row % 2 == 0 else (2, 1, 3)
    data = data_of(documents, queries, qrels)
    return retrieval_errors(evaluation_of(data, scores), None, data)["overlap"]["first_wrong"]


def test_words_misled_only_where_wrong_first_documents_share_more_of_them_than_right_ones_do():
    first = misleading(2)
    assert (first["difference"], first["right"]["difference"]) == pytest.approx((0.5, 0))
    assert first["beyond"]["mean"] == pytest.approx(0.5)
    assert "there words misled" in first_sentence(first)
    as_any = misleading(5)
    assert (as_any["wrong"], as_any["difference"]) == pytest.approx((first["wrong"], first["difference"]))
    assert as_any["right"]["difference"] == pytest.approx(0.5)
    assert as_any["beyond"]["mean"] == pytest.approx(0)
    assert "not shown to be more than any first document does" in first_sentence(as_any)


def first_sentence(first):
    return _of_first(first)[0]


@pytest.mark.parametrize(
    ("ends", "told"),
    [((0.76, 0.9), "hardly anything else"), ((0.7, 0.9), "to 100 %."), ((0.45, 0.7), "not shown to follow words")],
)
def test_the_order_of_words_is_judged_by_its_interval_and_not_by_its_mean(ends, told):
    order = {"mean": 0.8, "ci_low": ends[0], "ci_high": ends[1], "queries": 40}
    sentence = _of_order(order)[0]
    assert told in sentence
    assert ("hardly" in sentence) == (ends[0] > 0.75)
    assert "80 % of cases" in sentence


def test_a_ranking_that_knows_the_answer_does_not_follow_words():
    data, shared, _ = world()
    scores = np.random.default_rng(1).normal(size=shared.shape)
    scores[np.arange(COUNT), np.arange(COUNT)] += 2.5
    answer = retrieval_errors(evaluation_of(data, scores), evaluation_of(data, shared), data)["overlap"]
    assert abs(answer["spearman"]) < 0.25
    assert answer["against"] > 0.5
    assert answer["order"]["mean"] == pytest.approx(0.5, abs=0.08)
    assert answer["order"]["against"] > 0.75
    assert "hardly anything else" not in answer["reading"]


def test_words_of_no_language_are_taken_as_they_are():
    data = data_of(["Die Häuser"] * 3, ["die häuser der stadt"] * 3, [(row, row, 1) for row in range(3)])
    case = Case.of(evaluation_of(data, np.eye(3)), None, data)
    assert judged_shares(case, Vocabulary(case, None)).tolist() == [0.5] * 3
    assert judged_shares(case, Vocabulary(case, "german")).tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("forms", "parts"),
    [(("die Spiele der Stadt", "die Spiel der Stadt"), 2), (("the games of the city", "the game of the city"), 0)],
)
def test_only_english_words_are_stemmed(forms, parts):
    """Stemmed, the two forms are the same words for all; as they are, half of the texts share fewer."""
    asked, other = forms
    documents = [other if row % 2 else asked for row in range(60)]
    data = data_of(documents, [asked] * 60, [(row, row, 1) for row in range(60)])
    slices = retrieval_errors(evaluation_of(data, np.eye(60)), None, data)["slices"]
    assert len([row for row in slices if row["by"].startswith("query words")]) == parts
    scores = np.arange(60) / 60
    pairs = [(asked, text) for text in documents]
    slices = similarity_errors(SimilarityEvaluation("own", "made", "test", ("spearman",), pairs, scores, scores), None)
    assert len([row for row in slices["slices"] if row["by"] == "words in common"]) == parts
