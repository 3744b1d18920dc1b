"""Words that queries share with documents, and whether a model finds more than these.

Three views of it. How scores rise with the share of a query's words that its relevant documents hold: a query that
shares them is easier for any model, so this alone proves nothing. How far the order of one query's documents is BM25's:
a model that only matches words has the same. And whether a wrong document in the first place shares more words than
the relevant ones, by more than a right one does: there the words misled. (Any first document tends to share more than
the others do, since it was chosen; that proves nothing.)

Words are the terms of lexical search (`embedft.index.lexical.words`): stemmed, without stop words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.errors.judged import Case, Ranked, Rows
from embedft.evaluation.errors.slices import ROUNDS, SMALLEST, counted, ends, mean_interval, percent, surplus
from embedft.evaluation.errors.word_order import bm25_agreement
from embedft.evaluation.judgments import NO_DOCUMENT
from embedft.evaluation.significance import resampled_correlations
from embedft.evaluation.similarity import spearman
from embedft.index.lexical.words import Words, surfaces

Floats = npt.NDArray[np.float64]
Terms = frozenset[str]
# An encoder reads about so many letters (512 tokens); what stands behind is not held against it.
READ_CHARACTERS = 3000
# Of a query with more relevant documents these count, the first by grade.
MOST_RELEVANT = 10
# BM25's own rankings have 0.79 to 0.99 on six sets (how rare words are is told by few documents here), the bundled
# encoder 0.66 on cranfield and 0.67 on liveqa_med.
ALONE, CHANCE = 0.75, 0.5


class Vocabulary:
    """The terms of queries and documents, each text read once."""

    def __init__(self, case: Case, language: str | None) -> None:
        words = Words.of(language)
        self._case = case
        self._term_of = words.reader()
        self.queries = [self._terms(text) for text in case.queries]
        self._documents: dict[int, Counter[str]] = {}

    def _terms(self, text: str) -> Terms:
        found = {self._term_of(surface) for surface in set(surfaces(text[:READ_CHARACTERS]))}
        return frozenset(found - {""})

    def counts(self, rows: Rows) -> dict[int, Counter[str]]:
        """How often each term stands in each of these documents, by their rows; those not read before all at once."""
        asked = set(rows.tolist()) - {NO_DOCUMENT}
        missing = np.array(sorted(asked - self._documents.keys()), np.int64)
        for row, text in zip(missing.tolist(), self._case.documents.texts(missing), strict=True):
            terms = map(self._term_of, surfaces(text[:READ_CHARACTERS]))
            self._documents[row] = Counter(term for term in terms if term)
        return {row: self._documents[row] for row in sorted(asked)}

    def shares(self, queries: Rows, rows: Rows) -> Floats:
        """The share of each query's terms that a document holds, 0..1, for pairs (n,) and (n,).

        NaN for a query without terms, and for a document without text or in no corpus.
        """
        counts = self.counts(rows)
        found = np.full(len(rows), np.nan)
        for place, (query, row) in enumerate(zip(queries.tolist(), rows.tolist(), strict=True)):
            asked, held = self.queries[query], counts.get(row)
            if asked and held:
                found[place] = len(asked & held.keys()) / len(asked)
        return found


def judged_shares(case: Case, words: Vocabulary) -> Floats:
    """The share of its query's words that each relevant document holds, 0..1, in the order of the relevant judgments.

    NaN where it is not known, and for the documents of a query beyond the first ten by grade.
    """
    wanted = case.judgments.relevant
    order = np.lexsort((-wanted.grades, wanted.queries))
    first = np.arange(len(order)) - wanted.starts[wanted.queries[order]] < MOST_RELEVANT
    kept = np.sort(order[first])
    shares = np.full(len(wanted.queries), np.nan)
    shares[kept] = words.shares(wanted.queries[kept], wanted.documents[kept])
    return shares


def overlap_of(
    case: Case, words: Vocabulary, held: Floats, scores: Floats, against: Floats | None, *, seed: int = 0
) -> dict[str, Any]:
    """What words explain: spearman of shared words and score with its interval, order, first_wrong, a reading.

    Args:
        case: rankings and judgments.
        words: of the queries and documents.
        held: of `judged_shares`.
        scores: (queries,).
        against: (queries,), of the other model.
        seed: of the resamples.

    Returns:
        ``spearman``, ``ci_low``, ``ci_high``, ``against`` (the other model's, or null); ``order``: mean, ci_low,
        ci_high of how often, of two documents of a query, the one comes first that BM25 prefers (0.5 by chance, 1 if
        words alone decide), ``queries``, and ``against``;
        ``first_wrong``: of the queries whose first document is not a relevant one, ``queries``, in how many it is
        ``unjudged``, the shares of words in it (``wrong``) and in the relevant ones (``relevant``), and
        their ``difference`` with ci_low and ci_high; ``right``: the same of the queries whose first document is a
        relevant one and has others beside it (queries, first, relevant, these others, difference); ``beyond``: mean,
        ci_low, ci_high of the first difference above the second; ``reading``.
    """
    shares = case.judgments.relevant.mean(held)
    known = ~np.isnan(shares)
    others = against[known] if against is not None else None
    answer: dict[str, Any] = _rising(shares[known], scores[known], others, seed)
    answer["order"] = _order(case.own, words, seed)
    answer["order"]["against"] = _order(case.other, words, seed)["mean"] if case.other is not None else None
    answer["first_wrong"] = _first_wrong(case, words, held, seed)
    answer["reading"] = _reading(answer, int(known.sum()))
    return answer


def _rising(shares: Floats, scores: Floats, against: Floats | None, seed: int) -> dict[str, float | None]:
    found: dict[str, float | None] = dict.fromkeys(("spearman", "ci_low", "ci_high", "against"))
    if len(shares) < SMALLEST or np.ptp(shares) == 0 or np.ptp(scores) == 0:
        return found
    drawn = resampled_correlations("spearman", shares, scores[None], rounds=ROUNDS, seed=seed)
    found["spearman"] = float(spearman(shares, scores))
    found["ci_low"], found["ci_high"] = ends(drawn[0], len(shares))
    found["against"] = float(spearman(shares, against)) if against is not None else None
    return found


def _order(ranked: Ranked, words: Vocabulary, seed: int) -> dict[str, float | int | None]:
    found = bm25_agreement(ranked, words.queries, words.counts)
    return {**mean_interval(found, seed=seed), "queries": len(found)}


def _first_wrong(case: Case, words: Vocabulary, held: Floats, seed: int) -> dict[str, Any]:
    wanted, own = case.judgments.relevant, case.own
    first = own.rows[:, 0] if own.rows.shape[1] else np.full(len(case.queries), NO_DOCUMENT)
    # Beside the first document: a right one is not held against itself.
    beside = wanted.mean(np.where(wanted.documents == first[wanted.queries], np.nan, held))
    asked = np.flatnonzero((first != NO_DOCUMENT) & ~np.isnan(beside))
    shares = words.shares(asked, first[asked])
    asked, shares = asked[~np.isnan(shares)], shares[~np.isnan(shares)]
    apart, right = shares - beside[asked], own.first_relevant[asked] == 1
    wrong = asked[~right]
    return {
        "queries": len(wrong),
        "unjudged": int((~own.judged[wrong, 0]).sum()) if len(wrong) else 0,
        "wrong": _mean(shares[~right]),
        "relevant": _mean(beside[wrong]),
        **_renamed(mean_interval(apart[~right], seed=seed)),
        "right": {
            "queries": int(right.sum()),
            "first": _mean(shares[right]),
            "relevant": _mean(beside[asked[right]]),
            **_renamed(mean_interval(apart[right], seed=seed)),
        },
        "beyond": surplus(apart[~right], apart[right], seed=seed),
    }


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _renamed(interval: dict[str, float | None]) -> dict[str, float | None]:
    return {"difference": interval["mean"], "ci_low": interval["ci_low"], "ci_high": interval["ci_high"]}


def _reading(answer: dict[str, Any], known: int) -> str:
    if answer["spearman"] is None:
        what = counted(known, "query", "queries")
        return f"{what} with words to share, or scores that do not differ: too little to tell."
    return " ".join([_of_rising(answer), *_of_order(answer["order"]), *_of_first(answer["first_wrong"])])


def _of_rising(answer: dict[str, Any]) -> str:
    rho = f"rank correlation {answer['spearman']:.2f}, 95 % interval {answer['ci_low']:.2f} to {answer['ci_high']:.2f}"
    if answer["ci_low"] > 0:
        return f"Queries that share more words with their documents score higher ({rho}), as they do for any model."
    if answer["ci_high"] < 0:
        return f"Queries that share more words with their documents score lower ({rho})."
    return f"Scores do not depend on shared words that one could tell ({rho})."


def _of_order(order: dict[str, Any]) -> Sequence[str]:
    if order["ci_low"] is None:
        return []
    text = (
        f"Of two documents of a ranking the one that matches the query's words better (BM25) comes first in "
        f"{percent(order['mean'])} of cases ({percent(order['ci_low'])} to {percent(order['ci_high'])}); chance has "
        f"50 %, words alone 80 % to 100 %"
    )
    if order["ci_low"] >= ALONE:
        return [f"{text}: it matches words and hardly anything else."]
    return [f"{text}{': it is not shown to follow words.' if order['ci_low'] <= CHANCE else '.'}"]


def _of_first(first: dict[str, Any]) -> Sequence[str]:
    if first["ci_low"] is None:
        return []
    right = first["right"]
    beside = (
        f"; where it is one ({right['queries']}) {percent(right['first'])}, the other relevant ones "
        f"{percent(right['relevant'])}"
        if right["queries"]
        else ""
    )
    return [
        f"Where the first document is not a relevant one ({first['queries']} queries, in {first['unjudged']} it is not "
        f"judged) it holds {percent(first['wrong'])} of the query's words, the relevant ones "
        f"{percent(first['relevant'])}{beside}: {_misled(first)}."
    ]


def _misled(first: dict[str, Any]) -> str:
    if first["ci_high"] < 0:
        return "such mistakes are not made by words"
    if first["ci_low"] <= 0:
        return "no difference"
    beyond = first["beyond"]
    if beyond["ci_low"] is None:
        return "too few right ones stand beside others to tell whether words misled"
    if beyond["ci_low"] <= 0:
        return "not shown to be more than any first document does"
    missed = first["unjudged"] > first["queries"] / 2
    return f"there words misled{', or the judgments miss documents' if missed else ''}"
