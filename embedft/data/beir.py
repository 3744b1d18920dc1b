"""Read a BEIR folder: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/{train,dev,test}.tsv``."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from embedft.artifacts import atomic_directory, sha256_of
from embedft.data.faults import MAX_BAD_SHARE, SHOWN, Fault, FaultLog, Notes, bad_lines, report
from embedft.data.normal import metadata_text, type_name
from embedft.data.qrels import Judgment, qrels_files, read_qrels
from embedft.data.retrieval import CORPUS_SCHEMA, QRELS_SCHEMA, QUERIES_SCHEMA, SPLITS, RetrievalData
from embedft.data.rows import read_rows
from embedft.errors import DataError

UnknownIds = Literal["error", "drop"]

# Rows are gathered as Python objects in blocks of this many, then live in Arrow memory.
BLOCK = 16_384
# What BEIR's own files have where there is no metadata.
EMPTY: tuple[str, dict[str, Any]] = ("metadata", {})


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
    logs = [FaultLog(file) for file in files]
    corpus = _read_documents(logs[0], max_bad)
    queries = _read_queries(logs[1], max_bad)
    left_out = {fault.found for log in logs for fault in log.faults}
    qrels = {}
    for split, file in qrels_files(path):
        logs.append(FaultLog(file))
        rows = read_qrels(logs[-1], max_bad)
        qrels[split] = _known(logs[-1], rows, corpus, queries, unknown_ids, left_out)
    if not qrels:
        raise DataError(
            f"{path / 'qrels'}: holds none of {', '.join(f'{split}.tsv' for split in SPLITS)}.",
            hint="add qrels with the columns query-id, corpus-id, score.",
        )
    notes = Notes()
    for log in logs:
        notes.merge(log.notes)
    name_of = {log.path: log.path.relative_to(path).as_posix() for log in logs}
    return RetrievalData(
        path,
        corpus,
        queries,
        qrels,
        faults=tuple(fault for log in logs for fault in log.faults),
        notes=notes,
        files={name: sha256_of(file) for file, name in name_of.items()},
        rows={name_of[log.path]: log.rows for log in logs},
    )


def write_beir(data: RetrievalData, path: Path, *, force: bool = False) -> None:
    """Write a BEIR folder, atomically; pairs with negatives keep only their positives.

    Raises:
        ArtifactError: ``path`` exists, and ``force`` is False or it is not a BEIR folder.
        DiskFullError: the disk ran full.
    """
    with atomic_directory(path, force=force, ours=is_beir) as staged:
        write_beir_into(data, staged)


def write_beir_into(data: RetrievalData, folder: Path) -> None:
    """Write the files of a BEIR folder into an empty one; a split without judgments gets none: no reader takes it."""
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for row in data.corpus.to_pylist():
            metadata = json.loads(row["metadata"]) if row["metadata"] else {}
            document = {"_id": row["id"], "title": row["title"], "text": row["text"], **metadata}
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
    with (folder / "queries.jsonl").open("w", encoding="utf-8") as file:
        for row in data.queries.to_pylist():
            metadata = json.loads(row["metadata"]) if row["metadata"] else {}
            file.write(json.dumps({"_id": row["id"], "text": row["text"], **metadata}, ensure_ascii=False) + "\n")
    (folder / "qrels").mkdir()
    for split, qrels in data.qrels.items():
        if not qrels.num_rows:
            continue
        with (folder / "qrels" / f"{split}.tsv").open("w", encoding="utf-8") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            for row in qrels.to_pylist():
                file.write(f"{row['query_id']}\t{row['corpus_id']}\t{row['grade']}\n")


def read_corpus(
    path: str | Path,
    faults: list[Fault] | None = None,
    max_bad: float = MAX_BAD_SHARE,
    notes: Notes | None = None,
) -> pa.Table:
    """The documents of a JSONL file with the fields ``_id``, ``title`` (may be missing) and ``text``.

    All other fields are kept as JSON text in the column ``metadata``. An empty text is kept (public collections have
    some); a missing or null one is a fault.

    Args:
        path: the file.
        faults: where to list the rows that were left out; without it the first of them are logged as warnings.
        max_bad: share of bad rows that is allowed, 0..1.
        notes: where to count peculiarities of the rows that stay.

    Raises:
        DataError: the file is missing, empty or too broken.
    """
    log = FaultLog(Path(path))
    corpus = _read_documents(log, max_bad)
    if faults is None:
        report(log.faults)
    else:
        faults += log.faults
    if notes is not None:
        notes.merge(log.notes)
    return corpus


def _read_documents(log: FaultLog, max_bad: float) -> pa.Table:
    def document(row: dict[str, Any], line: int) -> tuple[Any, ...] | str:
        title, text = row.get("title") or "", row.get("text")
        if not isinstance(text, str):
            return "text is missing" if "text" not in row else f"text is {type_name(text)}"
        if not isinstance(title, str):
            return f"title is {type_name(title)}"
        if "title" not in row:
            log.note("no title", line)
        if not text.strip():
            log.note("text is empty", line, title)
        return title, text, _metadata(row)

    expected = 'rows like {"_id": "d1", "title": "", "text": "..."}'
    return _read_by_id(log, CORPUS_SCHEMA, document, expected, max_bad)


def _read_queries(log: FaultLog, max_bad: float) -> pa.Table:
    def query(row: dict[str, Any], _line: int) -> tuple[Any, ...] | str:
        text = row.get("text")
        if not isinstance(text, str):
            return "text is missing" if "text" not in row else f"text is {type_name(text)}"
        return (text, _metadata(row)) if text.strip() else "text is empty"

    expected = 'rows like {"_id": "q1", "text": "..."}'
    return _read_by_id(log, QUERIES_SCHEMA, query, expected, max_bad)


def _metadata(row: dict[str, Any]) -> str | None:
    """All other fields as JSON text; BEIR's empty ``metadata`` says nothing."""
    other = {key: value for key, value in row.items() if key not in ("_id", "title", "text") and (key, value) != EMPTY}
    return metadata_text(other)


