"""Probabilities judged as probabilities: calibration error, and how well a score tells texts in scope from others."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
# Of equal width, as in Guo et al. 2017, section 2.
BINS = 15


def bins_of(confidence: Floats, bins: int = BINS) -> npt.NDArray[np.intp]:
    """The bin of each confidence, ``(m - 1) / bins < confidence <= m / bins`` is bin m - 1; 0 falls into the first."""
    return np.clip(np.ceil(np.asarray(confidence) * bins).astype(np.intp) - 1, 0, bins - 1)


def expected_calibration_error(confidence: Floats, correct: Bools, bins: int = BINS) -> float:
    """The mean over texts of |accuracy - confidence| of the bin that a text falls into, 0..1.

    Source: Guo et al. 2017, arXiv:1706.04599, eq. 3.

    Args:
        confidence: (n,), probability of what was predicted, 0..1.
        correct: (n,), whether it was right.
        bins: of equal width.
    """
    gaps = np.bincount(bins_of(confidence, bins), weights=correct - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / max(len(confidence), 1))


def reliability(confidence: Floats, correct: Bools, bins: int = BINS) -> list[dict[str, float]]:
    """The reliability diagram: for each bin that is not empty its bounds, texts, mean confidence and accuracy."""
    bin_of = bins_of(confidence, bins)
    found = []
    for number in np.unique(bin_of).tolist():
        inside = bin_of == number
        found.append(
            {
                "low": number / bins,
                "high": (number + 1) / bins,
                "count": int(inside.sum()),
                "confidence": float(confidence[inside].mean()),
                "accuracy": float(correct[inside].mean()),
            }
        )
    return found


def auroc(scores: Floats, positive: Bools) -> float:
    """The probability that a positive scores higher than a negative, ties by half; NaN if one of them is missing.

    The area under the receiver operating characteristic, by the rank sum of Mann and Whitney.
    """
    from scipy.stats import rankdata

    positives = int(positive.sum())
    pairs = positives * (len(scores) - positives)
    if pairs == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / pairs)


def threshold_for(scores: Floats, share: float) -> float:
    """The largest threshold that at least ``share`` of the scores reach, 0..1; no share at all asks infinity."""
    kept = int(np.ceil(share * len(scores) - 1e-9))
    return float(np.sort(scores)[len(scores) - kept]) if kept else float("inf")
