"""Where a head goes wrong: planted label errors, classes taken for each other, absent classes, texts out of scope."""

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from embedft.errors import DataError
from embedft.evaluation import ClassificationEvaluation
from embedft.evaluation.classification import OutOfScope
from embedft.evaluation.errors import classification_errors
from embedft.evaluation.errors.suspects import doubted, thresholds

CLASSES = ("bill", "card", "loan", "rate")
COUNT = 240


def world(seed=0, *, several=False, count=COUNT, sure=4.0):
    """Texts of four classes and the probabilities of a head that is mostly right."""
    random = np.random.default_rng(seed)
    labels = np.eye(4, dtype=bool)[random.integers(0, 4, count)]
    if several:
        labels |= random.random(labels.shape) < 0.2
    logits = random.normal(size=labels.shape) + sure * (labels if not several else labels - 0.5)
    chances = 1 / (1 + np.exp(-logits)) if several else np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    texts = [f"text {row}" + " word" * (row % 9) for row in range(count)]
    return ClassificationEvaluation(
        "own", "made", "test", ("accuracy", "macro_f1"), CLASSES, several,
        texts, labels, chances, chances.max(1), 0.5, 0.1,
    )  # fmt: skip


def checked(answer):
    return json.loads(json.dumps(answer, allow_nan=False))


def flipped(own, rows):
    """Wrong labels, each of the next class, for these texts."""
    labels = own.labels.copy()
    labels[rows] = np.roll(labels[rows], 1, axis=1)
    return replace(own, labels=labels)


@pytest.mark.parametrize("seed", range(3))
def test_planted_label_errors_are_the_most_doubtful(seed):
    own = world(seed, sure=7.0)
    rows = np.random.default_rng(seed).choice(np.flatnonzero(own.correct), 12, replace=False)
    found, instead = doubted(flipped(own, rows).labels, own.probabilities, several=False)
    # A text less sure than its class on average is not doubted, whatever its label.
    assert np.isin(rows, found).mean() > 0.6
    assert np.isin(found, rows).mean() > 0.9
    planted = np.isin(found, rows)
    assert (own.labels[found[planted], instead[planted]]).mean() > 0.9


@pytest.mark.parametrize("gained", [True, False])
def test_planted_label_errors_of_several_classes_name_the_class_that_is_missing_or_too_many(gained):
    own = world(several=True, sure=8.0)
    labels = own.labels.copy()
    rows = np.flatnonzero(own.correct & (labels[:, 2] != gained) & labels[:, [0, 1, 3]].any(1))[:8]
    labels[rows, 2] = gained
    found, classes = doubted(labels, own.probabilities, several=True)
    assert np.isin(rows, found[classes == 2]).mean() > 0.6
    assert np.isin(found, rows).mean() > 0.7


@pytest.mark.parametrize("several", [False, True])
def test_a_doubt_counts_only_if_the_nearest_training_texts_share_it(several):
    own = world(several=several, sure=12.0)
    labels, chances = own.labels.copy(), own.probabilities.copy()
    alone = np.flatnonzero(own.correct & (labels.sum(1) == 1))
    planted, mistaken = alone[:10], alone[10:20]
    labels[planted] = np.roll(labels[planted], 1, axis=1)
    chances[mistaken] = np.roll(chances[mistaken], 1, axis=1)
    given = replace(own, labels=labels, probabilities=chances)
    # The training texts are labelled rightly, and each text is nearest to those of its own classes.
    vectors = own.labels + 0.01
    names = [[CLASSES[number] for number in np.flatnonzero(row)] for row in own.labels]
    trained = {"train_texts": own.texts, "train_labels": names, "train_vectors": vectors}
    told = [one["text"] for one in classification_errors(given, None)["label_errors"]]
    checked_by = classification_errors(given, None, **trained, vectors=vectors)
    seconded = {one["text"] for one in checked_by["label_errors"]}
    assert {own.texts[row] for row in mistaken} & set(told)
    assert {own.texts[row] for row in planted} & seconded
    assert not seconded - {own.texts[row] for row in planted}
    assert any("mistakes look the same" in sentence for sentence in checked_by["reading"])


def test_doubts_are_the_off_diagonal_of_cleanlabs_confident_joint():
    count = pytest.importorskip("cleanlab.count")
    own = flipped(world(3, sure=3.0), np.arange(0, COUNT, 9))
    given = own.labels.argmax(1)
    _, expected = count.compute_confident_joint(
        given, own.probabilities, return_indices_of_off_diagonals=True, calibrate=False
    )
    # cleanlab also counts texts of which the head says the same as the label, but less surely than of others.
    expected = [row for row in expected if own.probabilities[row].argmax() != given[row]]
    found, _ = doubted(own.labels, own.probabilities, several=False)
    assert sorted(found.tolist()) == sorted(expected)
    assert len(found) > 10


