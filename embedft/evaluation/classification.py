"""Score a head on labelled texts: what it gets right, how sure it is, and whether it knows what it does not know."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embedft.encoder import Encoder
from embedft.errors import ConfigError, DataError
from embedft.evaluation.calibration import auroc, expected_calibration_error, reliability
from embedft.evaluation.comparison import Comparison, compare_answers, compare_resampled
from embedft.evaluation.digest import digest_of_texts
from embedft.evaluation.evaluation import heading
from embedft.evaluation.significance import RANDOMIZATION
from embedft.evaluation.tally import (
    LOWER_IS_BETTER,
    MACRO,
    STATISTICS,
    Tally,
    exchange_tests,
    f_score,
    intervals,
    ratio,
    resampled_differences,
    tally,
    widened,
)
from embedft.evaluation.vectors import Vectors

logger = logging.getLogger("embedft")

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
DEFAULT_STATISTICS = ("accuracy", "macro_f1", "micro_f1", "precision", "recall", "ece")
OUT_OF_SCOPE = "oos_recall"
# Of fewer, one text moves the recall of the class by more than a tenth.
FEW_TEXTS = 10
NAMED = 5
# The matrix of more classes nobody reads, and it would take half a megabyte.
MOST_CLASSES = 200


class Classifier(Protocol):
    """What is asked of a head; `embedft.heads.Head` is one."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the probabilities."""
        ...

    @property
    def several(self) -> bool:
        """Whether a text may have any number of the classes."""
        ...

    @property
    def threshold(self) -> float | None:
        """Of the scope scores; None if nothing is out of scope."""
        ...

    def probabilities(self, vectors: Any, *, calibrated: bool = True) -> Floats:
        """Of each class, (n, classes)."""
        ...

    def scope_scores(self, vectors: Any) -> Floats:
        """How well each text fits the classes, (n,)."""
        ...


def check_class_metrics(names: Sequence[str]) -> None:
    """Raise ConfigError if one of the names is no metric of classification."""
    unknown = [name for name in names if name not in STATISTICS]
    if unknown:
        raise ConfigError(f"no metric of classification is named {unknown[0]!r}.", hint=f"use {', '.join(STATISTICS)}.")


@dataclass(frozen=True)
class OutOfScope:
    """Texts that belong to no class of the head.

    Attributes:
        texts, labels: as given.
        scores: (n,), scope scores.
        probabilities: (n, classes).
    """

    texts: list[str]
    labels: list[tuple[str, ...]]
    scores: Floats
    probabilities: Floats

    @property
    def rows(self) -> list[tuple[str, tuple[str, ...]]]:
        """What each text is known by: itself and its labels, whose order does not count."""
        return [(text, tuple(sorted(labels))) for text, labels in zip(self.texts, self.labels, strict=True)]


