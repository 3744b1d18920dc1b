"""Evaluations of several systems brought to the same rows in the same order, or refused with what differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError
from embedft.evaluation.classification import ClassificationEvaluation, OutOfScope
from embedft.evaluation.evaluation import Evaluation
from embedft.evaluation.ranking import Ranking
from embedft.evaluation.retrieval import RetrievalEvaluation
from embedft.evaluation.similarity import SimilarityEvaluation

Rows = npt.NDArray[np.int64]
ALLOW = "--allow-different"
SHORT = 12  # digits of a digest that are shown


def differences(names: Sequence[str], evaluations: Sequence[Evaluation], *, metrics: bool = True) -> list[str]:
    """What the systems were judged on otherwise than the first one: a sentence for each, with both sides; often none.

    Args:
        names: of the systems.
        evaluations: of each.
        metrics: whether other metrics count as well.

    Raises:
        DataError: they are of different tasks, so that nothing can be compared.
    """
    first, found = evaluations[0], []
    for name, other in zip(names[1:], evaluations[1:], strict=True):
        if other.task != first.task:
            raise DataError(
                f"{names[0]} was evaluated for {first.task}, {name} for {other.task}.",
                hint="compare systems of one task.",
            )
        if other.split != first.split:
            found.append(f"{names[0]} was judged on split {first.split}, {name} on split {other.split}")
        # Two splits of one folder have two digests: that they are two splits says why.
        if other.data_sha256 != first.data_sha256 and (other.split == first.split or other.data != first.data):
            found.append(f"{names[0]} was judged on {_data(first)}, {name} on other data, {_data(other)}")
        own, others = list(first.metrics), list(other.metrics)
        if metrics and set(own) != set(others):
            found.append(f"{names[0]} has the metrics {', '.join(own)}, {name} has {', '.join(others)}")
    return found


def aligned(evaluations: Sequence[Evaluation]) -> list[Evaluation]:
    """The same evaluations, of the rows that all of them judged, in the order of the first.

    Texts out of scope are rows of their own; if there are some but none that all judged, they are left out.

    Raises:
        DataError: there is no such row.
    """
    rows = _shared_rows([_keys(evaluation) for evaluation in evaluations])
    if not len(rows[0]):
        raise DataError(
            f"the evaluations have none of their {evaluations[0].unit} in common.", hint="evaluate on the same data."
        )
    found = [
        each if _is_all(own, each.count) else TAKE[each.task](each, own)
        for each, own in zip(evaluations, rows, strict=True)
    ]
    return _with_shared_outside([_with_classes_of(found[0], each) for each in found])


def outside_counts(evaluations: Sequence[Evaluation]) -> list[int]:
    """How many texts out of scope each judged; empty if not all judged some."""
    found = _outside(evaluations)
    return [len(each.texts) for each in found] if len(found) == len(evaluations) else []


def limited(evaluation: Evaluation, metrics: Sequence[str]) -> Evaluation:
    """The same evaluation with these metrics alone."""
    if isinstance(evaluation, RetrievalEvaluation):
        return replace(evaluation, per_query={name: evaluation.per_query[name] for name in metrics})
    own = cast(Any, evaluation)
    # Recall out of scope and the like are no statistics of the texts: they come with any of these.
    names = tuple(name for name in own.names if name in metrics) or own.names
    limited: Evaluation = replace(own, names=names)
    return limited


def _data(evaluation: Evaluation) -> str:
    digest = evaluation.data_sha256
    return f"{evaluation.data} (sha256 {digest[:SHORT]}...)" if digest else f"{evaluation.data} (sha256 not known)"


def _shared_rows(keys: Sequence[Sequence[Hashable]]) -> list[Rows]:
    """For each list of distinct keys where it has those that all have, in the order of the first list."""
    shared = set(keys[0]).intersection(*keys[1:])
    order = [key for key in keys[0] if key in shared]
    places = [{key: row for row, key in enumerate(own)} for own in keys]
    return [np.fromiter((place[key] for key in order), np.int64, len(order)) for place in places]


def _is_all(rows: Rows, count: int) -> bool:
    """Whether these are all rows, in their order."""
    return np.array_equal(rows, np.arange(count))


def _keys(evaluation: Any) -> list[Hashable]:
    """What each row is known by; of equal rows the first, the second, and so on."""
    if isinstance(evaluation, RetrievalEvaluation):
        return list(evaluation.query_ids)
    if isinstance(evaluation, SimilarityEvaluation):
        rows: list[Hashable] = list(zip(evaluation.texts, evaluation.scores.tolist(), strict=True))
    else:
        labels = [tuple(sorted(evaluation.names_of(row))) for row in evaluation.labels]
        rows = list(zip(evaluation.texts, labels, strict=True))
    return _distinct(rows)


def _distinct(rows: Sequence[Hashable]) -> list[Hashable]:
    seen: Counter[Hashable] = Counter()
    keys: list[Hashable] = []
    for row in rows:
        keys.append((row, seen[row]))
        seen[row] += 1
    return keys


def _take_queries(evaluation: RetrievalEvaluation, rows: Rows) -> RetrievalEvaluation:
    ids = [evaluation.query_ids[row] for row in rows.tolist()]
    ranking = evaluation.ranking
    return replace(
        evaluation,
        query_ids=ids,
        queries=[evaluation.queries[row] for row in rows.tolist()] if evaluation.queries else [],
        per_query={name: scores[rows] for name, scores in evaluation.per_query.items()},
        ranking=Ranking(ids, ranking.document_ids, ranking.rows[rows], ranking.scores[rows]),
        vectors=None,
    )


def _take_pairs(evaluation: SimilarityEvaluation, rows: Rows) -> SimilarityEvaluation:
    return replace(
        evaluation,
        texts=[evaluation.texts[row] for row in rows.tolist()],
        scores=evaluation.scores[rows],
        cosines=evaluation.cosines[rows],
        vectors=None,
    )


def _take_texts(evaluation: ClassificationEvaluation, rows: Rows) -> ClassificationEvaluation:
    return replace(
        evaluation,
        texts=[evaluation.texts[row] for row in rows.tolist()],
        labels=evaluation.labels[rows],
        probabilities=evaluation.probabilities[rows],
        scores=evaluation.scores[rows],
        vectors=None,
    )


TAKE: dict[str, Callable[[Any, Rows], Evaluation]] = {
    "retrieval": _take_queries,
    "similarity": _take_pairs,
    "classification": _take_texts,
}


def _outside(evaluations: Sequence[Evaluation]) -> list[OutOfScope]:
    found = [each.out_of_scope for each in evaluations if isinstance(each, ClassificationEvaluation)]
    return [each for each in found if each is not None]


def _with_shared_outside(evaluations: list[Evaluation]) -> list[Evaluation]:
    """The same evaluations with the texts out of scope that all judged, if all judged some."""
    outside = _outside(evaluations)
    if len(outside) < len(evaluations):
        return evaluations
    rows = _shared_rows([_distinct(each.rows) for each in outside])
    judged = zip(cast(Any, evaluations), outside, rows, strict=True)
    return [
        each if _is_all(own, len(other.texts)) else replace(each, out_of_scope=_taken(other, own))
        for each, other, own in judged
    ]


def _taken(outside: OutOfScope, rows: Rows) -> OutOfScope | None:
    if not len(rows):
        return None
    return OutOfScope(
        [outside.texts[row] for row in rows.tolist()],
        [outside.labels[row] for row in rows.tolist()],
        outside.scores[rows],
        outside.probabilities[rows],
    )


def _with_classes_of(first: Evaluation, evaluation: Evaluation) -> Evaluation:
    """The same evaluation with its classes in the order of the first's, if they are the same classes."""
    if not isinstance(first, ClassificationEvaluation) or not isinstance(evaluation, ClassificationEvaluation):
        return evaluation
    if first.classes == evaluation.classes or sorted(first.classes) != sorted(evaluation.classes):
        return evaluation
    columns = [evaluation.classes.index(name) for name in first.classes]
    outside = evaluation.out_of_scope
    return replace(
        evaluation,
        classes=first.classes,
        labels=evaluation.labels[:, columns],
        probabilities=evaluation.probabilities[:, columns],
        out_of_scope=replace(outside, probabilities=outside.probabilities[:, columns]) if outside else None,
    )
