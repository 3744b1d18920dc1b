"""Hold out a part of the training split for choosing the best step, without a text on both sides."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from embedft.data.leakage import folded
from embedft.data.retrieval import RetrievalData
from embedft.errors import DataError


def hold_out(data: RetrievalData, name: str = "dev", *, share: float = 0.1, seed: int = 0) -> RetrievalData:
    """The data with about ``share`` of the training queries moved into a new split ``name``.

    Queries that share a text or a relevant document are one component and move together. Which components move depends
    on their texts and ``seed`` alone, not on the order of the rows.

    Args:
        data: has a split ``train``.
        name: the new split.
        share: 0..1, of the training queries.
        seed: another seed, another choice.

    Raises:
        DataError: no component can be held out without emptying the training split.
    """
    qrels = data.split("train")
    text_of = dict(zip(data.queries["id"].to_pylist(), map(folded, data.queries["text"].to_pylist()), strict=True))
    # By text, not by id: two documents with one text must not part.
    body_of = dict(zip(data.corpus["id"].to_pylist(), map(folded, data.document_texts()), strict=True))
    components = _Components()
    # A document that many queries were judged against, and that is relevant to none of them, joins nothing.
    relevant = qrels.filter(pc.greater(qrels["grade"], 0))
    for query, document in zip(relevant["query_id"].to_pylist(), relevant["corpus_id"].to_pylist(), strict=True):
        components.join(f"q {text_of[query]}", f"d {body_of[document]}")
    queries: dict[str, list[str]] = {}
    for query in dict.fromkeys(qrels["query_id"].to_pylist()):
        queries.setdefault(components.root(f"q {text_of[query]}"), []).append(query)
    groups = sorted(queries.values(), key=lambda group: _draw(min(text_of[query] for query in group), seed))
    wanted = share * sum(map(len, groups))
    moved: set[str] = set()
    for group in groups:
        # A component larger than the whole share would leave the training split short; it stays.
        if len(moved) + len(group) <= max(wanted, 1):
            moved.update(group)
    if not moved or len(moved) == sum(map(len, groups)):
        raise DataError(
            f"{data.path}: no dev split, and none can be held out of {len(groups)} independent training queries.",
            hint="add a dev split (qrels/dev.tsv or dev.jsonl).",
        )
    in_dev = [query in moved for query in qrels["query_id"].to_pylist()]
    dev, train = qrels.filter(pa.array(in_dev)), qrels.filter(pa.array([not moves for moves in in_dev]))
    held = replace(data, qrels={"train": train, name: dev, **{k: v for k, v in data.qrels.items() if k != "train"}})
    if "train" not in data.pairs:
        return held
    moved_texts = {text_of[query] for query in moved}
    pairs = data.pairs["train"]
    moves = [folded(anchor) in moved_texts for anchor in pairs["anchor"].to_pylist()]
    kept_pairs = pairs.filter(pa.array([not move for move in moves]))
    return replace(held, pairs={**data.pairs, "train": kept_pairs, name: pairs.filter(pa.array(moves))})


def _draw(text: str, seed: int) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8, salt=seed.to_bytes(16, "little", signed=True)).digest()


class _Components:
    """Connected components by union-find with path halving."""

    def __init__(self) -> None:
        self.parent: dict[str, str] = {}

    def root(self, node: str) -> str:
        parent = self.parent
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(self, left: str, right: str) -> None:
        left, right = self.root(left), self.root(right)
        # The smaller name is the root, so that components do not depend on the order of the rows.
        self.parent[max(left, right)] = min(left, right)
