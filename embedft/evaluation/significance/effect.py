"""How large a difference is, beside whether it is real: with many queries a difference of no use is significant too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedft.evaluation.significance.checks import checked


def cohens_d(differences: npt.ArrayLike) -> float | None:
    """Cohen's d_z, the mean difference in standard deviations of the differences; 0.2 is called small, 0.8 large.

    0 where no query differs; None where it has no meaning: one query, or all differ by the same amount.
    Source: Cohen 1988, "Statistical Power Analysis for the Behavioral Sciences", section 2.3.5.

    Args:
        differences: (queries,), score of one system minus that of the other.

    Raises:
        DataError: no differences, or one is no number.
    """
    values = checked(differences)
    return standardised(float(values.mean()), deviation_of(values))


def superiority(differences: npt.ArrayLike) -> float:
    """The chance that the first system is the better one on a query, ties counted half; 0.5 is no difference.

    Source: Grissom and Kim 2012, "Effect Sizes for Research", chapter 6 (dependent groups).

    Args:
        differences: (queries,), score of one system minus that of the other.

    Raises:
        DataError: no differences, or one is no number.
    """
    values = checked(differences)
    return float((values > 0).mean() + (values == 0).mean() / 2)


def standardised(difference: float, deviation: float | None) -> float | None:
    """``difference`` in units of ``deviation``; 0 where there is no difference, None where nothing varies."""
    if difference == 0:
        return 0.0
    return difference / deviation if deviation else None


def deviation_of(values: npt.NDArray[np.float64]) -> float | None:
    """Standard deviation with n - 1 below; None where it is not known: of one value, or of equal ones."""
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    return float(values.std(ddof=1))
