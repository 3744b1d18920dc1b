"""Hubs: documents that come up in the top k of too many queries.

N_k of a document is the number of queries that have it in their top k. Where vectors have many dimensions and few of
them vary, N_k is skewed: some documents are near to everything, and crowd out what was asked for.

Source: Radovanović, Nanopoulos, Ivanović 2010, Hubs in space, JMLR 11.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.errors.judged import Case, Ranked
from embedft.evaluation.errors.slices import counted, percent

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
SHOWN_HUBS = 10
# A hub comes up in more queries than the mean document by over two standard deviations (Radovanović et al., section 4),
# and at least so often.
FAR, FEWEST = 2.0, 3
# Hubs are spoken of where N_k is skewed by so many times more than chance would.
BEYOND_CHANCE = 1.5


def hubs_of(case: Case, k: int) -> dict[str, Any]:
    """The hubs of a ranking: k, skewness, what it would be by chance, the share of places they take, and the worst.

    ``top`` lists those that come up most often where they are not relevant: id, title, text, queries (N_k),
    relevant_to (how many of these queries it is relevant to), against_queries. ``against_skewness`` is the other
    model's. ``skewness`` is null if nothing was found.
    """
    size = case.documents.known
    counts, hits = occurrences(case.own, len(case.documents), k)
    others = occurrences(case.other, len(case.documents), k)[0] if case.other is not None else None
    judged = counts[:size] if size else counts
    fewest = max(float(judged.mean() + FAR * judged.std()), FEWEST) if len(judged) else FEWEST
    hubs = np.flatnonzero(counts >= fewest)
    worst = hubs[np.argsort(-(counts - hits)[hubs], kind="stable")][:SHOWN_HUBS]
    top = [
        {
            **case.documents.describe(row),
            "queries": int(counts[row]),
            "relevant_to": int(hits[row]),
            "against_queries": int(others[row]) if others is not None else None,
        }
        for row in worst.tolist()
        if counts[row] > hits[row]
    ]
    total = int(counts.sum())
    return {
        "k": k,
        "skewness": skewness(judged),
        "by_chance": by_chance(len(case.queries), k, len(judged)),
        "against_skewness": skewness(others[:size]) if others is not None else None,
        "hubs": len(hubs),
        "share": float(counts[hubs].sum() / total) if total else None,
        "never": float((judged == 0).mean()) if len(judged) else None,
        "top": top,
    }


def occurrences(ranked: Ranked, documents: int, k: int) -> tuple[Counts, Counts]:
    """For each document N_k, and in how many of these queries it is relevant, both (documents,)."""
    top, inside, grades = ranked.rows[:, :k], ranked.filled[:, :k], ranked.grades[:, :k]
    return (
        np.bincount(top[inside], minlength=documents).astype(np.int64),
        np.bincount(top[inside & (grades > 0)], minlength=documents).astype(np.int64),
    )


def skewness(counts: Counts) -> float | None:
    """The third standardised moment of N_k; None if all documents come up equally often."""
    if not len(counts) or counts.std() == 0:
        return None
    return float(((counts - counts.mean()) ** 3).mean() / counts.std() ** 3)


def by_chance(queries: int, k: int, documents: int) -> float | None:
    """The skewness of N_k if each query drew its documents at random: of a binomial with p = k / documents."""
    p = k / documents if documents else 1.0
    return float((1 - 2 * p) / np.sqrt(queries * p * (1 - p))) if p < 1 and queries else None


def hubs_reading(hubs: dict[str, Any], queries: int) -> str | None:
    """What the hubs say, in a sentence; None if there are none to speak of."""
    if not hubs["top"] or hubs["skewness"] is None or hubs["by_chance"] is None:
        return None
    if hubs["skewness"] < BEYOND_CHANCE * hubs["by_chance"]:
        return None
    worst = hubs["top"][0]
    name = worst["title"] or worst["id"]
    return (
        f"{counted(hubs['hubs'], 'document takes', 'documents take')} {percent(hubs['share'])} of the places in the "
        f"top {hubs['k']}; "
        f"{name!r:.80} comes up for {worst['queries']} of {queries} queries and is relevant to {worst['relevant_to']}."
    )