@dataclass(frozen=True)
class ClassificationEvaluation:
    """What one head says of the labelled texts of a split.

    Attributes:
        model, data, split: what was scored on what.
        names: the statistics, names in `STATISTICS`.
        classes: of the head.
        several: whether a text may have any number of them.
        texts: those with a label that the head knows.
        labels: (n, classes), True for what is right.
        probabilities: (n, classes), calibrated.
        scores: (n,), scope scores.
        threshold: below it a text is out of scope; None if nothing is.
        uncalibrated: expected calibration error without the temperature.
        out_of_scope: texts that belong to no class, if there are any.
        data_sha256: of what was judged (`embedft.evaluation.digest`); None if that is not known.
        fingerprint: of the encoder.
        vectors: of ``texts``, if they were kept.
    """

    model: str
    data: str
    split: str
    names: tuple[str, ...]
    classes: tuple[str, ...]
    several: bool
    texts: list[str]
    labels: Bools
    probabilities: Floats
    scores: Floats
    threshold: float | None
    uncalibrated: float
    out_of_scope: OutOfScope | None = None
    data_sha256: str | None = None
    fingerprint: str | None = None
    vectors: Vectors | None = field(default=None, repr=False)
    task: str = "classification"
    unit: str = "texts"

    @property
    def count(self) -> int:
        """How many texts with a known label were judged."""
        return len(self.texts)

    @cached_property
    def predicted(self) -> Bools:
        """(n, classes): the most probable class, or, of several, those above one half."""
        return decided(self.probabilities, self.several)

    @cached_property
    def correct(self) -> Bools:
        """(n,), whether exactly the right classes were predicted."""
        return np.asarray((self.labels == self.predicted).all(1))

    @cached_property
    def tally(self) -> Tally:
        """What each text adds to the metrics."""
        return tally(self.labels, self.predicted, self.probabilities, several=self.several)

    @property
    def metrics(self) -> dict[str, float]:
        """Statistic -> value, 0..1 (``nll`` from 0); ``oos_recall`` and ``oos_auroc`` if there are such texts."""
        sums = self.tally.sums()
        found = {name: float(STATISTICS[name](sums)) for name in self.names}
        if self.out_of_scope is not None:
            if self.threshold is not None:
                found[OUT_OF_SCOPE] = float((self.out_of_scope.scores < self.threshold).mean())
            found["oos_auroc"] = self._auroc()
        return found

    def _auroc(self) -> float:
        other = self.out_of_scope.scores if self.out_of_scope is not None else np.empty(0)
        known = np.arange(self.count + len(other)) < self.count
        return auroc(np.concatenate([self.scores, other]), known)

    def intervals(self, *, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Statistic -> 95 % percentile bootstrap interval over the texts."""
        return intervals(self.tally, self.names, seed=seed)

    def per_class(self) -> list[dict[str, Any]]:
        """For each class its texts, how often it was predicted, precision, recall, F1; the smallest F1 first.

        A class without a text has no precision, recall and F1 (None), and stands last.
        """
        sums = self.tally.sums()
        precision, recall = ratio(sums.hits, sums.predicted), ratio(sums.hits, sums.labelled)
        f1, judged = f_score(sums), sums.labelled > 0
        return [
            {
                "class": self.classes[number],
                "texts": int(sums.labelled[number]),
                "predicted": int(sums.predicted[number]),
                "precision": float(precision[number]) if judged[number] else None,
                "recall": float(recall[number]) if judged[number] else None,
                "f1": float(f1[number]) if judged[number] else None,
            }
            for number in np.argsort(np.where(judged, f1, 2), kind="stable").tolist()
        ]

    def macro(self) -> dict[str, Any]:
        """What macro F1, precision and recall are means over: classes, absent, small, reading.

        They are the classes that have a text in the split, the same for every model that is judged on it. ``small``
        are those of fewer than ten texts, ``absent`` those of none; ``reading`` says it in a sentence or two.
        """
        texts = self.labels.sum(0)
        absent = [name for name, count in zip(self.classes, texts, strict=True) if not count]
        small = [name for name, count in zip(self.classes, texts, strict=True) if 0 < count < FEW_TEXTS]
        judged = len(self.classes) - len(absent)
        those = f"the {judged} classes that have" if judged > 1 else "the one class that has"
        reading = f"Macro F1, precision and recall are means over {those} a text here"
        reading += f", not over {_listed(absent)}." if absent else "."
        if small:
            reading += (
                f" Fewer than {FEW_TEXTS} texts: {_listed(small)}. Such a class counts as much as any other in these "
                f"means, and the intervals of one model's are then narrower than they should be."
            )
        return {"classes": judged, "absent": absent, "small": small, "reading": reading}

    def confusion(self) -> npt.NDArray[np.int64] | None:
        """Texts by label (rows) and prediction (columns), (classes, classes); None if a text may have several."""
        if self.several:
            return None
        return np.asarray(self.labels.astype(np.int64).T @ self.predicted.astype(np.int64))

    def confused(self, count: int = 10) -> list[dict[str, Any]]:
        """The pairs of classes that are most often taken for each other: label, predicted, texts.

        Where a text may have several classes: one that it lacks was predicted beside or for one that was missed.
        """
        missed, wrong = self.labels & ~self.predicted, self.predicted & ~self.labels
        taken = missed.astype(np.int64).T @ wrong.astype(np.int64)
        order = np.argsort(-taken, axis=None, kind="stable")[:count]
        pairs = zip(*np.unravel_index(order, taken.shape), strict=True)
        return [
            {"label": self.classes[row], "predicted": self.classes[column], "texts": int(taken[row, column])}
            for row, column in pairs
            if taken[row, column]
        ]

    def confusion_dict(self) -> dict[str, Any]:
        """For ``confusion.json``: classes, matrix, confused.

        Rows of the matrix are labels; it is null if a text may have several, or if there are more than 200 classes.
        """
        matrix = self.confusion() if len(self.classes) <= MOST_CLASSES else None
        return {
            "classes": list(self.classes),
            "matrix": matrix.tolist() if matrix is not None else None,
            "confused": self.confused(),
        }

    def calibration(self) -> dict[str, Any]:
        """Expected calibration error without and with the temperature, and the bins of the reliability diagram."""
        confidence, right = _decisions(self.labels, self.predicted, self.probabilities, self.several)
        return {
            "ece_uncalibrated": self.uncalibrated,
            "ece": expected_calibration_error(confidence, right),
            "bins": reliability(confidence, right),
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what was scored on what, the head (`head_dict`), metrics and intervals, texts, and what follows.

        That is macro, per_class, confusion, calibration, and out_of_scope if there are such texts.
        """
        answer = {
            **heading(self),
            "head": self.head_dict(),
            "metrics": self.metrics,
            "intervals": {name: list(ends) for name, ends in self.intervals().items()},
            "texts": self.count,
            "macro": self.macro(),
            "per_class": self.per_class(),
            "confusion": self.confusion_dict(),
            "calibration": self.calibration(),
        }
        if self.out_of_scope is not None:
            kept = float((self.scores >= self.threshold).mean()) if self.threshold is not None else 1.0
            answer["out_of_scope"] = {
                "texts": len(self.out_of_scope.texts), "threshold": self.threshold, "in_scope_kept": kept,
            }  # fmt: skip
        return answer

    def head_dict(self) -> dict[str, Any]:
        """For JSON, what the metrics need besides the probabilities: classes, several, threshold, uncalibrated."""
        return {
            "classes": list(self.classes),
            "several": self.several,
            "threshold": self.threshold,
            "uncalibrated": self.uncalibrated,
        }

    def write_per_query(self, file: Any, against: ClassificationEvaluation | None = None) -> None:
        """Write a row a text as Parquet, those out of scope last.

        Columns: text, label, judged (False for those out of scope), predicted (lists), probability (of the best class),
        scope_score, in_scope (whether the head takes it for one of its classes), correct (of a text out of scope: that
        it was told as such), probabilities (of all classes), and ``against:...`` for the other model, from predicted
        on.
        """
        known = [self.names_of(row) for row in self.labels]
        columns: dict[str, Any] = {"text": list(self.texts), "label": known}
        if self.out_of_scope is not None:
            columns["text"] = columns["text"] + self.out_of_scope.texts
            columns["label"] = known + [list(row) for row in self.out_of_scope.labels]
        columns["judged"] = np.arange(len(columns["text"])) < self.count
        columns |= self._answers()
        if against is not None:
            columns |= {f"against:{name}": values for name, values in against._answers().items()}
        # Probabilities do not repeat; a dictionary of them would only stand beside them.
        pq.write_table(pa.table(columns), file, compression="zstd", use_dictionary=False)

    def names_of(self, row: Bools) -> list[str]:
        """The classes that are True in a row of `labels` or `predicted`."""
        return [self.classes[number] for number in np.flatnonzero(row)]

    def _answers(self) -> dict[str, Any]:
        chances, predicted, scores, other = self.probabilities, self.predicted, self.scores, self.out_of_scope
        if other is not None:
            chances = np.concatenate([chances, other.probabilities])
            predicted = np.concatenate([predicted, decided(other.probabilities, self.several)])
            scores = np.concatenate([scores, other.scores])
        inside = scores >= (self.threshold if self.threshold is not None else -np.inf)
        correct = np.concatenate([self.correct, ~inside[self.count :]])
        return {
            "predicted": [self.names_of(row) for row in predicted],
            "probability": chances.max(1),
            "scope_score": scores,
            "in_scope": inside,
            "correct": correct,
            "probabilities": pa.FixedSizeListArray.from_arrays(chances.ravel(), chances.shape[1]).cast(
                pa.list_(pa.float64())
            ),
        }

    def compare(self, against: ClassificationEvaluation, *, seed: int = 0) -> dict[str, Comparison]:
        """Statistic -> how this model differs from another on the same texts.

        Intervals are of the difference, both models on the same resampled texts; those of macro metrics are widened
        where a class has few texts (`embedft.evaluation.tally.widened`). The p-value of ``accuracy`` and ``oos_recall``
        is of McNemar's exact test; of the others, of a paired randomisation test that exchanges the two models' answers
        text by text. A text is won by the model that alone predicts it right; for ``nll`` and ``brier`` and
        calibration, where less is better, a smaller value is "better".

        Raises:
            DataError: the two did not judge the same texts, in and out of scope, by the same classes.
        """
        outside, others = self.out_of_scope, against.out_of_scope
        same = self.texts == against.texts and self.classes == against.classes
        same = same and (outside is None or others is None or outside.rows == others.rows)
        if not same or not np.array_equal(self.labels, against.labels):
            raise DataError(
                f"{self.model} was scored on other texts or classes than {against.model}.",
                hint="evaluate both on the same data and split, with heads trained on the same labels.",
            )
        shared = tuple(name for name in self.names if name in against.names)
        summed = tuple(name for name in shared if name != "accuracy")
        resampled = resampled_differences(self.tally, against.tally, summed, seed=seed)
        exchanged = exchange_tests(self.tally, against.tally, summed, seed=seed)
        gains = self.correct.astype(np.float64) - against.correct
        own, other, found = self.metrics, against.metrics, {}
        for name in shared:
            if name == "accuracy":
                found[name] = compare_answers(self.correct, against.correct, seed=seed)
                continue
            difference, lower = own[name] - other[name], name in LOWER_IS_BETTER
            tests, spread = {RANDOMIZATION: exchanged[name].p_value}, resampled[name]
            if name in MACRO:
                spread = widened(spread, exchanged[name].deviation, seed=seed)
            found[name] = compare_resampled(difference, spread, gains, tests, lower_is_better=lower)
        if OUT_OF_SCOPE in own and OUT_OF_SCOPE in other:
            found[OUT_OF_SCOPE] = compare_answers(
                *(one._answers()["correct"][self.count :] for one in (self, against)), seed=seed
            )
        return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:NAMED])) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def decided(probabilities: Floats, several: bool) -> Bools:
    """Which classes are predicted, (n, classes): the most probable one, or, of several, those above one half."""
    if several:
        return np.asarray(probabilities > 0.5)
    chosen = np.zeros(probabilities.shape, bool)
    chosen[np.arange(len(chosen)), probabilities.argmax(1)] = True
    return chosen


