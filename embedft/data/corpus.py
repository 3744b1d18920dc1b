"""Documents out of any source of them: the rows of a corpus with their metadata, or files of a folder.

What is added to an index under an id that is there replaces that document, so no two documents may share one. Ids of
the source are kept; a row without one is called by the path of its file as it was given and its line
(``b/data.csv:3``), a file by its name below the folder (``guide/ferns.md``).
"""

from __future__ import annotations

import glob
import json
import logging
import math
import re
from collections import Counter
from itertools import takewhile
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedft.data.beir import is_beir, read_corpus
from embedft.data.dataset import read_dataset
from embedft.data.derive import Document
from embedft.data.extract import PARSERS, document_files, parse_files, visible_files
from embedft.data.faults import MAX_BAD_SHARE, SHOWN, Fault, report
from embedft.data.retrieval import CORPUS_SCHEMA
from embedft.data.source import STDIN, format_suffix
from embedft.errors import DataError

# Formats whose values have no type: a column of numbers alone is read as numbers, so that a filter can compare them.
UNTYPED = (".csv", ".tsv")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")

logger = logging.getLogger("embedft")


def read_indexable(path: Path, faults: list[Fault], max_bad: float = MAX_BAD_SHARE) -> pa.Table:
    """The documents of a corpus (BEIR folder, JSONL, CSV, Parquet, ...), or of files below a folder, or of one file.

    Rows without an id of their own are called ``path:line``, with the path as it was given: two files of one name in
    two folders do not replace one another's rows. Rows of standard input are called ``-:line``, those of a data set
    that is not read from its files themselves by the data set and its split, documents in files by their names below
    the folder, or below the part of a pattern that stands before its first wildcard.

    Args:
        path: of the corpus, the file or the folder; a pattern such as ``data/*.jsonl`` or ``docs/**/*.md``; ``-`` for
            JSONL on standard input.
        faults: where to list the rows and files that were left out.
        max_bad: share of bad rows that is allowed, 0..1.

    Returns:
        Columns id, title, text, metadata (JSON text of all other fields, a label among them, or null).

    Raises:
        DataError: nothing is there, it holds no documents, or more than ``max_bad`` of it cannot be read.
    """
    found = _read(path, faults, max_bad)
    if isinstance(found, pa.Table):
        return found.select(CORPUS_SCHEMA.names)
    rows = [{"id": each.id, "title": each.title, "text": each.text, "metadata": None} for each in found]
    return pa.Table.from_pylist(rows, schema=CORPUS_SCHEMA)


def read_documents(path: Path, max_bad: float = MAX_BAD_SHARE) -> list[Document]:
    """The documents of every source that `read_indexable` reads, with their structure where they are files.

    Ids are distinct: where one stands twice, all rows are called by file and line. What was left out is logged.

    Args:
        path: see `read_indexable`.
        max_bad: share of bad rows or files that is allowed, 0..1.

    Raises:
        DataError: nothing is there, it holds no documents, or more than ``max_bad`` of it cannot be read.
    """
    faults: list[Fault] = []
    found = _read(path, faults, max_bad)
    report(faults)
    if not isinstance(found, pa.Table):
        return found
    ids = found["id"].to_pylist()
    if len(set(ids)) < len(ids):
        ids = _places(path, found)
    return list(map(Document, ids, found["title"].to_pylist(), found["text"].to_pylist()))


def _read(path: Path, faults: list[Fault], max_bad: float) -> pa.Table | list[Document]:
    """Rows, with the columns of `CORPUS_SCHEMA` at least; or documents out of files."""
    if is_beir(path) or path.name == "corpus.jsonl":
        return read_corpus(path / "corpus.jsonl" if path.is_dir() else path, faults, max_bad)
    if path == STDIN:
        return _read_rows(path, faults, max_bad)
    if not path.exists() and glob.has_magic(str(path)):
        return _read_pattern(path, faults, max_bad)
    if files := document_files(path):
        _tell_others(path, files)
        return parse_files(path, files, faults, max_bad)
    return _read_rows(path, faults, max_bad)


