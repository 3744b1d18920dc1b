"""Queries that an index is tuned on: given ones, or parts of its own documents.

A document's vector as its own query would find itself whatever the index does, so recall would be overstated. A query
made here is one sentence of a document of several, or else a half of its words (of its characters, where it has no
spaces, as in Chinese or Japanese), encoded as queries are. Documents that are too short to be halved make none.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from embedft.artifacts import write_bytes
from embedft.data.derive import sentences

COUNT = 1000
MIN_WORDS, MIN_CHARACTERS = 3, 8
TEXTS = "queries.jsonl"

Halved = TypeVar("Halved", str, list[str])


def queries_of(documents: pa.Table, count: int = COUNT, seed: int = 0) -> list[str]:
    """Queries out of ``count`` documents drawn by ``seed``, one a document; fewer where documents are few or short.

    Args:
        documents: column text.
        count: the most queries.
        seed: of the drawing.
    """
    random = np.random.default_rng(seed)
    made: dict[str, None] = {}
    for row in random.permutation(documents.num_rows):
        if len(made) == count:
            break
        query = _part_of(documents["text"][int(row)].as_py(), random)
        if query:
            made[query] = None
    return list(made)


def _part_of(text: str, random: np.random.Generator) -> str:
    parts = [part for part in sentences(text) if len(part.split()) >= MIN_WORDS]
    if len(parts) > 1:
        return parts[int(random.integers(len(parts)))]
    words = text.split()
    if len(words) == 1:
        return _half(words[0], random) if len(words[0]) >= MIN_CHARACTERS else ""
    return " ".join(_half(words, random)) if len(words) >= MIN_WORDS else ""


def _half(whole: Halved, random: np.random.Generator) -> Halved:
    length = (len(whole) + 1) // 2
    start = int(random.integers(len(whole) - length + 1))
    return whole[start : start + length]


def write_queries(folder: Path, texts: Sequence[str], *, given: bool) -> None:
    """Keep the texts, so that another model can be tuned on the same queries."""
    lines = (json.dumps({"text": text, "given": given}, ensure_ascii=False) + "\n" for text in texts)
    write_bytes(folder / TEXTS, "".join(lines).encode("utf-8", "surrogatepass"))


def read_queries(folder: Path) -> tuple[list[str], bool]:
    """What `write_queries` kept: the texts, and whether they were given (not made of documents)."""
    rows: list[dict[str, Any]] = [json.loads(line) for line in (folder / TEXTS).read_bytes().splitlines()]
    return [row["text"] for row in rows], bool(rows and rows[0]["given"])
