"""Several comparisons at once: the more one looks, the more chance finds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedft.errors import DataError

Floats = npt.NDArray[np.float64]


def holm(p_values: npt.ArrayLike) -> Floats:
    """The p-values corrected by Holm's step-down method, in the shape given.

    Taken as significant where the answer is below 0.05, the chance of *any* false alarm among them all is at most 5 %,
    however the comparisons depend on each other. Never weaker than Bonferroni.
    Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".

    Args:
        p_values: of the comparisons, in any shape.

    Raises:
        DataError: one is no number between 0 and 1.
    """
    given = np.asarray(p_values, np.float64)
    flat = given.ravel()
    wrong = np.flatnonzero(~((flat >= 0) & (flat <= 1)))
    if len(wrong):
        raise DataError(
            f"p-value {int(wrong[0]) + 1} of {len(flat)} is {flat[wrong[0]]}, expected 0 to 1.",
            hint="leave out comparisons that could not be made.",
        )
    order = np.argsort(flat, kind="stable")
    raised = flat[order] * np.arange(len(flat), 0, -1)
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return adjusted.reshape(given.shape)
