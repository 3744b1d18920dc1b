"""The texts of a file, one after the other, without holding them in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from embedft.data.faults import FaultLog
from embedft.data.rows import read_rows
from embedft.data.source import STDIN, format_suffix, read_lines
from embedft.errors import DataError

logger = logging.getLogger("embedft")


def stream_texts(path: Path, column: str = "text", *, note: bool = True) -> Iterator[str]:
    """Yield each text of a ``.txt`` file, one a line, or of a file with columns.

    No row is left out, since the reader counts on their order: a bad one ends the reading.

    Args:
        path: of the file, or ``-`` for JSON or a table with a header on standard input.
        column: of the texts, where there are columns.
        note: say in the log, behind the last text, how many lines were not UTF-8 and what they were read as.

    Raises:
        DataError: the file is missing, empty or of an unknown kind, or a row holds no text in ``column``.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; expected a file of texts.", hint="name a file in it.")
    log = FaultLog(path)
    count = 0
    for text in _lines(path, log) if format_suffix(path) == ".txt" else _column(path, column, log):
        count += 1
        yield text
    if not count:
        raise DataError(f"{path}: is empty, no text was found.", hint=_hint(path, "name a file with texts."))
    for (kind, _), lines in log.notes.counts.items() if note else ():
        if kind.startswith("not UTF-8"):
            logger.info("%s: %d lines %s, line %d first", path, lines, kind, log.notes.examples[kind, path][0].line)


def _lines(path: Path, log: FaultLog) -> Iterator[str]:
    return (line.rstrip("\r\n") for _, line in read_lines(path, log))


def _column(path: Path, column: str, log: FaultLog) -> Iterator[str]:
    for line, row in read_rows(path, log):
        _require_none(log)
        text = row.get(column)
        if not isinstance(text, str):
            found = f"columns {', '.join(map(str, row))}" if column not in row else f"{column} = {text!r:.60}"
            raise DataError(f"{path}:{line}: expected a text in the column {column!r}, found {found}.",
                            hint=_hint(path, "name the column of the texts, or mend the row."))  # fmt: skip
        yield text
    _require_none(log)


def _require_none(log: FaultLog) -> None:
    if log.faults:
        hint = _hint(log.path, "mend the row: each row of the texts needs its vector.")
        raise DataError(f"{log.faults[0]}.", hint=hint)


def _hint(path: Path, otherwise: str) -> str:
    """Standard input has no ending that tells plain lines from a table."""
    if path != STDIN:
        return otherwise
    return "give JSON or a table with a header; plain lines are read from a file that ends in .txt, not from -."