def test_a_class_of_which_the_head_is_never_sure_is_not_doubted_as_a_whole():
    random = np.random.default_rng(0)
    labels = np.eye(2, dtype=bool)[np.repeat([0, 1], 100)]
    # All are taken for class 0; its own texts with more certainty.
    first = np.concatenate([random.uniform(0.9, 1, 100), random.uniform(0.5, 0.7, 100)])
    chances = np.stack([first, 1 - first], 1)
    assert thresholds(labels, chances) == pytest.approx([first[:100].mean(), 1 - first[100:].mean()])
    assert len(doubted(labels, chances, several=False)[0]) == 0


def test_confusion_is_scikit_learns_and_the_worst_pair_comes_first_with_its_texts():
    own = world()
    rows = np.flatnonzero(own.labels[:, 1])[:20]
    chances = own.probabilities.copy()
    chances[rows] = [0.0, 0.1, 0.9, 0.0]
    own = replace(own, probabilities=chances)
    answer = checked(classification_errors(own, None))
    expected = confusion_matrix(own.labels.argmax(1), own.predicted.argmax(1), labels=range(4))
    assert answer["confusion"] == expected.tolist()
    worst = answer["confused"][0]
    assert (worst["label"], worst["predicted"], worst["texts"]) == ("card", "loan", expected[1, 2])
    assert worst["share"] == pytest.approx(expected[1, 2] / expected[1].sum())
    assert len(worst["examples"]) == 3
    assert set(worst["examples"]) <= {own.texts[row] for row in np.flatnonzero(own.labels[:, 1])}
    assert any("'card'" in sentence and "'loan'" in sentence for sentence in answer["reading"])


def test_slices_are_accuracies_and_called_so_whatever_the_metric_is():
    own = replace(world(sure=2.0), names=("nll", "accuracy"))
    labels = own.labels.copy()
    long = np.array([text.count("word") > 4 for text in own.texts])
    labels[long] = np.roll(labels[long], 1, axis=1)
    own = replace(own, labels=labels)
    answer = checked(classification_errors(own, None))
    assert (answer["metric"], answer["slice_metric"]) == ("nll", "accuracy")
    assert answer["score"] == pytest.approx(own.metrics["nll"])
    mean = sum(row["score"] * row["count"] for row in answer["slices"]) / COUNT
    assert mean == pytest.approx(own.metrics["accuracy"])
    assert any(sentence.startswith("The accuracy depends on text length") for sentence in answer["reading"])


def test_a_class_absent_from_the_split_is_said_and_has_no_score():
    own = world()
    kept = np.flatnonzero(~own.labels[:, 3])
    own = replace(
        own, texts=[own.texts[row] for row in kept], labels=own.labels[kept],
        probabilities=own.probabilities[kept], scores=own.scores[kept],
    )  # fmt: skip
    answer = checked(classification_errors(own, own))
    assert answer["absent"] == ["rate"]
    absent = answer["per_class"][-1]
    assert (absent["class"], absent["recall"], absent["f1"], absent["against_f1"]) == ("rate", None, None, None)
    assert any("1 class has no text in this split" in sentence for sentence in answer["reading"])


def test_mistakes_come_with_the_training_texts_nearest_to_them():
    own = world(sure=2.0)
    random = np.random.default_rng(1)
    train = random.normal(size=(50, 8))
    vectors = train[np.arange(COUNT) % 50] + random.normal(0, 0.01, (COUNT, 8))
    answer = checked(
        classification_errors(
            own, None, train_texts=[f"train {row}" for row in range(50)],
            train_labels=[[CLASSES[row % 4]] for row in range(50)],
            vectors=vectors, train_vectors=train * 3,
        )
    )  # fmt: skip
    assert answer["counts"]["mistakes"] == (~own.correct).sum()
    for mistake in answer["mistakes"]:
        nearest = mistake["nearest"][0]
        assert nearest["text"] == f"train {own.texts.index(mistake['text']) % 50}"
        assert nearest["cosine"] > 0.99
    chances = [mistake["probability"] for mistake in answer["mistakes"]]
    assert chances == sorted(chances, reverse=True)
    assert {row["by"] for row in answer["slices"]} >= {"text length"}