def _decisions(labels: Bools, predicted: Bools, probabilities: Floats, several: bool) -> tuple[Floats, Bools]:
    """Confidence of each decision and whether it was right; of several classes each is a decision."""
    if several:
        return np.maximum(probabilities, 1 - probabilities).ravel(), (labels == predicted).ravel()
    best = predicted.argmax(1)
    rows = np.arange(len(labels))
    return probabilities[rows, best], labels[rows, best]


def evaluate_classification(
    encoder: Encoder,
    head: Classifier,
    texts: pa.Table,
    *,
    data: str,
    split: str = "test",
    metrics: Sequence[str] = DEFAULT_STATISTICS,
    out_of_scope: pa.Table | None = None,
    show_progress: bool = False,
    keep_vectors: bool = False,
) -> ClassificationEvaluation:
    """What ``head`` says of labelled texts; they are encoded as documents, since none asks.

    Texts with a label that the head does not know are judged as out of scope, not as wrong, and are told in the log. Of
    several classes a label that is not known is left out, and the text stays.

    Args:
        encoder: of the texts.
        head: on its vectors.
        texts: columns text, labels.
        data: name of the data, for the report.
        split: name of the split.
        metrics: names in `STATISTICS`; one that stands twice counts once.
        out_of_scope: further texts that belong to no class; columns text, labels.
        show_progress: on standard error.
        keep_vectors: of the texts with a known label, with the evaluation.

    Raises:
        ConfigError: an unknown metric.
        DataError: no text has a label that the head knows.
    """
    check_class_metrics(metrics)
    number_of = {name: number for number, name in enumerate(head.classes)}
    given = [tuple(row) for row in texts["labels"].to_pylist()]
    hot = np.zeros((len(given), len(number_of)), bool)
    for row, names in enumerate(given):
        hot[row, [number_of[name] for name in names if name in number_of]] = True
    unknown = np.array([any(name not in number_of for name in names) for names in given], bool)
    inside = hot.any(1) | ~unknown if head.several else hot.any(1)
    if not inside.any():
        raise DataError(
            f"{data}: split {split!r} has no text with a label that the head was trained on.",
            hint="name another split; texts out of scope are judged beside it.",
        )
    if unknown.any():
        strange = sorted({name for names in given for name in names if name not in number_of})
        logger.warning(
            "%s: %d texts of split %s have labels that the head does not know (%s): they are judged as out of scope",
            data, int(unknown.sum()), split, ", ".join(strange[:5]) + (", ..." if len(strange) > 5 else ""),
        )  # fmt: skip
    all_texts = texts["text"].to_pylist()
    other_texts = [all_texts[row] for row in np.flatnonzero(~inside).tolist()]
    other_labels = [given[row] for row in np.flatnonzero(~inside).tolist()]
    if out_of_scope is not None:
        other_texts += out_of_scope["text"].to_pylist()
        other_labels += [tuple(row) for row in out_of_scope["labels"].to_pylist()]
    kept = [all_texts[row] for row in np.flatnonzero(inside).tolist()]
    vectors = encoder.encode_documents([*kept, *other_texts], show_progress=show_progress)
    chances, scores = head.probabilities(vectors), head.scope_scores(vectors)
    plain = head.probabilities(vectors[: len(kept)], calibrated=False)
    hot, first = hot[inside], slice(0, len(kept))
    outside = OutOfScope(other_texts, other_labels, scores[len(kept) :], chances[len(kept) :]) if other_texts else None
    return ClassificationEvaluation(
        model=encoder.name,
        data=data,
        split=split,
        names=tuple(dict.fromkeys(metrics)),
        classes=head.classes,
        several=head.several,
        texts=kept,
        labels=hot,
        probabilities=chances[first],
        scores=scores[first],
        threshold=head.threshold,
        uncalibrated=expected_calibration_error(*_decisions(hot, decided(plain, head.several), plain, head.several)),
        out_of_scope=outside,
        data_sha256=digest_of_texts(texts, out_of_scope),
        fingerprint=encoder.fingerprint,
        vectors=Vectors(vectors[first]) if keep_vectors else None,
    )
