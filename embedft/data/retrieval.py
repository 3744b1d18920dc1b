"""RetrievalData: documents, queries and graded judgments (qrels) by split, as Arrow tables.

The words are BEIR's. A grade is an integer; above 0 the document is relevant. The same type holds pairs data: there the
documents are the distinct positives and negatives, the queries the distinct anchors (`embedft.data.pairs`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from embedft.data.faults import Fault, Notes
from embedft.errors import DataError

SPLITS = ("train", "dev", "test")

CORPUS_SCHEMA = pa.schema(
    [("id", pa.string()), ("title", pa.string()), ("text", pa.string()), ("metadata", pa.string())]
)
QUERIES_SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("metadata", pa.string())])
QRELS_SCHEMA = pa.schema([("query_id", pa.string()), ("corpus_id", pa.string()), ("grade", pa.int32())])
PAIRS_SCHEMA = pa.schema([("anchor", pa.string()), ("positive", pa.string()), ("negatives", pa.list_(pa.string()))])


def document_text(title: str, text: str) -> str:
    """What an encoder sees of a document: the title, a space, the text (BEIR's convention)."""
    return f"{title} {text}".strip() if title else text


@dataclass(frozen=True)
class RetrievalData:
    """Documents, queries and qrels.

    Attributes:
        path: where it was read from.
        corpus: columns id, title, text, metadata (JSON text of the other fields); ids are distinct.
        queries: columns id, text, metadata; ids are distinct.
        qrels: split name -> columns query_id, corpus_id, grade; every id exists, no pair stands twice.
        pairs: split name -> columns anchor, positive, negatives, where the source gave pairs.
        faults: rows that were left out.
        notes: peculiarities of rows that stayed.
        files: file name -> SHA-256, of everything that was read.
        rows: file name -> rows found in it, bad ones included.
    """

    path: Path
    corpus: pa.Table
    queries: pa.Table
    qrels: Mapping[str, pa.Table]
    pairs: Mapping[str, pa.Table] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    notes: Notes = field(default_factory=Notes)
    files: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)

    def document_texts(self) -> list[str]:
        """The text of each document as an encoder sees it, in corpus order."""
        titles, texts = self.corpus["title"].to_pylist(), self.corpus["text"].to_pylist()
        return [document_text(title, text) for title, text in zip(titles, texts, strict=True)]

    def judged_queries(self, split: str) -> tuple[list[str], list[str]]:
        """Ids and texts of the queries that have a relevant document in ``split``, in the order of the queries.

        Raises:
            DataError: the split does not exist.
        """
        qrels = self.split(split)
        relevant = set(qrels.filter(pc.greater(qrels["grade"], 0))["query_id"].to_pylist())
        rows = zip(self.queries["id"].to_pylist(), self.queries["text"].to_pylist(), strict=True)
        kept = [(query_id, text) for query_id, text in rows if query_id in relevant]
        return [query_id for query_id, _ in kept], [text for _, text in kept]

    def split(self, name: str) -> pa.Table:
        """The qrels of a split.

        Raises:
            DataError: the split does not exist.
        """
        if name not in self.qrels:
            raise DataError(
                f"{self.path}: has no split {name!r}; it has {', '.join(self.qrels) or 'none'}.",
                hint="name one of them, or add the missing file.",
            )
        return self.qrels[name]

    def training_pairs(self, split: str = "train") -> pa.Table:
        """One row for each relevant (query, document): columns anchor, positive, negatives (list, may be empty).

        Raises:
            DataError: the split does not exist.
        """
        qrels = self.split(split)
        if split in self.pairs:
            return self.pairs[split]
        qrels = qrels.filter(pc.greater(qrels["grade"], 0))
        query_of = dict(zip(self.queries["id"].to_pylist(), self.queries["text"].to_pylist(), strict=True))
        document_of = dict(zip(self.corpus["id"].to_pylist(), self.document_texts(), strict=True))
        return pa.table(
            {
                "anchor": [query_of[query_id] for query_id in qrels["query_id"].to_pylist()],
                "positive": [document_of[corpus_id] for corpus_id in qrels["corpus_id"].to_pylist()],
                "negatives": [[] for _ in range(qrels.num_rows)],
            },
            schema=PAIRS_SCHEMA,
        )

    def with_split(self, name: str, qrels: pa.Table, pairs: pa.Table | None = None) -> RetrievalData:
        """The same data with the qrels (and pairs) of one split replaced or added."""
        new_pairs = {**self.pairs, **({} if pairs is None else {name: pairs})}
        return replace(self, qrels={**self.qrels, name: qrels}, pairs=new_pairs)

    def manifest(self) -> dict[str, Any]:
        """What a run stores of its data: path, counts, file hashes, faults by kind."""
        kinds: dict[str, int] = {}
        for fault in self.faults:
            kinds[fault.kind] = kinds.get(fault.kind, 0) + 1
        return {
            "path": str(self.path),
            "documents": self.corpus.num_rows,
            "queries": self.queries.num_rows,
            "qrels": {name: table.num_rows for name, table in self.qrels.items()},
            "files": dict(self.files),
            "faults": kinds,
        }