def test_accuracy_that_falls_far_from_the_training_texts_is_told():
    own = world(sure=6.0)
    random = np.random.default_rng(1)
    train = random.normal(size=(200, 16))
    far = ~own.correct | (random.random(COUNT) < 0.2)
    vectors = np.where(far[:, None], random.normal(size=(COUNT, 16)), train[random.integers(0, 200, COUNT)] + 0.05)
    wrong = own.probabilities.copy()
    wrong[far] = np.roll(wrong[far], 1, axis=1)
    answer = checked(
        classification_errors(
            replace(own, probabilities=wrong), None, train_texts=["train"] * 200, train_labels=[["card"]] * 200,
            vectors=vectors, train_vectors=train,
        )
    )  # fmt: skip
    assert any("depends on cosine with the nearest training text" in sentence for sentence in answer["reading"])


def test_texts_that_one_of_two_models_alone_got_right_are_lost_and_won():
    own, other = world(0, sure=2.0), world(0, sure=2.0)
    other = replace(other, probabilities=world(1, sure=2.0).probabilities)
    answer = checked(classification_errors(own, other))
    assert answer["counts"]["lost"] == (~own.correct & other.correct).sum()
    assert answer["counts"]["won"] == (own.correct & ~other.correct).sum()
    assert all(one["predicted"] != one["label"] == one["against"] for one in answer["lost"])
    same = checked(classification_errors(own, own))
    assert same["counts"]["lost"] == same["counts"]["won"] == 0
    with pytest.raises(DataError, match="other texts"):
        classification_errors(own, replace(own, texts=own.texts[::-1]))


def test_texts_out_of_scope_that_are_taken_for_a_class_and_texts_turned_away():
    own = world()
    outside = OutOfScope(
        ["far", "near"] * 20, [("oos",)] * 40, np.tile([0.1, 0.9], 20), np.tile([0.25, 0.25, 0.3, 0.2], (40, 1))
    )
    answer = checked(classification_errors(replace(own, out_of_scope=outside), None))["out_of_scope"]
    assert (answer["texts"], answer["taken"], answer["share"]) == (40, 20, 0.5)
    assert {one["text"] for one in answer["taken_texts"]} == {"near"}
    assert answer["taken_texts"][0]["predicted"] == "loan"
    assert answer["turned_away"] == (own.scores < 0.5).sum()
    trusting = replace(own, out_of_scope=outside, threshold=None)
    assert "turns nothing away" in checked(classification_errors(trusting, None))["out_of_scope"]["reading"]


def test_several_classes_a_text_have_no_matrix_but_all_else():
    own = world(several=True, sure=3.0)
    answer = checked(classification_errors(own, world(1, several=True) and own, train_labels=[["bill", "card"]] * 30))
    assert answer["confusion"] is None
    assert "several labels" in answer["confusion_why"]
    assert answer["mistakes"]
    assert any(", " in mistake["label"] for mistake in answer["mistakes"])


def test_three_texts_and_empty_ones_are_analysed():
    own = world(count=3)
    answer = checked(classification_errors(replace(own, texts=["", "", ""]), None))
    assert answer["slices"] == []
    assert "3 texts are too few" in answer["left_out"][0]


def test_many_classes_and_texts_stay_small():
    random = np.random.default_rng(0)
    count, classes = 1200, 300
    labels = np.eye(classes, dtype=bool)[random.integers(0, classes, count)]
    chances = random.dirichlet(np.full(classes, 0.1), count)
    own = replace(
        world(count=count), classes=tuple(f"class {row}" for row in range(classes)), labels=labels,
        probabilities=chances, texts=["long " * 1000] * count,
    )  # fmt: skip
    answer = classification_errors(own, None)
    assert answer["confusion"] is None
    assert "too many" in answer["confusion_why"]
    assert len(json.dumps(answer)) < 300_000


def test_the_neighbours_that_agree_are_counted_by_class_whatever_its_name():
    classes = ("Refunds, returns", "Payment")
    labels = np.eye(2, dtype=bool)[np.repeat([0, 1], 30)]
    chances = np.where(labels, 0.9, 0.1)
    given = labels.copy()
    given[0] = ~given[0]
    own = ClassificationEvaluation(
        "own", "made", "test", ("accuracy",), classes, False,
        [f"text {row}" for row in range(60)], given, chances, chances.max(1), None, 0.1,
    )  # fmt: skip
    names = [[classes[number]] for number in labels.argmax(1)]
    vectors = labels + 0.01
    answer = classification_errors(
        own, None, train_texts=own.texts, train_labels=names, train_vectors=vectors, vectors=vectors
    )
    [doubt] = answer["label_errors"]
    assert doubt["why"].endswith("; 5 of the 5 nearest training texts are 'Refunds, returns'")
