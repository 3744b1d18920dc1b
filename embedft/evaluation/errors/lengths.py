"""Whether a model prefers short or long documents: the length of wrong ones in the first place beside the relevant."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.errors.judged import Case
from embedft.evaluation.errors.slices import mean_interval
from embedft.index.lexical.words import surfaces

Floats = npt.NDArray[np.float64]


def relevant_lengths(case: Case) -> Floats:
    """The mean number of words of the relevant documents of each query, (queries,); NaN where none has a text."""
    wanted = case.judgments.relevant
    distinct, place = np.unique(wanted.documents, return_inverse=True)
    return wanted.mean(_words(case, distinct)[place])


def length_of(case: Case, relevant: Floats, *, seed: int = 0) -> dict[str, Any]:
    """How long the first document is where it is not a relevant one, against the relevant documents of its query.

    Args:
        case: rankings and judgments.
        relevant: (queries,), of `relevant_lengths`.
        seed: of the resamples.

    Returns:
        ``queries``: how many; ``wrong``, ``relevant``: medians in words; ``ratio``: the geometric mean of their
        quotients, with ci_low and ci_high; ``reading``: null if nothing can be told.
    """
    own = case.own
    first = own.rows[:, 0] if own.rows.shape[1] else np.full(len(relevant), -1)
    wrong = np.flatnonzero((first >= 0) & (own.first_relevant != 1) & ~np.isnan(relevant))
    distinct, place = np.unique(first[wrong], return_inverse=True)
    words = _words(case, distinct)[place]
    wrong, words = wrong[~np.isnan(words)], words[~np.isnan(words)]
    interval = mean_interval(np.log(words / relevant[wrong]), seed=seed)
    answer: dict[str, Any] = {
        "queries": len(wrong),
        "wrong": float(np.median(words)) if len(wrong) else None,
        "relevant": float(np.median(relevant[wrong])) if len(wrong) else None,
        "ratio": _back(interval["mean"]),
        "ci_low": _back(interval["ci_low"]),
        "ci_high": _back(interval["ci_high"]),
    }
    answer["reading"] = _reading(answer)
    return answer


def _words(case: Case, rows: npt.NDArray[np.int64]) -> Floats:
    """Words of each document, (n,); NaN for one without."""
    counts = np.array([len(surfaces(text)) for text in case.documents.texts(rows)], np.float64)
    return np.where(counts > 0, counts, np.nan)


def _back(value: float | None) -> float | None:
    return float(np.exp(value)) if value is not None else None


def _reading(answer: dict[str, Any]) -> str | None:
    low, high = answer["ci_low"], answer["ci_high"]
    if low is None:
        return None
    text = (
        f"Where the first document is not a relevant one it is {answer['ratio']:.2f} times as long as these "
        f"(95 % interval {low:.2f} to {high:.2f}): "
    )
    if high < 1:
        return f"{text}short documents are preferred."
    return f"{text}{'long documents are preferred' if low > 1 else 'no difference'}."
