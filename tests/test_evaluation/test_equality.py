"""On public data, with the bundled encoder, the figures equal those of SciPy and scikit-learn."""

import numpy as np
import pytest

from embedft.config import HeadConfig
from embedft.data import read_dataset
from embedft.evaluation import evaluate_classification, evaluate_similarity
from embedft.heads.fit import fit_logistic

# "precision" and "recall" are averages over the classes.
AVERAGES = {"macro_f1": "macro", "micro_f1": "micro", "weighted_f1": "weighted"}


@pytest.mark.slow
def test_correlations_on_stsb_equal_those_of_scipy(shared, encoder):
    from scipy.stats import pearsonr, spearmanr

    pairs = read_dataset(shared / "sts" / "stsb_en").splits["test"]
    evaluation = evaluate_similarity(encoder, pairs, data="stsb_en")
    # Cosines as anybody would compute them, not those that the evaluation kept.
    left, right = (encoder.encode_documents(pairs[side].to_pylist()) for side in ("sentence1", "sentence2"))
    cosines = (left.astype(np.float64) * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    scores = pairs["score"].to_numpy()
    assert evaluation.metrics["spearman"] == pytest.approx(spearmanr(cosines, scores).statistic, abs=1e-6)
    assert evaluation.metrics["pearson"] == pytest.approx(pearsonr(cosines, scores).statistic, abs=1e-6)
    assert evaluation.metrics["spearman"] == pytest.approx(spearmanr(evaluation.cosines, scores).statistic, abs=1e-9)


@pytest.mark.slow
def test_metrics_on_banking77_equal_those_of_scikit_learn(shared, encoder):
    from sklearn import metrics as peer

    splits = read_dataset(shared / "classification" / "banking77").splits
    # Every third: the file has one class after another.
    train, test = splits["train"].take(list(range(0, splits["train"].num_rows, 3))), splits["test"]
    labels = [tuple(row) for row in train["labels"].to_pylist()]
    vectors = encoder.encode_documents(train["text"].to_pylist())
    settings = HeadConfig(regularisation=1.0, calibrate=False)
    head = fit_logistic(vectors, labels, settings)
    names = ("accuracy", *AVERAGES, "precision", "recall")
    evaluation = evaluate_classification(encoder, head, test, data="banking77", metrics=names)
    gold = [row[0] for row in test["labels"].to_pylist()]
    said = [
        head.classes[row] for row in head.probabilities(encoder.encode_documents(test["text"].to_pylist())).argmax(1)
    ]
    assert evaluation.metrics["accuracy"] == pytest.approx(peer.accuracy_score(gold, said))
    for ours, average in AVERAGES.items():
        assert evaluation.metrics[ours] == pytest.approx(peer.f1_score(gold, said, average=average))
    assert evaluation.metrics["precision"] == pytest.approx(
        peer.precision_score(gold, said, average="macro", zero_division=0)
    )
    assert evaluation.metrics["recall"] == pytest.approx(peer.recall_score(gold, said, average="macro"))
    confusion = np.array(evaluation.confusion())
    np.testing.assert_array_equal(confusion, peer.confusion_matrix(gold, said, labels=list(head.classes)))
