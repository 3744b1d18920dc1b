"""Read pairs and triplets: JSONL, CSV, TSV or Parquet with the columns ``anchor``, ``positive``, ``negative...``.

Roles go by column name, never by order. Any column whose name begins with ``negative`` is a negative; in JSONL and
Parquet it may hold a list.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from embedft.artifacts import sha256_of
from embedft.data.faults import MAX_BAD_SHARE, Fault, FaultLog
from embedft.data.retrieval import CORPUS_SCHEMA, PAIRS_SCHEMA, QRELS_SCHEMA, QUERIES_SCHEMA, SPLITS, RetrievalData
from embedft.data.rows import SUFFIXES, read_rows
from embedft.errors import DataError

EXPECTED = "rows with the columns anchor, positive and, if there are any, negative, negative_2, ..."


def read_pairs(path: Path, faults: list[Fault], max_bad: float = MAX_BAD_SHARE) -> pa.Table:
    """The pairs of one file: columns anchor, positive, negatives (list of strings, may be empty).

    Raises:
        DataError: the file is missing, empty or too broken, or lacks a needed column.
    """
    log = FaultLog(path)
    rows: list[tuple[str, str, list[str]]] = []
    first = True
    for line, row in read_rows(path, log):
        if first:
            _require_columns(path, line, row)
            first = False
        pair = _pair(row)
        if isinstance(pair, str):
            log.add(pair, line)
        else:
            rows.append(pair)
    log.check(EXPECTED, max_bad)
    faults.extend(log.faults)
    return pa.table([list(column) for column in zip(*rows, strict=True)], schema=PAIRS_SCHEMA)


def read_pairs_data(path: Path, max_bad: float = MAX_BAD_SHARE) -> RetrievalData:
    """Retrieval data out of a file of pairs, or of a folder with ``train``, ``dev`` and ``test`` files of pairs.

    The documents are the distinct positives and negatives of all splits, the queries the distinct anchors of each
    split; a single file is the split ``train``.

    Raises:
        DataError: as `read_pairs`; a folder without any such file.
    """
    faults: list[Fault] = []
    files = {"train": path} if path.is_file() else _split_files(path)
    pairs = {split: read_pairs(file, faults, max_bad) for split, file in files.items()}
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
        columns = [[query for query, _ in judged], [document for _, document in judged], list(judged.values())]
        qrels[split] = pa.table(columns, schema=QRELS_SCHEMA)
    corpus = pa.table(
        [list(documents.values()), [""] * len(documents), list(documents), [None] * len(documents)],
        schema=CORPUS_SCHEMA,
    )
    return RetrievalData(
        path,
        corpus,
        pa.table([query_ids, query_texts], schema=QUERIES_SCHEMA),
        qrels,
        pairs=pairs,
        faults=tuple(faults),
        files={file.name: sha256_of(file) for file in files.values()},
    )


def _split_files(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for split in SPLITS:
        found = [folder / f"{split}{suffix}" for suffix in SUFFIXES if (folder / f"{split}{suffix}").is_file()]
        if len(found) > 1:
            names = " and ".join(file.name for file in found)
            raise DataError(f"{folder}: holds {names}; which is meant?", hint="keep one file a split.")
        if found:
            files[split] = found[0]
    if not files:
        raise DataError(
            f"{folder}: holds neither corpus.jsonl (a BEIR folder) nor train.jsonl, .csv, .tsv or .parquet (pairs).",
            hint="see the README for the forms that data may have.",
        )
    return files


def _require_columns(path: Path, line: int, row: dict[str, Any]) -> None:
    missing = [name for name in ("anchor", "positive") if name not in row]
    if missing:
        raise DataError(
            f"{path}:{line}: has no column {' and no column '.join(map(repr, missing))}; it has {', '.join(row)}.",
            hint="rename the columns: 'anchor' is the query, 'positive' the text to be found, 'negative' a wrong one.",
        )


def _pair(row: dict[str, Any]) -> tuple[str, str, list[str]] | str:
    """The pair of a row, or the kind of its fault."""
    for name in ("anchor", "positive"):
        if not isinstance(row.get(name), str):
            return f"{name} is missing or not a string"
        if not row[name].strip():
            return f"{name} is empty"
    negatives: list[str] = []
    for name, value in row.items():
        if name.startswith("negative") and value is not None:
            negatives += value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) and text.strip() for text in negatives):
        return "a negative is empty or not a string"
    if row["positive"] in negatives:
        return "a negative equals the positive"
    if row["anchor"] == row["positive"]:
        return "the positive equals the anchor"
    return row["anchor"], row["positive"], negatives
