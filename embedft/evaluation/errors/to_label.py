"""Documents to judge next: unjudged candidates, by how they stand in the ranking.

What tells them was measured on judgments that were hidden (30 % of the relevant ones, six times): a document that
stands far above the mean of its query's ranking, whose query finds a relevant document soon, and that the other model
ranks high too. Of 30 suggestions 52 % were hidden judgments on cranfield and 64 % on liveqa_med, of all unjudged
documents above the first relevant one 8 and 27 %; on medquad, where next to nothing is left to find, 2 and 1 %. The
lead over the relevant documents tells nothing (7 % on cranfield): where it is large, the query has failed.

Each suggestion says why in words.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.data.near import THRESHOLD, normalised, shingle_hashes
from embedft.evaluation.errors.judged import NOT_FOUND, Case, Rows, ranks_of
from embedft.evaluation.errors.overlap import Vocabulary
from embedft.evaluation.errors.slices import percent
from embedft.evaluation.texts import shown

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
SUGGESTED, OF_ONE_QUERY = 30, 2
# Pairs of a candidate and a relevant document that are compared letter by letter, the nearest by score first: near
# duplicates have nearly one score for any query. Those farther apart, in standard deviations, are not compared.
COMPARED_PAIRS = 5000
NEAR_SCORE = 0.5
LENGTH_SHARE = 0.5
SMALLEST_SPREAD = 1e-9
# Of the query's words; more than this is worth telling.
MANY_WORDS = 0.6
# A rank is worth half a standard deviation when it is halved. A repeated document comes before all others.
HALVED, REPEATED = 0.5, 100.0
# What stands lower is not suggested: of such documents 5 and 15 % were hidden judgments, of those above 26 and 62 %.
LOWEST = 0.0
# In place of a rank that is not in a ranking: as far as one looks.
FAR = 200


@dataclass(frozen=True)
class _Candidates:
    """Unjudged documents of the top k, (n,) each.

    Attributes:
        queries, rows, ranks, scores: of each; ranks from 1.
        standing: its score above the mean of its query's ranking, in standard deviations.
        spread: that standard deviation.
        first: rank of the first relevant document of its query; 0 if it was not found.
        against: its rank in the other model's ranking, 0 if it is not there; None if there is no other.
    """

    queries: Rows
    rows: Rows
    ranks: Rows
    scores: Floats
    standing: Floats
    spread: Floats
    first: Rows
    against: Rows | None

    @classmethod
    def of(cls, case: Case, k: int) -> _Candidates:
        own = case.own
        queries, places = np.nonzero(own.filled[:, :k] & ~own.judged[:, :k])
        asked, place = np.unique(queries, return_inverse=True)
        scores = np.where(own.filled[asked], own.scores[asked], np.nan)
        found, rows = own.scores[queries, places], own.rows[queries, places]
        spread = np.maximum(np.nanstd(scores, axis=1), SMALLEST_SPREAD)[place]
        standing = (found - np.nanmean(scores, axis=1)[place]) / spread
        first = own.first_relevant[queries]
        against = None
        if case.other is not None:
            against = ranks_of(case.other.rows, queries, rows, case.judgments.width)
        return cls(queries, rows, places + 1, found, standing, spread, first, against)

    @property
    def above(self) -> Bools:
        """Whether each stands above all relevant documents."""
        return np.asarray((self.first == NOT_FOUND) | (self.ranks < self.first))


def to_label(case: Case, words: Vocabulary, k: int) -> list[dict[str, Any]]:
    """Up to 30 unjudged documents of the top k, each once, at most two a query, by how they stand.

    They stand above all relevant documents, or repeat one. Keys: query_id, query, id, title, text, rank, score,
    against_rank, duplicate_of (id of the relevant document that it repeats, or null), why (in words).
    """
    found = _Candidates.of(case, k)
    repeated = _repeated(case, found)
    standing = _standing(found, repeated)
    worth = np.flatnonzero((found.above & (standing > LOWEST)) | (repeated >= 0))
    chosen: list[int] = []
    taken: Counter[int] = Counter()
    seen: set[int] = set()
    for place in worth[np.argsort(-standing[worth], kind="stable")].tolist():
        query, row = int(found.queries[place]), int(found.rows[place])
        if taken[query] < OF_ONE_QUERY and row not in seen and len(chosen) < SUGGESTED:
            taken[query] += 1
            seen.add(row)
            chosen.append(place)
    held = words.shares(found.queries[chosen], found.rows[chosen])
    return [
        _suggestion(case, found, place, share, int(repeated[place]))
        for place, share in zip(chosen, held.tolist(), strict=True)
    ]


def _standing(found: _Candidates, repeated: Rows) -> Floats:
    """How high each stands, in standard deviations of its query's scores: higher ones were more often relevant."""
    value = found.standing - HALVED * _depth(found.first) + REPEATED * (repeated >= 0)
    return np.asarray(value if found.against is None else value - HALVED * _depth(found.against), np.float64)


