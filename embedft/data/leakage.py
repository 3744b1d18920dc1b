"""Leakage: what the training split shares with the splits that are to judge it.

Texts are compared after folding case and white space; near-duplicates are not looked for here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from embedft.data.retrieval import RetrievalData

EXAMPLES = 3
EXAMPLE_LENGTH = 160


@dataclass(frozen=True)
class Leak:
    """One kind of overlap between the training split and another.

    Attributes:
        kind: ``query id`` (the same id in both), ``query text`` (another id, the same text), ``query is trained
            document`` and ``document is trained query`` (a text of both sides), ``positive text`` (a relevant text of
            both).
        split: the split that judges.
        count: how many queries (or relevant texts) of ``split`` are touched.
        share: ``count`` over the number of them in ``split``, 0..1.
        examples: the beginnings of up to three of the texts.
        severe: whether it lets a model know a judged answer. A relevant text in both splits is common in shared
            corpora and is not.
    """

    kind: str
    split: str
    count: int
    share: float
    examples: tuple[str, ...]
    severe: bool

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def folded(text: str) -> str:
    """``text`` with case and runs of white space folded."""
    return " ".join(text.casefold().split())


def find_leakage(data: RetrievalData, train: str = "train") -> list[Leak]:
    """Every kind of overlap between ``train`` and the other splits, severe ones first; empty if there is none."""
    if train not in data.qrels:
        return []
    sides = {name: _Side.of(data, name) for name in data.qrels}
    trained = sides.pop(train)
    leaks: list[Leak] = []
    for name, judged in sides.items():
        same_id = {query: text for query, text in judged.queries.items() if query in trained.queries}
        trained_texts = set(trained.queries.values())
        same_text = {
            query: text for query, text in judged.queries.items() if query not in same_id and text in trained_texts
        }
        crossed = [text for text in judged.queries.values() if text in trained.positives]
        answers = trained_texts & judged.positives
        shared = trained.positives & judged.positives
        leaks += [
            _leak("query id", name, same_id.values(), len(judged.queries), severe=True),
            _leak("query text", name, same_text.values(), len(judged.queries), severe=True),
            _leak("query is trained document", name, crossed, len(judged.queries), severe=True),
            _leak("document is trained query", name, answers, len(judged.positives), severe=True),
            _leak("positive text", name, shared, len(judged.positives), severe=False),
        ]
    return sorted((leak for leak in leaks if leak.count), key=lambda leak: not leak.severe)


def drop_leaking_queries(data: RetrievalData, train: str = "train") -> tuple[RetrievalData, int]:
    """The data without the training rows that leak severely, and how many rows went.

    A row goes if its query is judged in another split (by id or text), if its query is a relevant text there, or if its
    document is a query there.
    """
    texts = dict(zip(data.queries["id"].to_pylist(), map(folded, data.queries["text"].to_pylist()), strict=True))
    bodies = dict(zip(data.corpus["id"].to_pylist(), map(folded, data.corpus["text"].to_pylist()), strict=True))
    judged = [_Side.of(data, name) for name in data.qrels if name != train]
    ids = {query for side in judged for query in side.queries}
    queries = {text for side in judged for text in side.queries.values()}
    taken = queries.union(*(side.positives for side in judged))

    def stays(query: str, document: str) -> bool:
        return query not in taken and document not in queries

    qrels = data.split(train)
    rows = zip(qrels["query_id"].to_pylist(), qrels["corpus_id"].to_pylist(), strict=True)
    keep_row = [query not in ids and stays(texts[query], bodies[document]) for query, document in rows]
    kept = data.with_split(train, qrels.filter(pa.array(keep_row, pa.bool_())))
    if train in data.pairs:
        pairs = data.pairs[train]
        both = zip(pairs["anchor"].to_pylist(), pairs["positive"].to_pylist(), strict=True)
        keep_pair = [stays(folded(anchor), folded(positive)) for anchor, positive in both]
        kept = replace(kept, pairs={**kept.pairs, train: pairs.filter(pa.array(keep_pair, pa.bool_()))})
    return kept, keep_row.count(False)


@dataclass(frozen=True)
class _Side:
    """The judged queries of a split (id -> folded text) and its relevant texts (folded)."""

    queries: dict[str, str]
    positives: set[str]

    @classmethod
    def of(cls, data: RetrievalData, split: str) -> _Side:
        ids, texts = data.judged_queries(split)
        qrels = data.qrels[split]
        relevant = pc.unique(qrels.filter(pc.greater(qrels["grade"], 0))["corpus_id"])
        rows = data.corpus.filter(pc.is_in(data.corpus["id"], value_set=relevant))
        # The body alone: the same answer under another title is the same answer. Without one, the title is the text.
        bodies = zip(rows["title"].to_pylist(), rows["text"].to_pylist(), strict=True)
        positives = {folded(text) or folded(title) for title, text in bodies}
        return cls(dict(zip(ids, map(folded, texts), strict=True)), positives)


def _leak(kind: str, split: str, texts: Iterable[str], total: int, *, severe: bool) -> Leak:
    found = sorted(texts)
    return Leak(
        kind,
        split,
        len(found),
        len(found) / max(total, 1),
        tuple(text[:EXAMPLE_LENGTH] for text in found[:EXAMPLES]),
        severe,
    )
