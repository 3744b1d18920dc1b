"""Texts out of scope: which of them the head takes for one of its classes, and which of its own it turns away."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.classification import ClassificationEvaluation, OutOfScope, decided
from embedft.evaluation.errors.labelled import names_of, told
from embedft.evaluation.errors.slices import mean_interval, percent
from embedft.evaluation.texts import shown

Rows = npt.NDArray[np.int64]
SHOWN_TEXTS = 20


def outside_of(evaluation: ClassificationEvaluation, *, seed: int = 0) -> dict[str, Any] | None:
    """Mistakes about the scope; None if no text is out of it.

    Returns:
        ``texts``; ``threshold`` of the scope scores, null if the head turns nothing away; ``taken``: how many texts out
        of scope it takes for a class, ``share`` with ci_low and ci_high, ``taken_texts`` (text, label, predicted,
        probability, scope_score; those that fit best first); ``turned_away``: how many texts in scope it does not know,
        ``turned_away_texts`` (those that fit least first); ``reading``.
    """
    other = evaluation.out_of_scope
    if other is None:
        return None
    limit = evaluation.threshold if evaluation.threshold is not None else -np.inf
    inside = other.scores >= limit
    interval = mean_interval(inside.astype(np.float64), seed=seed)
    taken = np.flatnonzero(inside)
    taken = taken[np.argsort(-other.scores[taken], kind="stable")]
    away = np.flatnonzero(evaluation.scores < limit)
    away = away[np.argsort(evaluation.scores[away], kind="stable")]
    answer: dict[str, Any] = {
        "texts": len(other.texts),
        "threshold": evaluation.threshold,
        "taken": len(taken),
        "share": interval["mean"],
        "ci_low": interval["ci_low"],
        "ci_high": interval["ci_high"],
        "taken_texts": [_taken(evaluation, other, row) for row in taken[:SHOWN_TEXTS].tolist()],
        "turned_away": len(away),
        "turned_away_texts": [
            {**told(evaluation, row), "scope_score": float(evaluation.scores[row])}
            for row in away[:SHOWN_TEXTS].tolist()
        ],
    }
    answer["reading"] = _reading(answer, evaluation.count)
    return answer


def _taken(evaluation: ClassificationEvaluation, other: OutOfScope, row: int) -> dict[str, Any]:
    chances = other.probabilities[row : row + 1]
    return {
        "text": shown(other.texts[row]),
        "label": ", ".join(other.labels[row]),
        "predicted": names_of(evaluation, decided(chances, evaluation.several)[0]),
        "probability": float(chances.max()),
        "scope_score": float(other.scores[row]),
    }


def _reading(answer: dict[str, Any], count: int) -> str:
    if answer["threshold"] is None:
        return (
            f"The head turns nothing away: all {answer['texts']} texts out of scope are taken for one of its classes."
        )
    return (
        f"{answer['taken']} of {answer['texts']} texts out of scope are taken for a class "
        f"({percent(answer['share'])}), and {answer['turned_away']} of {count} texts in scope are turned away."
    )
