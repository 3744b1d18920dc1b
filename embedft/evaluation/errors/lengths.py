"""Whether a model prefers short or long documents: the length of wrong ones in the first place.

It is held against the relevant documents of the same queries and against all documents: where relevant documents are
long ones anyway, or the queries with long ones are harder, mistakes are shorter without any preference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.errors.judged import Case, Rows
from embedft.evaluation.errors.slices import mean_interval

Floats = npt.NDArray[np.float64]
# Of more documents so many are measured, spread over all.
MEASURED = 5000


def relevant_lengths(case: Case) -> Floats:
    """The mean number of words of the relevant documents of each query, (queries,); NaN where none has a text."""
    wanted = case.judgments.relevant
    return wanted.mean(case.documents.lengths(wanted.documents))


def length_of(case: Case, *, seed: int = 0) -> dict[str, Any]:
    """How long the first document is where it is not a relevant one.

    Args:
        case: rankings and judgments.
        seed: of the resamples.

    Returns:
        ``queries``: how many; ``wrong``, ``relevant``, ``all``: medians in words; ``to_relevant``, ``to_all``: ratio
        (geometric mean of the quotients), ci_low, ci_high; ``reading``: null if nothing can be told.
    """
    own, wanted = case.own, case.judgments.relevant
    relevant = wanted.mean(_logarithms(case, wanted.documents))
    first = own.rows[:, 0] if own.rows.shape[1] else np.full(len(relevant), -1)
    wrong = np.flatnonzero((first >= 0) & (own.first_relevant != 1) & ~np.isnan(relevant))
    lengths = _logarithms(case, first[wrong])
    wrong, lengths = wrong[~np.isnan(lengths)], lengths[~np.isnan(lengths)]
    known = case.documents.known
    everything = _logarithms(case, np.unique(np.linspace(0, known - 1, min(known, MEASURED)).astype(np.int64)))
    everything = everything[~np.isnan(everything)]
    answer: dict[str, Any] = {
        "queries": len(wrong),
        "wrong": _median(lengths),
        "relevant": _median(relevant[wrong]),
        "all": _median(everything),
        "to_relevant": _ratio(lengths - relevant[wrong], seed),
        "to_all": _ratio(lengths - everything.mean() if len(everything) else lengths[:0], seed),
    }
    answer["reading"] = _reading(answer)
    return answer


def _logarithms(case: Case, rows: Rows) -> Floats:
    """The logarithm of the number of words of each document, (n,); NaN for one without."""
    return np.log(case.documents.lengths(rows))


def _median(logarithms: Floats) -> float | None:
    return float(np.exp(np.median(logarithms))) if len(logarithms) else None


def _ratio(logarithms: Floats, seed: int) -> dict[str, float | None]:
    interval = mean_interval(logarithms, seed=seed)
    values = {"ratio": interval["mean"], "ci_low": interval["ci_low"], "ci_high": interval["ci_high"]}
    return {name: float(np.exp(value)) if value is not None else None for name, value in values.items()}


def _reading(answer: dict[str, Any]) -> str | None:
    both = [answer["to_relevant"], answer["to_all"]]
    if any(one["ci_low"] is None for one in both):
        return None
    relevant, everything = (f"{one['ratio']:.2f} times ({one['ci_low']:.2f} to {one['ci_high']:.2f})" for one in both)
    text = (
        f"Where the first document is not a relevant one ({answer['queries']} queries) it is {relevant} as long as the "
        f"relevant ones and {everything} as long as all documents"
    )
    if all(one["ci_high"] < 1 for one in both):
        return f"{text}: short documents are preferred."
    if all(one["ci_low"] > 1 for one in both):
        return f"{text}: long documents are preferred."
    return f"{text}: no preference is seen."
