"""Scored pairs: correlations are SciPy's, and a difference is real only where it is."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import pearsonr, spearmanr

from embedft.errors import ConfigError, DataError
from embedft.evaluation import evaluate_similarity
from embedft.evaluation.significance import steiger_p_value, williams_p_value
from embedft.evaluation.similarity import SimilarityEvaluation, pearson, spearman


def judged(cosines, scores, model="one"):
    texts = [(f"left {n}", f"right {n}") for n in range(len(scores))]
    return SimilarityEvaluation(model, "data", "test", ("spearman", "pearson"), texts, scores, cosines)


def noisy(scores, noise, seed):
    return scores + noise * np.random.default_rng(seed).standard_normal(len(scores))


SCORES = np.round(np.random.default_rng(7).random(300) * 5) / 5


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_those_of_scipy(seed):
    cosines = np.round(noisy(SCORES, 0.4, seed), 1)
    assert spearman(cosines, SCORES) == pytest.approx(spearmanr(cosines, SCORES).statistic, abs=1e-12)
    assert pearson(cosines, SCORES) == pytest.approx(pearsonr(cosines, SCORES).statistic, abs=1e-12)
    assert spearman(np.ones(300), SCORES) == 0


def test_intervals_hold_the_value_and_shrink_with_more_pairs():
    wide = judged(noisy(SCORES[:40], 0.4, 1), SCORES[:40]).intervals()
    evaluation = judged(noisy(SCORES, 0.4, 1), SCORES)
    for name, (low, high) in evaluation.intervals().items():
        assert low < evaluation.metrics[name] < high
        assert high - low < wide[name][1] - wide[name][0]


def test_a_better_model_is_better_and_a_twin_is_not():
    good, bad = judged(noisy(SCORES, 0.2, 1), SCORES), judged(noisy(SCORES, 0.6, 2), SCORES, "two")
    for name, value in good.compare(bad).items():
        assert value.verdict == "better", name
        assert value.p_value < 0.001
        assert value.ci_low < value.difference < value.ci_high
        assert value.wins > value.losses
    assert {value.verdict for value in bad.compare(good).values()} == {"worse"}
    # The same model on another scale of cosines is the same model.
    twin = dataclasses.replace(good, cosines=good.cosines * 0.1 + 0.8)
    for value in good.compare(twin).values():
        assert value.verdict == "no difference"
        assert value.difference == pytest.approx(0, abs=1e-12)
    assert good.compare(twin)["spearman"].ties == len(SCORES)


def test_tests_of_two_correlations_stand_beside_the_randomisation_test():
    good, bad = judged(noisy(SCORES, 0.3, 1), SCORES), judged(noisy(SCORES, 0.34, 2), SCORES, "two")
    for name, of in (("spearman", spearman), ("pearson", pearson)):
        found = good.compare(bad)[name]
        assert found.test == "paired randomisation" and found.tests[found.test] == found.p_value
        given = (
            *(float(of(each, SCORES)) for each in (good.cosines, bad.cosines)),
            float(of(good.cosines, bad.cosines)),
        )
        assert found.tests["Williams's t"] == williams_p_value(*given, 300)
        assert found.tests["Steiger's z"] == steiger_p_value(*given, 300)
        # Three ways to ask the same.
        assert max(found.tests.values()) - min(found.tests.values()) < 0.1
        # Normal approximation from the interval.
        assert found.detectable == pytest.approx(2.8 / 3.92 * (found.ci_high - found.ci_low), rel=0.05)


def test_three_pairs_are_compared_without_a_verdict():
    few = judged(np.array([0.9, 0.1, 0.5]), np.array([1.0, 0.0, 0.5]))
    found = few.compare(judged(np.array([0.1, 0.9, 0.4]), few.scores, "two"))["spearman"]
    assert found.verdict == "no difference" and set(found.tests) == {"paired randomisation"}
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_models_that_differ_by_chance_seldom_differ_by_verdict():
    found = []
    for seed in range(12):
        one, other = (judged(noisy(SCORES[:60], 0.4, 100 + 2 * seed + side), SCORES[:60]) for side in (0, 1))
        found.append(one.compare(other)["spearman"].verdict)
    assert found.count("no difference") >= 9


def test_an_encoder_is_scored_and_the_worst_pairs_are_named(encoder, tmp_path):
    table = pa.table(
        {
            "sentence1": [
                "a cat sits on a mat",
                "he plays the guitar",
                "the train is late",
                "water boils at 100 degrees",
            ],
            "sentence2": ["a cat is on the mat", "a man plays a guitar", "my soup is cold", "a cat sits on a mat"],
            "score": [1.0, 0.9, 1.0, 0.0],
        }
    )
    evaluation = evaluate_similarity(encoder, table, data="pairs")
    vectors = (
        encoder.encode_documents(table["sentence1"].to_pylist()),
        encoder.encode_documents(table["sentence2"].to_pylist()),
    )
    np.testing.assert_allclose(evaluation.cosines, (vectors[0] * vectors[1]).sum(1), atol=1e-5)
    assert evaluation.worst(1)[0]["sentence1"] == "the train is late"
    assert evaluation.worst(1)[0]["ranks_too_high"] < 0
    assert json.loads(json.dumps(evaluation.as_dict()))["pairs"] == 4
    evaluation.write_per_query(tmp_path / "p.parquet", evaluation)
    assert pq.read_table(tmp_path / "p.parquet").column_names == [
        "sentence1", "sentence2", "score", "cosine", "against:cosine",
    ]  # fmt: skip
    with pytest.raises(DataError, match="1 different scores"):
        evaluate_similarity(encoder, table.set_column(2, "score", pa.array([0.5] * 4)), data="pairs")
    with pytest.raises(ConfigError, match="no metric of scored pairs"):
        evaluate_similarity(encoder, table, data="pairs", metrics=["ndcg@10"])
    with pytest.raises(DataError, match="other pairs"):
        evaluation.compare(judged(SCORES, SCORES))


def test_a_statistic_that_is_named_twice_counts_once():
    encoder = SimpleNamespace(
        name="own", fingerprint=None, encode_documents=lambda texts, show_progress: np.eye(6, dtype=np.float32)
    )
    pairs = pa.table({"sentence1": ["a", "b", "c"], "sentence2": ["d", "e", "f"], "score": [0.0, 0.5, 1.0]})
    found = evaluate_similarity(encoder, pairs, data="p", metrics=["pearson", "spearman", "pearson"])
    assert found.names == ("pearson", "spearman")