def _depth(ranks: Rows) -> Floats:
    return np.asarray(np.log2(np.where(ranks == NOT_FOUND, FAR, ranks)), np.float64)


def _repeated(case: Case, found: _Candidates) -> Rows:
    """For each candidate a relevant document of its query that it repeats, or -1, (n,)."""
    wanted = case.judgments.relevant
    sizes = np.diff(wanted.starts)[found.queries]
    candidate = np.repeat(np.arange(len(sizes)), sizes)
    judgment = np.repeat(wanted.starts[found.queries] - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    ranks = case.own.ranks[judgment]
    scores = case.own.scores[found.queries[candidate], ranks - 1]
    apart = np.abs(found.scores[candidate] - scores) / found.spread[candidate]
    near = np.flatnonzero((ranks != NOT_FOUND) & (apart < NEAR_SCORE))
    near = near[np.argsort(apart[near], kind="stable")][:COMPARED_PAIRS]
    left, right = found.rows[candidate[near]], wanted.documents[judgment[near]]
    alike = _alike(case, left, right)
    repeated = np.full(len(sizes), -1, np.int64)
    repeated[candidate[near[alike]]] = right[alike]
    return repeated


def _alike(case: Case, left: Rows, right: Rows) -> Bools:
    """Which pairs of documents are near duplicates, (n,); one without text is none."""
    distinct, place = np.unique(np.concatenate([left, right]), return_inverse=True)
    texts = [normalised(text) for text in case.documents.texts(distinct)]
    hashes, starts = shingle_hashes(texts)
    shingles: dict[int, npt.NDArray[np.uint32]] = {}

    def read(number: int) -> npt.NDArray[np.uint32]:
        if number not in shingles:
            shingles[number] = np.unique(hashes[starts[number] : starts[number + 1]])
        return shingles[number]

    sizes = np.diff(starts)
    alike = np.zeros(len(left), np.bool_)
    for number, (one, other) in enumerate(place.reshape(2, -1).T.tolist()):
        # Sets of sizes so far apart cannot be alike, whatever they hold. (Repeats within a text may hide a pair.)
        if texts[one] and min(sizes[one], sizes[other]) >= LENGTH_SHARE * max(sizes[one], sizes[other]):
            both = len(np.intersect1d(read(one), read(other), assume_unique=True))
            alike[number] = both >= THRESHOLD * (len(read(one)) + len(read(other)) - both)
    return alike


def _suggestion(case: Case, found: _Candidates, place: int, held: float, twin: int) -> dict[str, Any]:
    query = int(found.queries[place])
    return {
        "query_id": case.query_ids[query],
        "query": shown(case.queries[query]),
        **case.documents.describe(int(found.rows[place])),
        "rank": int(found.ranks[place]),
        "score": float(found.scores[place]),
        "against_rank": (int(found.against[place]) or None) if found.against is not None else None,
        "duplicate_of": case.documents.ids[twin] if twin >= 0 else None,
        "why": _why(case, found, place, held, twin),
    }


def _why(case: Case, found: _Candidates, place: int, held: float, twin: int) -> str:
    rank, first = int(found.ranks[place]), int(found.first[place])
    reasons = [f"near duplicate of the relevant document {case.documents.ids[twin]!r}"] if twin >= 0 else []
    if first == NOT_FOUND:
        reasons.append(f"ranked {rank}, no relevant document found")
    else:
        best = float(case.own.scores[found.queries[place], first - 1])
        reasons.append(f"ranked {rank} with {found.scores[place]:.3f}, the first relevant one {first} with {best:.3f}")
    if found.against is not None and found.against[place] != NOT_FOUND:
        reasons.append(f"the other model ranks it {int(found.against[place])}")
    if held >= MANY_WORDS:
        reasons.append(f"holds {percent(held)} of the query's words")
    return "; ".join(reasons)
