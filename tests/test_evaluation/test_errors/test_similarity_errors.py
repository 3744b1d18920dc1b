"""Kinds of pairs that a model ranks too high are found where they were planted, and nowhere else."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from embedft.data.general import read_general
from embedft.errors import DataError
from embedft.evaluation import SimilarityEvaluation, evaluate_similarity
from embedft.evaluation.errors import similarity_errors
from embedft.evaluation.errors.pairs import OTHER, SAME, WITHOUT, PairFeatures, is_negated, numbers_in
from embedft.evaluation.errors.similarity import residuals_of

COUNT = 400


def world(seed=0, *, noise=0.15, negation=0.0, overlap=0.0):
    """Pairs of six words; a sixth has a negation in one text. Cosines are scores with noise and planted biases."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 11, COUNT) / 10
    negated = random.random(COUNT) < 1 / 6
    shared = random.integers(0, 7, COUNT)
    texts = []
    for row in range(COUNT):
        left = [f"left{row}x{place}" for place in range(6)]
        right = left[: shared[row]] + [f"right{row}x{place}" for place in range(6 - shared[row])]
        texts.append((" ".join(left), " ".join(right) + (" not" if negated[row] else "")))
    cosines = scores + random.normal(0, noise, COUNT) + negation * negated + overlap * (shared - 3) / 3
    return SimilarityEvaluation("own", "made", "test", ("spearman", "pearson"), texts, scores, cosines)


def checked(answer):
    return json.loads(json.dumps(answer, allow_nan=False))


def test_a_planted_bias_by_negation_is_told_and_its_pairs_stand_too_high():
    answer = checked(similarity_errors(world(negation=0.3), None))
    negation = answer["negation"]
    assert negation["ci_low"] > 0.05
    assert negation["reading"].startswith("The model overlooks negation")
    assert all("not" in pair["sentence2"] for pair in negation["examples"])
    of = {row["label"]: row for row in answer["bias"] if row["by"] == "negation"}
    assert of["in one of the texts"]["residual"] == pytest.approx(negation["residual"])
    assert of["in neither text"]["residual"] < 0


def test_a_planted_bias_by_shared_words_rises_with_them_and_is_told_first():
    answer = checked(similarity_errors(world(overlap=0.25), None))
    residuals = [row["residual"] for row in answer["bias"] if row["by"] == "words in common"]
    assert residuals == sorted(residuals)
    assert residuals[0] < -0.05 < 0.05 < residuals[-1]
    assert answer["reading"][0].startswith("Bias by words in common (p < 0.0002)")


def test_a_model_that_errs_at_random_has_no_bias_even_where_the_kinds_have_other_scores():
    # Negated pairs have low scores here; given the cosine they would look too high.
    fair = world(noise=0.3)
    negated = np.array([is_negated(right) for _, right in fair.texts])
    scores = np.where(negated, fair.scores * 0.4, fair.scores)
    fair = replace(fair, scores=scores, cosines=scores + (fair.cosines - fair.scores))
    answer = checked(similarity_errors(fair, None))
    assert answer["negation"]["ci_low"] < 0 < answer["negation"]["ci_high"]
    assert answer["reading"] == [answer["negation"]["reading"]]


def test_residuals_of_a_perfect_order_are_nothing_but_ties_and_sum_to_nothing():
    scores = np.repeat(np.arange(10) / 10, 10)
    assert np.abs(residuals_of(scores**3, scores)).max() == pytest.approx(0)
    found = residuals_of(np.random.default_rng(0).normal(size=100), scores)
    assert found.sum() == pytest.approx(0)
    assert found == pytest.approx(residuals_of(np.exp(np.random.default_rng(0).normal(size=100)), scores))


def test_the_score_of_a_slice_is_the_correlation_of_its_pairs():
    own = world()
    answer = checked(similarity_errors(own, replace(own, cosines=own.cosines[::-1].copy())))
    negated = np.array([is_negated(right) for _, right in own.texts])
    row = next(row for row in answer["slices"] if row["label"] == "in one of the texts")
    assert row["count"] == negated.sum()
    assert row["score"] == pytest.approx(spearmanr(own.cosines[negated], own.scores[negated]).statistic)
    assert row["against"] == pytest.approx(spearmanr(own.cosines[::-1][negated], own.scores[negated]).statistic)
    assert row["ci_low"] < row["score"] < row["ci_high"]
    assert row["difference_ci_low"] > 0


def test_a_slice_whose_pairs_have_one_score_has_none_and_says_why():
    own = world()
    negated = np.array([is_negated(right) for _, right in own.texts])
    answer = checked(similarity_errors(replace(own, scores=np.where(negated, 0.5, own.scores)), None))
    row = next(row for row in answer["slices"] if row["label"] == "in one of the texts")
    assert (row["score"], row["why"]) == (None, "all pairs have one score")


def test_identical_models_do_not_differ():
    own = world()
    answer = checked(similarity_errors(own, own))
    assert {row["difference"] for row in answer["slices"]} == {0.0}
    assert all(row["residual"] == row["against"] for row in answer["bias"])
    assert all(row["ranks_too_high"] == row["against_ranks_too_high"] for row in answer["worst"])


def test_a_pair_that_stands_twice_has_the_other_models_rank_of_its_own_row():
    own = world()
    texts = [own.texts[0], own.texts[0], *own.texts[2:]]
    twice = replace(own, texts=texts, scores=np.concatenate([[0.0, 1.0], own.scores[2:]]))
    worst = similarity_errors(twice, twice)["worst"]
    assert sum((one["sentence1"], one["sentence2"]) == texts[0] for one in worst) == 2
    assert all(one["ranks_too_high"] == one["against_ranks_too_high"] for one in worst)
    expected = twice.worst(20)
    assert [one["ranks_too_high"] for one in worst] == [one["ranks_too_high"] for one in expected]
    assert [one["sentence1"] for one in worst] == [one["sentence1"] for one in expected]


def test_few_pairs_and_empty_texts_are_said_and_other_pairs_refused():
    own = world()
    few = replace(own, texts=[("", ""), ("a", ""), ("not", "b")], scores=own.scores[:3], cosines=own.cosines[:3])
    answer = checked(similarity_errors(few, None))
    assert answer["slices"] == answer["bias"] == []
    assert len(answer["left_out"]) == 5
    assert "too few pairs" in answer["negation"]["reading"]
    with pytest.raises(DataError, match="other pairs"):
        similarity_errors(own, few)


def test_features_of_pairs():
    assert [is_negated(text) for text in ("I don't", "I don’t", "no way", "note nothingness", "a knot")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert numbers_in("two of 3.5 or 1,000 men") == {"2", "3.5", "1,000"}
    pairs = PairFeatures([("2 men", "two men"), ("2 men", "3 men"), ("men", "men")], "english")
    assert pairs.numbers == [SAME, OTHER, WITHOUT]
    assert pairs.overlap == pytest.approx([1 / 3, 1 / 3, 1])


def test_the_general_pairs_are_analysed_with_the_bundled_encoder(encoder):
    own = evaluate_similarity(encoder, read_general(), data="general")
    answer = checked(similarity_errors(own, None))
    assert answer["score"] == pytest.approx(own.metrics["spearman"])
    # Half of the set are near-misses that share most words.
    assert answer["reading"][0].startswith("Bias by words in common")
