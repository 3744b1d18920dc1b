"""Rows of JSONL, JSON, CSV, TSV, Parquet and Arrow files as (line, mapping), read as a stream.

A line that cannot be read is a fault of that line, not the end of the file. CSV follows RFC 4180 quoting; TSV has no
quoting at all (a ``"`` is a character of the text), as in BEIR and STS files. Text files may be gzip or zstd, in any
encoding that `embedft.data.source` reads.
"""

from __future__ import annotations

import ast
import csv
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedft.data.faults import FaultLog
from embedft.data.source import COMPRESSED, STDIN, format_suffix, open_bytes, read_lines
from embedft.errors import DataError

FORMATS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")
SUFFIXES = (*FORMATS, *(form + ending for form in FORMATS[:4] for ending in COMPRESSED))
OTHER_NAMES = {".ndjson": ".jsonl", ".feather": ".arrow", ".ipc": ".arrow"}
# A JSON file is read whole, unlike JSONL.
MAX_JSON = 2**30

# One text may be long (200,000 characters and more are real); the csv module stops at 131,072 unless told.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

# What pyarrow raises for damaged files, found by feeding it some.
DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, SystemError, TypeError)

Row = tuple[int, dict[str, Any]]
TRAILING_COMMA = re.compile(r",\s*[}\]]\s*$")
CONLL_SUFFIXES = (".conll", ".bio", ".iob", ".iob2")


def row_format(path: Path) -> str:
    """The ending in `FORMATS` that stands for the format of ``path``, or its own ending where that is unknown.

    Standard input (``-``) is told by its first bytes.
    """
    if path == STDIN:
        peek = getattr(sys.stdin.buffer, "peek", None)
        head = peek(4096).lstrip(b"\xef\xbb\xbf \r\n\t") if peek else b"{"
        if head.startswith((b"{", b"[")):
            return ".jsonl" if head.startswith(b"{") else ".json"
        return ".tsv" if b"\t" in head.partition(b"\n")[0] else ".csv"
    suffix = format_suffix(path)
    return OTHER_NAMES.get(suffix, suffix)


def read_rows(path: Path, log: FaultLog) -> Iterator[Row]:
    """Yield (line number, row) of the good rows; count the others in ``log``.

    Line numbers count from 1 and include a header; rows of JSON, Parquet and Arrow files count from 1 as well.

    Raises:
        DataError: ``path`` is missing, damaged, hostile or of an unknown kind.
    """
    if path != STDIN and not path.is_file():
        raise DataError(f"{path}: no such file.", hint="check the path.")
    readers = {
        ".jsonl": _read_jsonl,
        ".json": _read_json,
        ".csv": _read_csv,
        ".tsv": _read_tsv,
        ".parquet": _read_parquet,
        ".arrow": _read_arrow,
    }
    form = row_format(path)
    if form not in readers:
        raise DataError(
            f"{path}: cannot tell its format from the ending {form!r}.",
            hint=f"use one of {', '.join(FORMATS)}; {', '.join(COMPRESSED)} may follow the first four.",
        )
    for line, row in readers[form](path, log):
        log.rows += 1
        yield line, row


def _read_jsonl(path: Path, log: FaultLog) -> Iterator[Row]:
    for number, line in read_lines(path, log):
        if not line.strip():
            log.note("blank line", number)
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            log.rows += 1
            log.add(_json_fault(line, error), number, line.strip(), line)
            continue
        if not isinstance(row, dict):
            log.rows += 1
            log.add("not a JSON object", number, line.strip(), line)
            continue
        if "\\ud" in line.lower() and not _encodable(row):
            log.rows += 1
            log.add("a lone surrogate, which no UTF-8 text can hold", number, raw=line)
            continue
        yield number, row


def _json_fault(line: str, error: Exception) -> str:
    """What a line that is no JSON looks like, so that its writer can be found."""
    text = line.strip()
    if isinstance(error, RecursionError):
        return "not valid JSON: nested too deep"
    if not text.startswith(("{", "[")):
        return "not valid JSON: plain text"
    if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
        return "not valid JSON: more than one value on the line"
    if TRAILING_COMMA.search(text):
        return "not valid JSON: trailing comma"
    if "'" in text and text.endswith("}") and len(text) < 100_000:
        try:
            ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return "not valid JSON"
        return "not valid JSON: Python's single quotes"
    return "not valid JSON" if text.endswith(("}", "]")) else "not valid JSON: cut off"


