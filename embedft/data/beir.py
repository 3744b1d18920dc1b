"""Read a BEIR folder: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/{train,dev,test}.tsv``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from embedft.artifacts import atomic_directory, sha256_of
from embedft.data.faults import MAX_BAD_SHARE, SHOWN, Fault, FaultLog, report
from embedft.data.retrieval import CORPUS_SCHEMA, QRELS_SCHEMA, QUERIES_SCHEMA, SPLITS, RetrievalData
from embedft.data.rows import read_rows
from embedft.errors import DataError

UnknownIds = Literal["error", "drop"]

# Rows are gathered as Python objects in blocks of this many, then live in Arrow memory.
BLOCK = 16_384
HIGHEST_GRADE = 1_000_000


def is_beir(path: Path) -> bool:
    """Whether ``path`` is a folder with a ``corpus.jsonl``."""
    return (path / "corpus.jsonl").is_file()


def read_beir(path: Path, *, unknown_ids: UnknownIds = "error", max_bad: float = MAX_BAD_SHARE) -> RetrievalData:
    """The data of a BEIR folder.

    Args:
        path: the folder.
        unknown_ids: what to do with qrels that name a query or document that does not exist: ``"error"``, since
            they mean that files of different versions were mixed and would make every figure wrong, or ``"drop"``.
        max_bad: share of bad rows a file may have, 0..1; bad rows are left out and listed in ``faults``.

    Raises:
        DataError: a file is missing, empty, too broken, or the qrels name unknown ids.
    """
    files = [path / "corpus.jsonl", path / "queries.jsonl"]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such file.", hint="a BEIR folder has corpus.jsonl, queries.jsonl and qrels/.")
    faults: list[Fault] = []
    corpus = read_corpus(files[0], faults, max_bad)
    queries = _read_queries(files[1], faults, max_bad)
    qrels = {}
    for split in SPLITS:
        file = path / "qrels" / f"{split}.tsv"
        if file.is_file():
            files.append(file)
            rows = _read_qrels(file, faults, max_bad)
            qrels[split] = _known(file, rows, corpus, queries, unknown_ids, faults)
    if not qrels:
        raise DataError(
            f"{path / 'qrels'}: holds none of {', '.join(f'{split}.tsv' for split in SPLITS)}.",
            hint="add qrels with the columns query-id, corpus-id, score.",
        )
    hashes = {file.relative_to(path).as_posix(): sha256_of(file) for file in files}
    return RetrievalData(path, corpus, queries, qrels, faults=tuple(faults), files=hashes)


def write_beir(data: RetrievalData, path: Path, *, force: bool = False) -> None:
    """Write a BEIR folder, atomically; pairs with negatives keep only their positives.

    Raises:
        ArtifactError: ``path`` exists, and ``force`` is False or it is not a BEIR folder.
        DiskFullError: the disk ran full.
    """
    with atomic_directory(path, force=force, ours=is_beir) as staged:
        with (staged / "corpus.jsonl").open("w", encoding="utf-8") as file:
            for row in data.corpus.to_pylist():
                metadata = json.loads(row["metadata"]) if row["metadata"] else {}
                document = {"_id": row["id"], "title": row["title"], "text": row["text"], **metadata}
                file.write(json.dumps(document, ensure_ascii=False) + "\n")
        with (staged / "queries.jsonl").open("w", encoding="utf-8") as file:
            for row in data.queries.to_pylist():
                file.write(json.dumps({"_id": row["id"], "text": row["text"]}, ensure_ascii=False) + "\n")
        (staged / "qrels").mkdir()
        for split, qrels in data.qrels.items():
            with (staged / "qrels" / f"{split}.tsv").open("w", encoding="utf-8") as file:
                file.write("query-id\tcorpus-id\tscore\n")
                for row in qrels.to_pylist():
                    file.write(f"{row['query_id']}\t{row['corpus_id']}\t{row['grade']}\n")


def read_corpus(path: str | Path, faults: list[Fault] | None = None, max_bad: float = MAX_BAD_SHARE) -> pa.Table:
    """The documents of a JSONL file with the fields ``_id``, ``title`` (may be missing) and ``text``.

    All other fields are kept as JSON text in the column ``metadata``. An empty text is kept (public collections have
    some); a missing or null one is a fault.

    Args:
        path: the file.
        faults: where to list the rows that were left out; without it the first of them are logged as warnings.
        max_bad: share of bad rows that is allowed, 0..1.

    Raises:
        DataError: the file is missing, empty or too broken.
    """

    def document(row: dict[str, Any]) -> tuple[Any, ...] | str:
        title, text = row.get("title") or "", row.get("text")
        if not isinstance(text, str):
            return "text is missing" if "text" not in row else "text is not a string"
        if not isinstance(title, str):
            return "title is not a string"
        known = {"_id", "title", "text"}
        metadata = {key: value for key, value in row.items() if key not in known}
        if row.get("metadata") == {}:
            metadata.pop("metadata")
        return title, text, json.dumps(metadata, ensure_ascii=False) if metadata else None

    expected = 'rows like {"_id": "d1", "title": "", "text": "..."}'
    found: list[Fault] = []
    corpus = _read_by_id(Path(path), CORPUS_SCHEMA, document, expected, found, max_bad)
    if faults is None:
        report(found)
    else:
        faults += found
    return corpus


def _read_queries(path: Path, faults: list[Fault], max_bad: float) -> pa.Table:
    def query(row: dict[str, Any]) -> tuple[Any, ...] | str:
        text = row.get("text")
        if not isinstance(text, str):
            return "text is missing" if "text" not in row else "text is not a string"
        return (text,) if text.strip() else "text is empty"

    return _read_by_id(path, QUERIES_SCHEMA, query, 'rows like {"_id": "q1", "text": "..."}', faults, max_bad)


def _read_by_id(
    path: Path,
    schema: pa.Schema,
    fields: Callable[[dict[str, Any]], tuple[Any, ...] | str],
    expected: str,
    faults: list[Fault],
    max_bad: float,
) -> pa.Table:
    """Rows with a distinct ``_id``; ``fields`` gives the other columns, or the kind of fault."""
    log = FaultLog(path)
    seen: set[str] = set()
    batches: list[pa.RecordBatch] = []
    block: list[tuple[Any, ...]] = []

    def flush() -> None:
        if block:
            batches.append(pa.record_batch([list(column) for column in zip(*block, strict=True)], schema=schema))
            block.clear()

    for line, row in read_rows(path, log):
        row_id = row.get("_id")
        if isinstance(row_id, int) and not isinstance(row_id, bool):
            row_id = str(row_id)
        if not isinstance(row_id, str) or not row_id:
            log.add("_id is missing or not a string", line, row.get("_id"))
            continue
        if row_id in seen:
            log.add("_id stands twice", line, row_id)
            continue
        values = fields(row)
        if isinstance(values, str):
            log.add(values, line, row_id)
            continue
        seen.add(row_id)
        block.append((row_id, *values))
        if len(block) == BLOCK:
            flush()
    flush()
    log.check(expected, max_bad)
    faults.extend(log.faults)
    return pa.Table.from_batches(batches, schema=schema)


def _read_qrels(path: Path, faults: list[Fault], max_bad: float) -> list[tuple[int, str, str, int]]:
    log = FaultLog(path)
    grades: dict[tuple[str, str], int] = {}
    rows = []
    columns = ("query-id", "corpus-id", "score")
    for line, row in read_rows(path, log):
        if not set(columns) <= row.keys():
            raise DataError(
                f"{path}:1: needs the columns {', '.join(columns)}; the header has {', '.join(row)}.",
                hint="give the file a tab-separated header with these three names.",
            )
        pair = (row["query-id"], row["corpus-id"])
        try:
            grade = int(row["score"])
        except ValueError:
            log.add("score is not an integer", line, row["score"])
            continue
        if abs(grade) > HIGHEST_GRADE:
            log.add("score is beyond any grade", line, row["score"])
            continue
        if pair in grades:
            if grades[pair] != grade:
                log.add("pair stands twice with different scores", line, f"{pair[0]} {pair[1]}")
            continue
        grades[pair] = grade
        rows.append((line, *pair, grade))
    log.check("rows of query-id, corpus-id, score (an integer), separated by tabs", max_bad)
    faults.extend(log.faults)
    return rows


def _known(
    path: Path,
    rows: list[tuple[int, str, str, int]],
    corpus: pa.Table,
    queries: pa.Table,
    unknown_ids: UnknownIds,
    faults: list[Fault],
) -> pa.Table:
    """The qrels whose ids exist."""
    documents, query_ids = set(corpus["id"].to_pylist()), set(queries["id"].to_pylist())
    unknown = [
        Fault("unknown id in qrels", path, line, f"{kind} {value!r}")
        for line, query_id, corpus_id, _ in rows
        for kind, value, known in (("query-id", query_id, query_ids), ("corpus-id", corpus_id, documents))
        if value not in known
    ]
    if unknown and unknown_ids == "error":
        shown = "\n".join(f"  {fault}" for fault in unknown[:SHOWN])
        raise DataError(
            f"{path}: {len({fault.line for fault in unknown})} of {len(rows)} rows name ids that corpus.jsonl or "
            f"queries.jsonl do not have (or whose row there was left out as bad):\n{shown}",
            hint="check that the files belong together; to leave such rows out use --unknown-ids drop "
            "(in a configuration: data.unknown_ids: drop).",
        )
    faults.extend(unknown)
    bad = {fault.line for fault in unknown}
    kept = [(query_id, corpus_id, grade) for line, query_id, corpus_id, grade in rows if line not in bad]
    columns = [list(column) for column in zip(*kept, strict=True)] if kept else [[], [], []]
    return pa.table(columns, schema=QRELS_SCHEMA)
