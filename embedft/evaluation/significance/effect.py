"""How large a difference is, beside whether it is real: with many queries a difference of no use is significant too."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def standardised(difference: float, deviation: float | None) -> float | None:
    """``difference`` in units of ``deviation``; 0 where there is no difference, None where nothing varies.

    With the standard deviation of the paired differences this is Cohen's d_z; 0.2 is called small, 0.8 large.
    Source: Cohen 1988, "Statistical Power Analysis for the Behavioral Sciences", section 2.3.5.
    """
    if difference == 0:
        return 0.0
    return difference / deviation if deviation else None


def deviation_of(values: npt.NDArray[np.float64]) -> float | None:
    """Standard deviation with n - 1 below; None where it is not known: of one value, or of equal ones."""
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    return float(values.std(ddof=1))
