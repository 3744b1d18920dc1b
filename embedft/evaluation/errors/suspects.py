"""Doubtful labels of a test split, by what a model says that has not seen the texts.

A text is doubted if another class is as probable for it as for the texts of that class on average: each class has a
threshold of its own, so that a class of which the model is never sure is not doubted as a whole.

Source: Northcutt et al. 2021, Confident Learning, arXiv:1911.00068, eq. 1 and 2; ranked by the normalised margin of
section 3.3. The model's own mistakes look the same, so where the vectors of the training texts are at hand the nearest
of these must say the same: more of them have the other class than the given one. (On banking77 with 3 % of the labels
exchanged, 30 % of the doubts are exchanged labels then instead of 25 for a head of 500 texts, 65 instead of 59 for one
of 4,000, and 67 to 70 % of the exchanged ones are found as before.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.classification import ClassificationEvaluation
from embedft.evaluation.errors.labelled import told
from embedft.evaluation.errors.neighbours import Neighbours

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
SHOWN_DOUBTS = 30


def label_errors(
    evaluation: ClassificationEvaluation, neighbours: Neighbours | None
) -> tuple[int, list[dict[str, Any]]]:
    """How many labels are doubted, by the nearest training texts too where these are given, and the 30 most doubtful.

    Keys: text, label, predicted, probability (of the class that would be right), label_probability, nearest (training
    texts, where their vectors are known), why.
    """
    rows, classes = doubted(evaluation.labels, evaluation.probabilities, several=evaluation.several)
    if neighbours is not None:
        kept = _seconded(evaluation, neighbours, rows, classes)
        rows, classes = rows[kept], classes[kept]
    first, about = rows[:SHOWN_DOUBTS], classes[:SHOWN_DOUBTS]
    nearest = neighbours.describe(first) if neighbours is not None else [[] for _ in first]
    near = neighbours.labels_near(first) if neighbours is not None else [[] for _ in first]
    answer = []
    for row, number, found, labels in zip(first.tolist(), about.tolist(), nearest, near, strict=True):
        chances = evaluation.probabilities[row]
        given = evaluation.labels[row]
        answer.append(
            {
                **told(evaluation, row),
                "probability": float(chances[number]),
                "label_probability": float(chances[given].min()) if given.any() else None,
                "nearest": found,
                "why": _why(evaluation, row, number, labels),
            }
        )
    return len(rows), answer


def _seconded(evaluation: ClassificationEvaluation, neighbours: Neighbours, rows: Rows, classes: Rows) -> Bools:
    """Which doubts the nearest training texts share, (k,).

    More of them have the class than any that was given; where a text has the class, less than half of them do.
    """
    held = neighbours.held(rows, evaluation.classes)  # (k, classes)
    given = evaluation.labels[rows]
    places = np.arange(len(rows))
    about = held[places, classes]
    if evaluation.several:
        return np.asarray(np.where(given[places, classes], about < 0.5, about > 0.5))
    return np.asarray(about > np.where(given, held, 0).max(1, initial=0))


def _why(evaluation: ClassificationEvaluation, row: int, number: int, near: Sequence[Sequence[str]]) -> str:
    name, chances, given = evaluation.classes[number], evaluation.probabilities[row], evaluation.labels[row]
    if given[number]:
        text = f"{name!r} has a probability of {chances[number]:.2f}"
    elif given.any():
        text = f"{name!r} has a probability of {chances[number]:.2f}, what it is labelled {chances[given].min():.2f}"
    else:
        text = f"{name!r} has a probability of {chances[number]:.2f}, and it has no label"
    if near:
        agree = sum(name in labels for labels in near)
        text += f"; {agree} of the {len(near)} nearest training texts are {name!r}"
    return text


def doubted(labels: Bools, probabilities: Floats, *, several: bool) -> tuple[Rows, Rows]:
    """The texts whose label is doubted, the most doubtful first, and the class that each is about, both (k,).

    That class is the one that would be right instead; of several classes the one that is missing or too many, and a
    text may stand there more than once.

    Args:
        labels: (n, classes), True for what was given.
        probabilities: (n, classes), of a model that has not seen the texts.
        several: whether a text may have several classes.
    """
    return _of_several(labels, probabilities) if several else _of_one(labels, probabilities)


def _of_one(labels: Bools, probabilities: Floats) -> tuple[Rows, Rows]:
    reached = probabilities >= thresholds(labels, probabilities)
    # Where more than one class reaches its threshold the most probable counts (the paper's collisions).
    best = np.where(reached, probabilities, -1.0).argmax(1)
    rows = np.arange(len(labels))
    own = (probabilities * labels).sum(1)
    margin = own - probabilities[rows, best]
    found = np.flatnonzero(reached.any(1) & ~labels[rows, best] & (margin < 0))
    found = found[np.argsort(margin[found], kind="stable")]
    return found, best[found]


def _of_several(labels: Bools, probabilities: Floats) -> tuple[Rows, Rows]:
    # Each class is a question of its own, with the answers yes and no.
    missing = ~labels & (probabilities >= thresholds(labels, probabilities))
    surplus = labels & (1 - probabilities >= thresholds(~labels, 1 - probabilities))
    margin = np.where(labels, 2 * probabilities - 1, 1 - 2 * probabilities)
    texts, classes = np.nonzero((missing | surplus) & (margin < 0))
    order = np.argsort(margin[texts, classes], kind="stable")
    return texts[order], classes[order]


def thresholds(labels: Bools, probabilities: Floats) -> Floats:
    """The mean probability of each class over its own texts, (classes,); infinity for a class without any."""
    counts = labels.sum(0)
    sums = (probabilities * labels).sum(0)
    return np.asarray(np.divide(sums, counts, out=np.full(len(counts), np.inf), where=counts > 0), np.float64)