def _read_pattern(pattern: Path, faults: list[Fault], max_bad: float) -> pa.Table | list[Document]:
    names = glob.glob(str(pattern), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
    matched = [Path(name) for name in sorted(names) if Path(name).is_file()]
    if not matched:
        raise DataError(f"{pattern}: matches no file.", hint="check the pattern, and put it in quotes.")
    files = [file for file in matched if file.suffix.lower() in PARSERS]
    if not files:
        return _read_rows(pattern, faults, max_bad)
    if len(files) < len(matched):
        rows = next(file for file in matched if file not in files)
        raise DataError(
            f"{pattern}: matches files of rows or of other kinds ({rows}) beside files that are a document each "
            f"({files[0]}).",
            hint="name one kind of them, such as 'docs/**/*.md'.",
        )
    root = Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    return parse_files(root, files, faults, max_bad)


def _read_rows(path: Path, faults: list[Fault], max_bad: float) -> pa.Table:
    data = read_dataset(path, max_bad=max_bad, as_documents=True)
    if data.kind != "documents":
        raise DataError(
            f"{path}: holds {data.kind}, not documents.",
            hint="name documents: files, or rows with a text, in a column 'text'.",
        )
    faults += data.faults
    parts = [_typed(table) if _is_untyped(table) else table for table in data.splits.values()]
    return _named(path, pa.concat_tables(parts))


def _tell_others(path: Path, files: list[Path]) -> None:
    """Files of other kinds in the same folder are no mistake, but a corpus that is not read may be one."""
    if not path.is_dir():
        return
    taken = set(files)
    others = Counter(file.suffix.lower() or file.name for file in visible_files(path) if file not in taken)
    if others:
        kinds = ", ".join(f"{count} {kind}" for kind, count in others.most_common(SHOWN))
        more = ", ..." if len(others) > SHOWN else ""
        logger.info("%s: %d files are read; of other kinds, not read: %s%s", path, len(files), kinds, more)


def _named(path: Path, table: pa.Table) -> pa.Table:
    """Rows that were numbered by their reader are called by their file too: another file's rows have other ids."""
    rows = zip(table["id"].to_pylist(), table["line"].to_pylist(), _places(path, table), strict=True)
    ids = [place if name == f"line-{line}" else name for name, line, place in rows]
    return table.set_column(0, "id", pa.array(ids, pa.string()))


def _places(path: Path, table: pa.Table) -> list[str]:
    """Where each row stands: ``path:line``."""
    names = {file: _file_name(path, Path(file)) for file in table["file"].unique().to_pylist()}
    rows = zip(table["file"].to_pylist(), table["line"].to_pylist(), strict=True)
    return [f"{names[file]}:{line}" for file, line in rows]


def _file_name(path: Path, file: Path) -> str:
    # A data set in a form of its own was read from copies, whose folder has another name each time and is gone by now.
    return (file if file == STDIN or file.exists() else path / file.stem).as_posix()


def _is_untyped(table: pa.Table) -> bool:
    return all(format_suffix(Path(file)) in UNTYPED for file in table["file"].unique().to_pylist())


def _typed(table: pa.Table) -> pa.Table:
    """Metadata fields whose every value is a number, as numbers."""
    rows = [json.loads(text) if text else {} for text in table["metadata"].to_pylist()]
    names = {name for row in rows for name in row}
    numeric = {name for name in names if all(_is_number(row[name]) for row in rows if row.get(name) not in (None, ""))}
    typed = [
        json.dumps(
            {name: _number(value) if name in numeric else value for name, value in row.items()}, ensure_ascii=False
        )
        if row
        else None
        for row in rows
    ]
    return table.set_column(table.column_names.index("metadata"), "metadata", pa.array(typed, pa.string()))


def _is_number(value: Any) -> bool:
    """Whether a text is written as numbers are: no code with leading zeros, no telephone number with a plus, no nan."""
    return isinstance(value, str) and NUMBER.fullmatch(value.strip()) is not None and math.isfinite(float(value))


def _number(value: Any) -> Any:
    if value in (None, ""):
        return None
    return int(value) if value.strip().lstrip("-").isdigit() else float(value)
