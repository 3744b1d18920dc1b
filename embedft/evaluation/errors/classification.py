"""Where a classification score comes from: classes taken for each other, confidence, doubtful labels, mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError
from embedft.evaluation.classification import MOST_CLASSES, ClassificationEvaluation
from embedft.evaluation.errors.labelled import names_of, sureness, told
from embedft.evaluation.errors.neighbours import Neighbours
from embedft.evaluation.errors.outside import outside_of
from embedft.evaluation.errors.slices import Slicing, by_amount, counted, decimal, percent, sliced_means, telling
from embedft.evaluation.errors.suspects import label_errors
from embedft.evaluation.texts import shown
from embedft.index.lexical.words import surfaces

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
SHOWN_TEXTS = 20
SHOWN_MISTAKES = 50
SHOWN_CONFUSED = 20
SHOWN_EXAMPLES = 3
NAMED = 5
SLICE_METRIC = "accuracy"


def classification_errors(
    evaluation: ClassificationEvaluation,
    against: ClassificationEvaluation | None,
    *,
    train_texts: Sequence[str] | None = None,
    train_labels: Sequence[Sequence[str]] | None = None,
    vectors: npt.ArrayLike | None = None,
    train_vectors: npt.ArrayLike | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Where the scores of a head come from, as plain JSON of bounded size.

    Labels of a text that may have several are joined by commas; "none" stands for no label.

    Args:
        evaluation: of the model in question.
        against: of the other model on the same texts, or None.
        train_texts: what the head was fitted on, for the nearest training texts.
        train_labels: of these, for the sizes of the classes.
        vectors: of the texts in scope, (texts, dim), in the order of ``evaluation.texts``.
        train_vectors: of the training texts by the same encoder, (training texts, dim).
        seed: of the resamples.

    Returns:
        - ``task``, ``metric``, ``texts``, ``score``, ``against``, ``classes``
        - ``confusion``: texts by label (rows) and prediction, null with ``confusion_why`` if a text may have several or
          there are more than 200 classes; ``confused``: label, predicted, texts, share (of the texts with that label),
          examples
        - ``per_class``: as `ClassificationEvaluation.per_class` with against_f1, training_texts; of a class absent from
          the split recall and F1 are null, and ``absent`` names it
        - ``calibration``: ece, bins, confidence, accuracy
        - ``slices``: by, label, count, score, against, difference, with intervals; ``slice_metric``: accuracy whatever
          the metric is, since others are not means over texts; ``left_out``
        - ``counts`` of lost, won, mistakes, label_errors; ``lost``, ``won``: texts that one of the two models alone got
          right (text, label, predicted, against, probability)
        - ``label_errors``: text, label, predicted, probability, label_probability, nearest, why
        - ``mistakes``: text, label, predicted, probability, nearest (text, label, cosine; without vectors empty), the
          surest first
        - ``out_of_scope``: `outside.outside_of`, or null
        - ``reading``: what stands out, in sentences

    Raises:
        DataError: the two judged other texts or classes.
    """
    if against is not None and (against.texts != evaluation.texts or against.classes != evaluation.classes):
        raise DataError(
            f"{evaluation.model} was judged on other texts or classes than {against.model}.",
            hint="evaluate both on the same data and split.",
        )
    name = evaluation.names[0]
    sizes = Counter(label for row in train_labels for label in row) if train_labels is not None else None
    neighbours = Neighbours.of(train_texts, train_labels, train_vectors, vectors)
    correct = evaluation.correct.astype(np.float64)
    others = against.correct.astype(np.float64) if against is not None else None
    slicings = _slicings(evaluation, sizes, neighbours)
    doubts, suspects = label_errors(evaluation, neighbours)
    answer: dict[str, Any] = {
        "task": "classification",
        "metric": name,
        "texts": evaluation.count,
        "score": evaluation.metrics[name],
        "against": against.metrics.get(name) if against is not None else None,
        "classes": list(evaluation.classes),
        **_confusion(evaluation),
        **_per_class(evaluation, against, sizes),
        "calibration": _calibration(evaluation),
        "slices": sliced_means(slicings, correct, others, seed=seed),
        "slice_metric": SLICE_METRIC,
        "left_out": [one.why for one in slicings if one.why],
        **_told_apart(evaluation, against),
        "label_errors": suspects,
        "mistakes": _mistakes(evaluation, neighbours),
        "out_of_scope": outside_of(evaluation, seed=seed),
    }
    answer["counts"] |= {"mistakes": int((~evaluation.correct).sum()), "label_errors": doubts}
    answer["reading"] = _reading(answer, slicings, correct, others)
    return answer


def _slicings(
    evaluation: ClassificationEvaluation, sizes: Counter[str] | None, neighbours: Neighbours | None
) -> list[Slicing]:
    lengths = np.array([len(surfaces(text)) for text in evaluation.texts], np.float64)
    found = [by_amount("text length", lengths, "words", items="texts")]
    if sizes is not None:
        counts = np.array([sizes[name] for name in evaluation.classes], np.float64)
        # Of several classes the rarest is what a text is missed by.
        smallest = np.where(evaluation.labels, counts, np.inf).min(1)
        smallest[np.isinf(smallest)] = np.nan
        found.append(by_amount("training texts of the class", smallest, "texts", items="texts"))
    if neighbours is not None:
        closeness = neighbours.closeness()
        found.append(by_amount("cosine with the nearest training text", closeness, write=decimal, items="texts"))
    return found


