"""Leakage: what the training split shares with the splits that are to judge it.

Queries and documents are compared after folding case and white space (`find_leakage`); texts, pairs and queries also
but for punctuation, and as near duplicates (`between`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from embedft.data.dataset import Dataset
from embedft.data.near import THRESHOLD, duplicate_groups, duplicate_rows
from embedft.data.pairs import pairs_as_retrieval
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


def find_leakage(data: RetrievalData, train: str = "train", *, other: RetrievalData | None = None) -> list[Leak]:
    """Every kind of overlap between the training split and what judges, severe ones first; empty if there is none.

    Args:
        data: what a model learns is its split ``train``, or, for ``other``, all of it where it has none.
        train: name of that split.
        other: data whose splits judge; without it the other splits of ``data`` do. Ids of another set mean nothing.
    """
    names = [train] if train in data.qrels else list(data.qrels) if other is not None else []
    if not names:
        return []
    sides = [_Side.of(data, name) for name in names]
    trained = _Side(
        {query: text for side in sides for query, text in side.queries.items()},
        set().union(*(side.positives for side in sides)),
    )
    if other is None:
        judged = {name: _Side.of(data, name) for name in data.qrels if name != train}
    else:
        judged = {f"{other.path.name}/{name}": _Side.of(other, name) for name in other.qrels}
    leaks = [leak for name, side in judged.items() for leak in _overlap(trained, side, name, ids=other is None)]
    return sorted((leak for leak in leaks if leak.count), key=lambda leak: not leak.severe)


def _overlap(trained: _Side, judged: _Side, name: str, *, ids: bool) -> list[Leak]:
    same_id = {query: text for query, text in judged.queries.items() if ids and query in trained.queries}
    trained_texts = set(trained.queries.values())
    same_text = [text for query, text in judged.queries.items() if query not in same_id and text in trained_texts]
    crossed = [text for text in judged.queries.values() if text in trained.positives]
    answers = trained_texts & judged.positives
    shared = trained.positives & judged.positives
    return [
        _leak("query id", name, same_id.values(), len(judged.queries), severe=True),
        _leak("query text", name, same_text, len(judged.queries), severe=True),
        _leak("query is trained document", name, crossed, len(judged.queries), severe=True),
        _leak("document is trained query", name, answers, len(judged.positives), severe=True),
        _leak("positive text", name, shared, len(judged.positives), severe=False),
    ]


def drop_leaking_queries(
    data: RetrievalData, train: str = "train", *, near: float | None = None
) -> tuple[RetrievalData, int]:
    """The data without the training rows that leak severely, and how many rows went.

    A row goes if its query is judged in another split (by id or text), if its query is a relevant text there, or if its
    document is a query there.

    Args:
        data: documents, queries and qrels.
        train: the split that is trained on.
        near: Jaccard index from which two queries are one (`embedft.data.near`); None compares them folded alone.
    """
    texts = dict(zip(data.queries["id"].to_pylist(), map(folded, data.queries["text"].to_pylist()), strict=True))
    columns = (data.corpus[name].to_pylist() for name in ("id", "title", "text"))
    bodies = {key: _folded_body(title, text) for key, title, text in zip(*columns, strict=True)}
    judged = [_Side.of(data, name) for name in data.qrels if name != train]
    ids = {query for side in judged for query in side.queries}
    queries = {text for side in judged for text in side.queries.values()}
    taken = queries.union(*(side.positives for side in judged))
    if near is not None:
        taken |= _near(list(_Side.of(data, train).queries.values()), list(queries), near)

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


def leaking_rows(data: Dataset, threshold: float = THRESHOLD) -> np.ndarray:
    """Which rows of train leak severely into another split, exactly, swapped or nearly, (n,) bool.

    Args:
        data: rows of any kind, with a split train.
        threshold: Jaccard index of near duplicates.
    """
    table = data.splits["train"]
    if data.kind == "pairs":
        view = pairs_as_retrieval(data)
        numbered = table.append_column("row", pa.array(np.arange(table.num_rows)))
        kept, _ = drop_leaking_queries(view.with_split("train", view.qrels["train"], numbered), near=threshold)
        return ~np.isin(np.arange(table.num_rows), kept.pairs["train"]["row"].to_numpy())
    rows = _rows(data, data.kind == "scored pairs")
    judged = [row for name, part in rows.items() if name != "train" for row in part]
    _, _, near = duplicate_rows([*judged, *rows["train"]], threshold)
    return np.asarray(near[len(judged) :] < len(judged))


def _near(trained: list[str], judged: list[str], threshold: float) -> set[str]:
    """The trained queries that a judged one nearly repeats."""
    _, _, near = duplicate_groups([*judged, *trained], threshold)
    return {text for text, first in zip(trained, near[len(judged) :].tolist(), strict=True) if first < len(judged)}


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
        positives = set(map(_folded_body, rows["title"].to_pylist(), rows["text"].to_pylist()))
        return cls(dict(zip(ids, map(folded, texts), strict=True)), positives)


def _folded_body(title: str, text: str) -> str:
    """The body alone: the same answer under another title is the same answer. Without one, the title is the text."""
    return folded(text) or folded(title)


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


def between(data: Dataset, other: Dataset, threshold: float | None = THRESHOLD) -> list[Leak]:
    """What the training rows of ``data`` share with the other splits, or with all splits of another data set.

    Texts of different kinds are compared text by text; two sets of scored pairs pair by pair, as they stand and
    swapped. Kinds: ``exact``, ``swapped pair``, ``normalised`` (but for case, punctuation, white space),
    ``near duplicate`` (of both texts of a pair). Each judged row counts once, for the first of these that holds. Of two
    sets of queries only the last two are told; `find_leakage` tells the others.

    Args:
        data: its split ``train`` (every split, where it has none) is what a model learns.
        other: ``data`` itself for its own splits, or the data a model is to be judged on.
        threshold: of near duplicates; None leaves them out.
    """
    same_kind = data.kind == other.kind == "scored pairs"
    trained = [row for name, rows in _rows(data, same_kind).items() if name == "train" for row in rows]
    if other is data and not trained:
        return []
    trained = trained or [row for rows in _rows(data, same_kind).values() for row in rows]
    leaks: list[Leak] = []
    for name, rows in _rows(other, same_kind).items():
        if other is data and name == "train":
            continue
        split = name if other is data else f"{other.path.name}/{name}"
        leaks += _row_leaks(trained, rows, split, threshold)
    if data.retrieval is not None and other.retrieval is not None:
        return [leak for leak in leaks if leak.kind != "exact"]
    return leaks


def _rows(data: Dataset, whole_pairs: bool) -> dict[str, list[tuple[str, ...]]]:
    """Split -> the texts of each row: both of a pair, or one a row."""
    if data.retrieval is not None:
        queries = {name: data.retrieval.judged_queries(name)[1] for name in data.retrieval.qrels}
        return {name: [(folded(text),) for text in texts] for name, texts in queries.items()}
    found: dict[str, list[tuple[str, ...]]] = {}
    for split, table in data.splits.items():
        if data.kind == "tags":
            columns = [[" ".join(tokens) for tokens in table["tokens"].to_pylist()]]
        else:
            columns = [column.to_pylist() for column in data.texts(split).values()]
        rows = list(zip(*columns, strict=True))
        found[split] = rows if whole_pairs else [(text,) for row in rows for text in row]
    return found


def _row_leaks(
    trained: list[tuple[str, ...]], judged: list[tuple[str, ...]], split: str, threshold: float | None
) -> list[Leak]:
    if not trained or not judged:
        return []
    exact = set(trained)
    swapped = {row[::-1] for row in exact}
    _, same, near = duplicate_rows([*trained, *judged], threshold)
    first = len(trained)
    found: dict[str, list[str]] = {"exact": [], "swapped pair": [], "normalised": [], "near duplicate": []}
    for number, row in enumerate(judged, start=first):
        kind = (
            "exact"
            if row in exact
            else "swapped pair"
            if len(row) > 1 and row in swapped
            else "normalised"
            if same[number] < first
            else "near duplicate"
            if near[number] < first
            else ""
        )
        if kind:
            found[kind].append(" | ".join(row))
    return [_leak(kind, split, texts, len(judged), severe=True) for kind, texts in found.items() if texts]
