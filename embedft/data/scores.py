"""Similarity scores: what scale they are on, which lie outside it, whether two scales were mixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedft.errors import DataError

# From narrow to wide; the first that fits counts. (-1, 1) needs a negative score, (1, 5) and (0, 2) no score outside.
SCALES = (
    (0.0, 1.0),
    (-1.0, 1.0),
    (0.0, 2.0),
    (0.0, 3.0),
    (0.0, 4.0),
    (1.0, 5.0),
    (0.0, 5.0),
    (0.0, 10.0),
    (0.0, 100.0),
)
STRICT = ((0.0, 2.0), (0.0, 3.0), (0.0, 4.0), (1.0, 5.0))
OUTLIERS = 0.02


@dataclass(frozen=True)
class Scale:
    """Scores run from ``low`` to ``high`` in the files, from 0 to 1 once read."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g}..{self.high:g}"

    def outside(self, scores: np.ndarray) -> np.ndarray:
        """Which scores do not lie on the scale, (n,) bool."""
        return np.asarray((scores < self.low) | (scores > self.high))

    def rescaled(self, scores: np.ndarray) -> np.ndarray:
        """The scores from 0 to 1, (n,)."""
        return (scores - self.low) / (self.high - self.low)


def find_scale(scores: np.ndarray) -> Scale:
    """The narrowest usual scale that holds all scores but a few, at most 2 %, (n,) -> scale.

    Raises:
        DataError: no usual scale holds them.
    """
    if not len(scores):
        return Scale(0.0, 1.0)
    for low, high in SCALES:
        scale = Scale(low, high)
        outside = float(scale.outside(scores).mean())
        if outside > (0.0 if (low, high) in STRICT else OUTLIERS):
            continue
        if low < 0 and not bool((scores < -OUTLIERS).mean() > OUTLIERS):
            continue
        return scale
    raise DataError(
        f"scores run from {scores.min():g} to {scores.max():g}, which is no usual scale.",
        hint="state it, for example --scale 0,20 (in a configuration: data.scale: [0, 20]).",
    )


def parse_scale(text: str) -> Scale:
    """``0,5`` as a scale.

    Raises:
        DataError: it is not two numbers, the lower one first.
    """
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise DataError(f"--scale {text}: expected two numbers.", hint="for example --scale 0,5.") from error
    return stated_scale(low, high, f"--scale {text}")


def stated_scale(low: float, high: float, source: str) -> Scale:
    """The scale between two ends, the lower one first; raises DataError, about ``source``, if it is not."""
    if not low < high:
        raise DataError(f"{source}: the lower end comes first.", hint="for example 0,5.")
    return Scale(low, high)


def on_another_scale(scores: np.ndarray, scale: Scale) -> np.ndarray:
    """Which scores were probably given on 0..1 although the others are on a wider scale, (n,) bool.

    A score given as a share has finer steps than its neighbours: 0.28 among scores such as 1.4 and 3.0. The scores
    above 1 show the steps in use (those that a twentieth of them have); scores between 0 and 1 off these steps are
    suspects, if there are far more of them than among the scores above 1. A share that happens to fall on a step, such
    as 0.2, cannot be told apart, so the count is a lower bound.
    """
    none = np.zeros(len(scores), bool)
    if scale.high <= 1:
        return none
    inner, above = (scores > 0) & (scores < 1), scores > 1
    if inner.sum() < 10 or above.sum() < 10:
        return none
    fine = np.abs(scores * 10 - np.round(scores * 10)) > 1e-6
    rate_inner, rate_above = fine[inner].mean(), fine[above].mean()
    return np.asarray(inner & fine) if rate_inner > 0.1 and rate_inner > 5 * rate_above else none