def _confusion(evaluation: ClassificationEvaluation) -> dict[str, Any]:
    classes, why = len(evaluation.classes), None
    if evaluation.several:
        why = "a text may have several labels"
    elif classes > MOST_CLASSES:
        why = f"{classes} classes are too many for a matrix"
    matrix = evaluation.confusion() if why is None else None
    return {
        "confusion": matrix.tolist() if matrix is not None else None,
        "confusion_why": why,
        "confused": _confused(evaluation),
    }


def _confused(evaluation: ClassificationEvaluation) -> list[dict[str, Any]]:
    number_of = {name: number for number, name in enumerate(evaluation.classes)}
    labels, predicted = evaluation.labels, evaluation.predicted
    answer = []
    for pair in evaluation.confused(SHOWN_CONFUSED):
        label, taken = number_of[pair["label"]], number_of[pair["predicted"]]
        missed = labels[:, label] & ~predicted[:, label]
        rows = np.flatnonzero(missed & predicted[:, taken] & ~labels[:, taken])
        rows = rows[np.argsort(-evaluation.probabilities[rows, taken], kind="stable")][:SHOWN_EXAMPLES]
        share = pair["texts"] / int(labels[:, label].sum())
        answer.append({**pair, "share": share, "examples": [shown(evaluation.texts[row]) for row in rows.tolist()]})
    return answer


def _per_class(
    evaluation: ClassificationEvaluation, against: ClassificationEvaluation | None, sizes: Counter[str] | None
) -> dict[str, Any]:
    others = {row["class"]: row["f1"] for row in against.per_class()} if against is not None else {}
    rows = []
    for row in evaluation.per_class():
        kept = {**row, "against_f1": others.get(row["class"])}
        kept["training_texts"] = sizes[row["class"]] if sizes is not None else None
        if not row["texts"]:
            kept |= {"recall": None, "f1": None, "against_f1": None}
        if not row["predicted"]:
            kept["precision"] = None
        rows.append(kept)
    # Those without a score last.
    rows.sort(key=lambda row: row["f1"] is None)
    return {"per_class": rows, "absent": [row["class"] for row in rows if not row["texts"]]}


def _told_apart(evaluation: ClassificationEvaluation, against: ClassificationEvaluation | None) -> dict[str, Any]:
    if against is None:
        return {"counts": {"lost": 0, "won": 0}, "lost": [], "won": []}
    apart = {"lost": ~evaluation.correct & against.correct, "won": evaluation.correct & ~against.correct}
    surest = np.maximum(evaluation.probabilities.max(1), against.probabilities.max(1))
    examples = {}
    for kind, rows in apart.items():
        places = np.flatnonzero(rows)
        places = places[np.argsort(-surest[places], kind="stable")][:SHOWN_TEXTS]
        examples[kind] = [
            {**told(evaluation, row), "against": names_of(against, against.predicted[row])} for row in places.tolist()
        ]
    return {"counts": {kind: int(rows.sum()) for kind, rows in apart.items()}, **examples}


def _mistakes(evaluation: ClassificationEvaluation, neighbours: Neighbours | None) -> list[dict[str, Any]]:
    rows = np.flatnonzero(~evaluation.correct)
    rows = rows[np.argsort(-sureness(evaluation.probabilities, several=evaluation.several)[rows], kind="stable")][
        :SHOWN_MISTAKES
    ]
    nearest = neighbours.describe(rows) if neighbours is not None else [[] for _ in rows]
    return [{**told(evaluation, row), "nearest": found} for row, found in zip(rows.tolist(), nearest, strict=True)]


def _calibration(evaluation: ClassificationEvaluation) -> dict[str, Any]:
    answer = evaluation.calibration()
    total = sum(entry["count"] for entry in answer["bins"])
    for name in ("confidence", "accuracy"):
        answer[name] = sum(entry[name] * entry["count"] for entry in answer["bins"]) / total
    return answer


def _reading(answer: dict[str, Any], slicings: list[Slicing], correct: Floats, others: Floats | None) -> list[str]:
    counts = answer["counts"]
    found = [f"{counted(counts['mistakes'], 'text is', 'texts are')} decided wrongly, of {answer['texts']}."]
    if others is not None:
        found.append(
            f"{counted(counts['won'], 'text is', 'texts are')} right where the other model is wrong, "
            f"{counts['lost']} the reverse."
        )
    if answer["confused"]:
        worst = answer["confused"][0]
        found.append(
            f"The most frequent confusion: {counted(worst['texts'], 'text', 'texts')} of {worst['label']!r} "
            f"({percent(worst['share'])}), taken for {worst['predicted']!r}."
        )
    if answer["absent"]:
        named = ", ".join(map(repr, answer["absent"][:NAMED])) + (", ..." if len(answer["absent"]) > NAMED else "")
        found.append(
            f"{counted(len(answer['absent']), 'class has', 'classes have')} no text in this split and no score: "
            f"{named}."
        )
    calibration = answer["calibration"]
    found.append(
        f"Its decisions are right in {100 * calibration['accuracy']:.1f} %, and it is sure of them by "
        f"{100 * calibration['confidence']:.1f} % on average."
    )
    found += telling(slicings, answer["slices"], correct, "score", SLICE_METRIC)
    if others is not None:
        found += telling(slicings, answer["slices"], correct - others, "difference", SLICE_METRIC)
    if counts["label_errors"]:
        found.append(
            f"The model contradicts {counted(counts['label_errors'], 'label', 'labels')} of this split; its own sure "
            f"mistakes look the same, so read the texts."
        )
    return found + ([answer["out_of_scope"]["reading"]] if answer["out_of_scope"] else [])
