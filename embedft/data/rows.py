"""Rows of JSONL, CSV, TSV and Parquet files as (line, mapping), read as a stream.

A line that cannot be read is a fault of that line, not the end of the file. CSV follows RFC 4180 quoting; TSV has no
quoting at all (a ``"`` is a character of the text), as in BEIR and STS files.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedft.data.faults import FaultLog
from embedft.errors import DataError

SUFFIXES = (".jsonl", ".csv", ".tsv", ".parquet")
BOM = b"\xef\xbb\xbf"

# One text may be long (200,000 characters and more are real); the csv module stops at 131,072 unless told.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

Row = tuple[int, dict[str, Any]]


def read_rows(path: Path, log: FaultLog) -> Iterator[Row]:
    """Yield (line number, row) of the good rows; count the others in ``log``.

    Line numbers count from 1 and include a header; rows of Parquet files count from 1 as well.

    Raises:
        DataError: ``path`` is missing or of an unknown kind.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file.", hint="check the path.")
    readers = {".jsonl": _read_jsonl, ".csv": _read_csv, ".tsv": _read_tsv, ".parquet": _read_parquet}
    if path.suffix not in readers:
        raise DataError(
            f"{path}: cannot tell its format from the ending {path.suffix!r}.",
            hint=f"use one of {', '.join(SUFFIXES)}.",
        )
    for line, row in readers[path.suffix](path, log):
        log.rows += 1
        yield line, row


def _lines(path: Path, log: FaultLog) -> Iterator[tuple[int, str]]:
    """Lines with their line ends; one that is not UTF-8 is a fault."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1 and raw.startswith(BOM):
                raw = raw.removeprefix(BOM)
            try:
                yield number, raw.decode()
            except UnicodeDecodeError as error:
                if number == 1 and path.suffix != ".jsonl":
                    raise DataError(
                        f"{path}:1: the header is not UTF-8 (byte {raw[error.start]:#04x}).",
                        hint="convert the file to UTF-8.",
                    ) from error
                log.rows += 1
                log.add("not UTF-8", number, f"byte {raw[error.start]:#04x} at column {error.start + 1}")


def _read_jsonl(path: Path, log: FaultLog) -> Iterator[Row]:
    for number, line in _lines(path, log):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            log.rows += 1
            log.add("not valid JSON", number, str(error))
            continue
        if not isinstance(row, dict):
            log.rows += 1
            log.add("not a JSON object", number, line.strip())
            continue
        if "\\ud" in line.lower() and not _encodable(row):
            log.rows += 1
            log.add("a lone surrogate, which no UTF-8 text can hold", number)
            continue
        yield number, row


def _encodable(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_csv(path: Path, log: FaultLog) -> Iterator[Row]:
    reader = csv.reader((line for _, line in _lines(path, log)), strict=True)
    yield from _delimited(path, reader, log)


def _read_tsv(path: Path, log: FaultLog) -> Iterator[Row]:
    reader = csv.reader((line for _, line in _lines(path, log)), delimiter="\t", quoting=csv.QUOTE_NONE)
    yield from _delimited(path, reader, log)


def _delimited(path: Path, reader: Any, log: FaultLog) -> Iterator[Row]:
    header: list[str] | None = None
    done = 0
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            # An open quote swallows every line up to the next one: the file cannot be trusted from there on.
            raise DataError(
                f"{path}:{done + 1}: broken quoting in the record that begins here: {error}.",
                hint='close the quote; a quote inside a quoted text is written twice: "".',
            ) from error
        if not fields:
            continue
        done = reader.line_num
        if header is None:
            header = [name.strip() for name in fields]
            if len(set(header)) < len(header):
                raise DataError(f"{path}:1: a column name stands twice in the header: {header}.", hint="rename one.")
            continue
        if len(fields) != len(header):
            log.rows += 1
            log.add("wrong number of columns", reader.line_num, f"{len(fields)} where the header has {len(header)}")
            continue
        yield reader.line_num, dict(zip(header, fields, strict=True))


def _read_parquet(path: Path, _log: FaultLog) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: is not a readable Parquet file: {error}", hint="write the file again.") from error
    number = 0
    batches = file.iter_batches()
    while True:
        try:
            rows = next(batches).to_pylist()
        except StopIteration:
            return
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path}: is damaged after row {number}: {error}", hint="write the file again.") from error
        for row in rows:
            number += 1
            yield number, row
