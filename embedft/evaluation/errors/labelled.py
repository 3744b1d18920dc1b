"""What is told of a text that was classified."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.classification import ClassificationEvaluation
from embedft.evaluation.texts import shown

Floats = npt.NDArray[np.float64]
NO_LABEL = "none"


def names_of(evaluation: ClassificationEvaluation, row: npt.NDArray[np.bool_]) -> str:
    """The classes of a row of labels or predictions, joined by commas; "none" if it has none."""
    return ", ".join(evaluation.names_of(row)) or NO_LABEL


def sureness(probabilities: Floats, *, several: bool) -> Floats:
    """How sure a head is of what it predicts, 0..1, (texts,): of several classes, of all these decisions at once."""
    if several:
        return np.asarray(np.maximum(probabilities, 1 - probabilities).prod(1), np.float64)
    return np.asarray(probabilities.max(1), np.float64)


def told(evaluation: ClassificationEvaluation, row: int) -> dict[str, Any]:
    """Text, label, predicted and probability (how sure the head is) of a judged text, for JSON."""
    return {
        "text": shown(evaluation.texts[row]),
        "label": names_of(evaluation, evaluation.labels[row]),
        "predicted": names_of(evaluation, evaluation.predicted[row]),
        "probability": float(sureness(evaluation.probabilities[[row]], several=evaluation.several)[0]),
    }
