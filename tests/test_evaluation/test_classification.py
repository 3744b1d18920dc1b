"""The metrics of classification equal scikit-learn's; calibration and scope equal their definitions."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest
from sklearn import metrics as peer

from embedft.errors import ConfigError, DataError
from embedft.evaluation import check_class_metrics, compare, evaluate_classification
from embedft.evaluation.calibration import auroc, bins_of, expected_calibration_error, reliability, threshold_for
from embedft.evaluation.classification import ClassificationEvaluation, decided
from embedft.evaluation.tally import STATISTICS, tally
from embedft.heads import Head

CLASSES = ("apple", "pear", "plum", "quince")


def random_case(*, several=False, rows=200, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (rows, len(CLASSES)))
    if several:
        labels = rng.random((rows, len(CLASSES))) < 0.4
        return labels, 1 / (1 + np.exp(-logits - 2 * labels + 1))
    gold = rng.integers(0, len(CLASSES), rows)
    labels = np.eye(len(CLASSES), dtype=bool)[gold]
    logits[np.arange(rows), gold] += 2
    chances = np.exp(logits)
    return labels, chances / chances.sum(1, keepdims=True)


def evaluation(labels, chances, *, several=False, names=tuple(STATISTICS), **changes):
    fields = {
        "model": "ours", "data": "fruit", "split": "test", "names": names, "classes": CLASSES, "several": several,
        "texts": [f"text {row}" for row in range(len(labels))], "labels": labels, "probabilities": chances,
        "scores": chances.max(1), "threshold": None, "uncalibrated": 0.1,
    }  # fmt: skip
    return ClassificationEvaluation(**{**fields, **changes})


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_metrics_equal_those_of_scikit_learn(several, seed):
    labels, chances = random_case(several=several, seed=seed)
    found = evaluation(labels, chances, several=several).metrics
    gold = labels if several else labels.argmax(1)
    said = decided(chances, several) if several else chances.argmax(1)
    assert found["accuracy"] == pytest.approx(peer.accuracy_score(gold, said))
    for ours, average in (("macro_f1", "macro"), ("micro_f1", "micro"), ("weighted_f1", "weighted")):
        assert found[ours] == pytest.approx(peer.f1_score(gold, said, average=average))
    assert found["precision"] == pytest.approx(peer.precision_score(gold, said, average="macro"))
    assert found["recall"] == pytest.approx(peer.recall_score(gold, said, average="macro"))
    if not several:
        assert found["nll"] == pytest.approx(peer.log_loss(gold, chances))
        assert found["brier"] == pytest.approx(((chances - labels) ** 2).sum(1).mean())


def test_a_class_that_is_neither_labelled_nor_predicted_does_not_count():
    labels, chances = random_case()
    labels[:, 3], chances[:, 3] = False, 0
    kept = labels.any(1)
    labels, chances = labels[kept], chances[kept]
    found = evaluation(labels, chances, names=("macro_f1",)).metrics["macro_f1"]
    assert found == pytest.approx(peer.f1_score(labels.argmax(1), chances.argmax(1), average="macro"))


def without_quinces():
    """Labels (100, 4) of the first three classes, and the probabilities of a model that is always right."""
    labels = np.eye(4, dtype=bool)[np.arange(100) % 3]
    return labels, 0.9 * labels + 0.025


def test_a_text_taken_for_an_absent_class_costs_no_more_than_another_error():
    labels, chances = without_quinces()
    absent, present = chances.copy(), chances.copy()
    absent[0], present[0] = [0.1, 0, 0, 0.9], [0.1, 0.9, 0, 0]
    names = ("macro_f1", "precision", "recall")
    one, two = evaluation(labels, absent, names=names), evaluation(labels, present, names=names)
    gold, said, judged = labels.argmax(1), absent.argmax(1), [0, 1, 2]
    assert one.metrics["macro_f1"] == pytest.approx(peer.f1_score(gold, said, average="macro", labels=judged))
    assert one.metrics["precision"] == pytest.approx(peer.precision_score(gold, said, average="macro", labels=judged))
    assert one.metrics["recall"] == pytest.approx(peer.recall_score(gold, said, average="macro", labels=judged))
    found = one.compare(two)
    assert {value.verdict for value in found.values()} == {"no difference"}
    assert all(abs(value.difference) < 0.01 for value in found.values())
    low, high = one.intervals()["macro_f1"]
    assert 0.97 < low < high <= 1


def test_the_classes_that_macro_metrics_are_means_over_are_said():
    labels, chances = without_quinces()
    few = np.r_[np.flatnonzero(labels[:, 0])[:5], np.flatnonzero(~labels[:, 0])]
    one = evaluation(labels[few], chances[few])
    said = one.as_dict()["macro"]
    assert (said["classes"], said["absent"], said["small"]) == (3, ["quince"], ["apple"])
    assert "not over 'quince'." in said["reading"] and "Fewer than 10 texts: 'apple'." in said["reading"]
    absent = one.per_class()[-1]
    assert (absent["class"], absent["precision"], absent["recall"], absent["f1"]) == ("quince", None, None, None)
    whole = evaluation(*random_case()).macro()
    assert (whole["absent"], whole["small"]) == ([], []) and "not over" not in whole["reading"]


def test_a_class_of_five_texts_makes_no_interval_that_its_test_would_not_bear_out():
    """The faults of both are the same but for five texts of one class, which one of them alone gets right."""
    labels = np.eye(4, dtype=bool)[np.r_[np.zeros(5, int), 1 + np.arange(195) % 3]]
    right = 0.9 * labels + 0.025
    wrong = right.copy()
    wrong[:5] = [0.1, 0.7, 0.1, 0.1]
    found = evaluation(labels, wrong).compare(evaluation(labels, right))["recall"]
    assert found.difference == pytest.approx(-1 / 4)
    assert found.p_value > 0.05 and found.verdict == "no difference"
    assert found.ci_low < -0.4 and found.ci_high > -0.1
    assert found.detectable > 0.25


def test_the_table_of_classes_and_the_confusion_equal_those_of_scikit_learn():
    labels, chances = random_case()
    one = evaluation(labels, chances)
    gold, said = labels.argmax(1), chances.argmax(1)
    assert np.array_equal(one.confusion(), peer.confusion_matrix(gold, said))
    table = peer.classification_report(gold, said, target_names=CLASSES, output_dict=True)
    rows = one.per_class()
    assert [row["f1"] for row in rows] == sorted(row["f1"] for row in rows)
    for row in rows:
        own = table[row["class"]]
        assert row["precision"] == pytest.approx(own["precision"])
        assert row["recall"] == pytest.approx(own["recall"])
        assert (row["f1"], row["texts"]) == (pytest.approx(own["f1-score"]), own["support"])
    worst = one.confused()[0]
    off = one.confusion() - np.diag(np.diag(one.confusion()))
    assert worst["texts"] == off.max()


def test_calibration_error_is_that_of_guo():
    rng = np.random.default_rng(0)
    confidence = rng.random(500)
    correct = rng.random(500) < confidence**2
    total = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        if inside.any():
            total += inside.sum() / 500 * abs(correct[inside].mean() - confidence[inside].mean())
    assert expected_calibration_error(confidence, correct) == pytest.approx(total)
    assert sum(bar["count"] for bar in reliability(confidence, correct)) == 500
    assert bins_of(np.array([0.0, 1 / 15, 1.0])).tolist() == [0, 0, 14]


def test_a_model_that_is_as_often_right_as_it_says_has_no_calibration_error():
    confidence = np.full(10, 0.8)
    assert expected_calibration_error(confidence, np.arange(10) < 8) == pytest.approx(0)


def test_auroc_equals_that_of_scikit_learn_with_ties():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 5, 100).astype(float), rng.random(100) < 0.4
    assert auroc(scores, positive) == pytest.approx(peer.roc_auc_score(positive, scores))
    assert np.isnan(auroc(scores, np.ones(100, bool)))


@pytest.mark.parametrize("share", [0.5, 0.95, 1.0])
def test_a_threshold_lets_its_share_pass_and_no_more_than_it_must(share):
    scores = np.random.default_rng(0).normal(size=200)
    kept = (scores >= threshold_for(scores, share)).mean()
    assert share <= kept < share + 1 / 200 + 1e-9


@pytest.mark.parametrize("several", [False, True])
def test_weighted_sums_are_those_of_the_repeated_texts(several):
    labels, chances = random_case(several=several, rows=20)
    weights = np.random.default_rng(1).integers(0, 3, 20)
    weights[0] += 20 - weights.sum()
    assert weights.min() >= 0
    rows = np.repeat(np.arange(20), weights)
    whole = tally(labels, decided(chances, several), chances, several=several).sums(weights[None].astype(float))
    again = tally(labels[rows], decided(chances, several)[rows], chances[rows], several=several).sums()
    for name, of in STATISTICS.items():
        assert of(whole)[0] == pytest.approx(of(again)), name


def test_a_model_compared_with_itself_is_no_different_and_with_a_better_one_is_worse():
    labels, chances = random_case(rows=400)
    one = evaluation(labels, chances)
    same = one.compare(one)
    assert {value.verdict for value in same.values()} == {"no difference"}
    assert same["accuracy"].p_value == 1 and same["accuracy"].ties == 400
    better = evaluation(labels, 0.5 * chances + 0.5 * labels)
    found = one.compare(better)
    assert {name for name, value in found.items() if value.verdict == "worse"} >= {"accuracy", "macro_f1", "nll"}
    assert found["nll"].difference > 0 > found["accuracy"].difference
    low, high = one.intervals()["macro_f1"]
    assert low < one.metrics["macro_f1"] < high


def test_the_test_of_accuracy_is_that_of_mcnemar():
    from embedft.evaluation.comparison import compare_scores

    labels, chances = random_case(rows=300)
    other = np.roll(chances, 1, axis=0) * 0.3 + chances * 0.7
    one, two = evaluation(labels, chances), evaluation(labels, other)
    found = one.compare(two)["accuracy"]
    assert found.test == "McNemar, exact"
    assert found.p_value == pytest.approx(binomtest(found.wins, found.wins + found.losses).pvalue)
    # The paired randomisation test of significance tends to it.
    expected = compare_scores(one.correct.astype(float), two.correct.astype(float))
    assert found.difference == pytest.approx(expected.difference)
    assert found.p_value == pytest.approx(expected.p_value, abs=0.01)
    assert found.ci_low == pytest.approx(expected.ci_low, abs=0.005)
    assert (found.wins, found.losses, found.ties) == (expected.wins, expected.losses, expected.ties)


def test_other_metrics_keep_the_randomisation_test_and_say_what_could_be_seen():
    labels, chances = random_case(rows=300)
    other = np.roll(chances, 1, axis=0) * 0.3 + chances * 0.7
    found = evaluation(labels, chances).compare(evaluation(labels, other))
    assert {value.test for name, value in found.items() if name != "accuracy"} == {"paired randomisation"}
    # With one label a text, micro F1 is accuracy, judged in two ways.
    for field in ("difference", "effect_size", "detectable"):
        assert getattr(found["micro_f1"], field) == pytest.approx(getattr(found["accuracy"], field), rel=0.03)
    assert all(value.detectable > 0 for value in found.values())


def test_other_texts_or_classes_are_not_compared():
    labels, chances = random_case()
    one = evaluation(labels, chances)
    with pytest.raises(DataError, match="other texts or classes"):
        one.compare(evaluation(labels, chances, classes=CLASSES[::-1]))
    with pytest.raises(ConfigError, match="no metric of classification") as caught:
        check_class_metrics(["ndcg@10"])
    assert "macro_f1" in caught.value.hint


def test_texts_without_a_known_label_are_judged_as_out_of_scope(encoder, tmp_path, caplog):
    texts = ["the train is late", "rain all day", "the sun is out", "buy milk"]
    weight = encoder.encode_documents(["trains and railways", "the weather"])
    head = Head("logistic", ("trains", "weather"), False, ((10 * weight, np.zeros(2, np.float32)),), threshold=1e9)
    table = pa.table({"text": texts, "labels": [["trains"], ["weather"], ["weather"], ["shopping"]]})
    more = pa.table({"text": ["what is two and two"], "labels": [["oos"]]})
    found = evaluate_classification(encoder, head, table, data="small", out_of_scope=more)
    assert (found.count, found.metrics["accuracy"]) == (3, 1.0)
    assert found.metrics["oos_recall"] == 1.0 and 0 <= found.metrics["oos_auroc"] <= 1
    answer = json.loads(json.dumps(found.as_dict()))
    assert answer["out_of_scope"] == {"texts": 2, "threshold": 1e9, "in_scope_kept": 0.0}
    assert answer["confusion"]["matrix"] == [[1, 0], [0, 2]]
    found.write_per_query(tmp_path / "per_query.parquet", found)
    rows = pq.read_table(tmp_path / "per_query.parquet").to_pylist()
    assert [row["label"] for row in rows] == [["trains"], ["weather"], ["weather"], ["shopping"], ["oos"]]
    assert [row["correct"] for row in rows] == [True] * 5
    assert rows[0]["against:predicted"] == rows[0]["predicted"] == ["trains"]
    with pytest.raises(DataError, match="no text with a label"):
        evaluate_classification(encoder, head, more, data="small")


def test_a_metric_that_is_named_twice_is_tested_once():
    """Counted for each time it stands there, its p-value would be about 2."""
    vectors = np.eye(2, dtype=np.float32)
    encoder = SimpleNamespace(
        name="own", fingerprint=None, encode_documents=lambda texts, show_progress: vectors[[len(t) % 2 for t in texts]]
    )
    head = Head("logistic", ("even", "odd"), False, ((10 * vectors, np.zeros(2, np.float32)),))
    texts = pa.table({"text": ["a", "bb", "c", "dd"], "labels": [["odd"], ["even"], ["odd"], ["even"]]})
    names = ("accuracy", "macro_f1", "macro_f1", "ece")
    found = evaluate_classification(encoder, head, texts, data="small", metrics=names)
    assert found.names == ("accuracy", "macro_f1", "ece")
    assert {name: value.p_value for name, value in compare(found, found).items()} == dict.fromkeys(found.names, 1)


@pytest.mark.parametrize(("count", "drawn"), [(200, True), (201, False)])
def test_a_matrix_of_more_classes_than_anybody_reads_is_not_kept(count, drawn):
    labels = np.eye(count, dtype=bool)
    classes = tuple(f"class {number}" for number in range(count))
    kept = evaluation(labels, np.roll(0.9 * labels, 1, axis=1), classes=classes).confusion_dict()
    assert (kept["matrix"] is not None) == drawn
    assert len(kept["confused"]) == 10 and kept["classes"] == list(classes)