def _read_by_id(
    log: FaultLog,
    schema: pa.Schema,
    fields: Callable[[dict[str, Any], int], tuple[Any, ...] | str],
    expected: str,
    max_bad: float,
) -> pa.Table:
    """Rows with a distinct ``_id``; ``fields`` gives the other columns, or the kind of fault."""
    seen: set[str] = set()
    batches: list[pa.RecordBatch] = []
    block: list[tuple[Any, ...]] = []

    def flush() -> None:
        if block:
            batches.append(pa.record_batch([list(column) for column in zip(*block, strict=True)], schema=schema))
            block.clear()

    for line, row in read_rows(log.path, log):
        row_id = row.get("_id")
        if isinstance(row_id, int) and not isinstance(row_id, bool):
            log.note("_id is a number", line, row_id)
            row_id = str(row_id)
        if not isinstance(row_id, str) or not row_id:
            log.add("_id is missing or not a string", line, row.get("_id"), row)
            continue
        if row_id in seen:
            log.add("_id stands twice", line, row_id, row)
            continue
        values = fields(row, line)
        if isinstance(values, str):
            log.add(values, line, row_id, row)
            continue
        seen.add(row_id)
        block.append((row_id, *values))
        if len(block) == BLOCK:
            flush()
    flush()
    log.check(expected, max_bad)
    return pa.Table.from_batches(batches, schema=schema)


def _known(
    log: FaultLog,
    rows: list[Judgment],
    corpus: pa.Table,
    queries: pa.Table,
    unknown_ids: UnknownIds,
    left_out: Collection[str],
) -> pa.Table:
    """The qrels whose ids exist; ``left_out`` are ids of bad rows."""
    documents, query_ids = set(corpus["id"].to_pylist()), set(queries["id"].to_pylist())
    unknown = [
        Fault(f"{name} that was left out" if value in left_out else f"{name} that {lacking}", log.path, line, value)
        for line, query_id, corpus_id, _ in rows
        for name, lacking, value, known in (
            ("query-id", "the queries do not have", query_id, query_ids),
            ("corpus-id", "the corpus does not have", corpus_id, documents),
        )
        if value not in known
    ]
    if unknown and unknown_ids == "error":
        shown = "\n".join(f"  {fault}" for fault in unknown[:SHOWN])
        raise DataError(
            f"{log.path}: {bad_lines(unknown)} of {len(rows)} rows name ids that corpus.jsonl or "
            f"queries.jsonl do not have (or whose row there was left out as bad):\n{shown}",
            hint="check that the files belong together; to leave such rows out use --unknown-ids drop "
            "(in a configuration: data.unknown_ids: drop).",
        )
    log.faults += unknown
    bad = {fault.line for fault in unknown}
    kept = [(query_id, corpus_id, grade) for line, query_id, corpus_id, grade in rows if line not in bad]
    columns = [list(column) for column in zip(*kept, strict=True)] if kept else [[], [], []]
    return pa.table(columns, schema=QRELS_SCHEMA)