def _encodable(row: Any) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _read_json(path: Path, log: FaultLog) -> Iterator[Row]:
    """An array of objects, alone or as the only array of an object."""
    with open_bytes(path) as stream:
        raw = stream.read(MAX_JSON + 1)
    if len(raw) > MAX_JSON:
        raise DataError(
            f"{path}: is larger than {MAX_JSON // 2**20:,} MB, and JSON is read whole.", hint="use JSONL, a row a line."
        )
    if not raw.strip():
        return
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: is not valid JSON: {error}.", hint="give it the ending .jsonl if each line is an object."
        ) from error
    rows = value
    if isinstance(value, dict):
        arrays = [name for name, inner in value.items() if isinstance(inner, list)]
        if len(arrays) != 1:
            raise DataError(
                f"{path}: expected an array of objects, found an object with {len(arrays)} arrays.",
                hint="write the rows as one array, or as JSONL.",
            )
        rows = value[arrays[0]]
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected an array of objects, found {type(value).__name__}.", hint="use JSONL.")
    for number, row in enumerate(rows, start=1):
        if isinstance(row, dict) and _encodable(row):
            yield number, row
        else:
            log.rows += 1
            log.add("not a JSON object" if not isinstance(row, dict) else "a lone surrogate", number, row)


def _read_csv(path: Path, log: FaultLog) -> Iterator[Row]:
    for line, row in _delimited(path, _csv_records(path, log), log):
        if any('"' in value for value in row.values()):
            log.note("doubled quotation mark inside a quoted text", line)
        yield line, row


def _csv_records(path: Path, log: FaultLog) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((line for _, line in read_lines(path, log)), strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            yield begins, next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if str(error).startswith("new-line character"):
                raise DataError(
                    f"{path}:{begins}: a carriage return stands in a text that is not quoted, or ends a line alone.",
                    hint=r"end lines with \n or \r\n, and put texts with line breaks into quotes.",
                ) from error
            # An open quote swallows every line up to the next one: the file cannot be trusted from there on.
            raise DataError(
                f"{path}:{begins}: broken quoting in the record that begins here: {error}.",
                hint='close the quote; a quote inside a quoted text is written twice: "".',
            ) from error


def _read_tsv(path: Path, log: FaultLog) -> Iterator[Row]:
    # Not the csv module: to it a carriage return inside a text is an error.
    lines = ((number, line.rstrip("\r\n")) for number, line in read_lines(path, log))
    return _delimited(path, ((number, line.split("\t") if line else []) for number, line in lines), log)


def _delimited(path: Path, records: Iterator[tuple[int, list[str]]], log: FaultLog) -> Iterator[Row]:
    """Rows out of (line, fields); the first record names the columns."""
    header: list[str] | None = None
    for line, fields in records:
        if not fields:
            continue
        if header is None:
            header = [name.strip() for name in fields]
            if any("\r" in name for name in header):
                raise DataError(
                    f"{path}:1: carriage returns stand in the header, as where they end lines alone.",
                    hint=r"end lines with \n or \r\n.",
                )
            if len(set(header)) < len(header):
                raise DataError(f"{path}:1: a column name stands twice in the header: {header}.", hint="rename one.")
            continue
        if len(fields) != len(header):
            log.rows += 1
            raw = "\t".join(fields)
            kind = "too many columns" if len(fields) > len(header) else "too few columns"
            log.add(kind, line, f"{len(fields)} where the header has {len(header)}", raw)
            continue
        yield line, dict(zip(header, fields, strict=True))


def _read_parquet(path: Path, _log: FaultLog) -> Iterator[Row]:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except DAMAGE as error:
        raise DataError(f"{path}: is not a readable Parquet file: {error}", hint="write the file again.") from error
    yield from _batches(path, file.iter_batches())


def _read_arrow(path: Path, _log: FaultLog) -> Iterator[Row]:
    try:
        with pa.memory_map(str(path)) as source:
            try:
                file = pa.ipc.open_file(source)
                batches = (file.get_batch(number) for number in range(file.num_record_batches))
            except pa.ArrowInvalid:
                source.seek(0)
                batches = iter(pa.ipc.open_stream(source))
            yield from _batches(path, batches)
    except DAMAGE as error:
        raise DataError(f"{path}: is not a readable Arrow file: {error}", hint="write the file again.") from error


def _batches(path: Path, batches: Any) -> Iterator[Row]:
    number = 0
    while True:
        try:
            batch = next(batches)
            # Damage may have gone into offsets, which pyarrow follows blindly.
            batch.validate(full=True)
            rows = batch.to_pylist()
        except StopIteration:
            return
        except DAMAGE as error:
            raise DataError(f"{path}: is damaged after row {number}: {error}", hint="write the file again.") from error
        for row in rows:
            number += 1
            yield number, row
