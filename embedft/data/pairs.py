"""Retrieval data out of pairs and triplets: the positives and negatives are its documents, the anchors its queries."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from embedft.data.dataset import Dataset, read_dataset
from embedft.data.faults import MAX_BAD_SHARE
from embedft.data.retrieval import CORPUS_SCHEMA, PAIRS_SCHEMA, QRELS_SCHEMA, QUERIES_SCHEMA, SPLITS, RetrievalData
from embedft.data.roles import way_out
from embedft.errors import DataError

logger = logging.getLogger("embedft")


def read_pairs_data(
    path: Path, max_bad: float = MAX_BAD_SHARE, columns: Mapping[str, tuple[str, ...]] | None = None
) -> RetrievalData:
    """Retrieval data out of pairs from any source of `read_dataset`: a file, or a folder with ``train``, ``dev`` and
    ``test`` files, a pattern, a name on the hub, standard input.

    The documents are the distinct positives and negatives of all splits, the queries the distinct anchors of each
    split; a single file is the split ``train``. Columns go by name, never by order (`embedft.data.roles`).

    Raises:
        DataError: as `read_dataset`; the rows are no pairs; a folder without any such file.
    """
    data = read_dataset(path, columns=columns, max_bad=max_bad)
    if data.kind != "pairs":
        raise DataError(
            f"{path}: holds {data.kind}, retrieval needs pairs or a BEIR folder.",
            hint=way_out(data.kind, "anchor (the query) and positive (the text to be found)"),
        )
    splits = {"train": next(iter(data.splits.values()))} if path.is_file() else data.splits
    pairs = {name: splits[name] for name in SPLITS if name in splits}
    if not pairs:
        raise DataError(f"{path}: holds no train, dev or test file.", hint="name the file of the pairs itself.")
    if others := [name for name in splits if name not in pairs]:
        logger.warning("%s: %s: not read; the splits of pairs are train, dev and test", path, ", ".join(others))
    return pairs_as_retrieval(replace(data, splits=pairs))


def pairs_as_retrieval(data: Dataset) -> RetrievalData:
    """Pairs as documents, queries and qrels, under the names of their splits."""
    pairs = {name: table.select(PAIRS_SCHEMA.names) for name, table in data.splits.items()}
    documents: dict[str, str] = {}
    query_ids: list[str] = []
    query_texts: list[str] = []
    qrels: dict[str, pa.Table] = {}
    for split, table in pairs.items():
        queries: dict[str, str] = {}
        judged: dict[tuple[str, str], int] = {}
        for row in table.to_pylist():
            query_id = queries.setdefault(row["anchor"], f"{split}-q{len(queries) + 1}")
            for text in (row["positive"], *row["negatives"]):
                documents.setdefault(text, f"d{len(documents) + 1}")
            judged[query_id, documents[row["positive"]]] = 1
        query_ids += queries.values()
        query_texts += queries
        judgments = [[query for query, _ in judged], [document for _, document in judged], list(judged.values())]
        qrels[split] = pa.table(judgments, schema=QRELS_SCHEMA)
    corpus = pa.table(
        [list(documents.values()), [""] * len(documents), list(documents), [None] * len(documents)],
        schema=CORPUS_SCHEMA,
    )
    return RetrievalData(
        data.path,
        corpus,
        pa.table([query_ids, query_texts, [None] * len(query_ids)], schema=QUERIES_SCHEMA),
        qrels,
        pairs=pairs,
        faults=data.faults,
        notes=data.notes,
        files=data.files,
        rows=data.rows,
    )
