"""The texts of a file, one after the other, without holding them in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from embedft.data.faults import FaultLog
from embedft.data.rows import read_rows
from embedft.errors import DataError


def stream_texts(path: Path, column: str = "text") -> Iterator[str]:
    """Yield each text of a ``.txt`` file, one a line, or of a file with columns.

    No row is left out, since the reader counts on their order: a bad one ends the reading.

    Args:
        path: of the file.
        column: of the texts, where there are columns.

    Raises:
        DataError: the file is missing, empty or of an unknown kind, or a row holds no text in ``column``.
    """
    if path.suffix == ".txt":
        yield from _lines(path)
        return
    log = FaultLog(path)
    count = 0
    for line, row in read_rows(path, log):
        _require_none(log)
        text = row.get(column)
        if not isinstance(text, str):
            found = f"columns {', '.join(map(str, row))}" if column not in row else f"{column} = {text!r:.60}"
            raise DataError(f"{path}:{line}: expected a text in the column {column!r}, found {found}.",
                            hint="name the column of the texts, or mend the row.")  # fmt: skip
        count += 1
        yield text
    _require_none(log)
    if not count:
        raise DataError(f"{path}: is empty, no row was found.", hint="name a file with texts.")


def _lines(path: Path) -> Iterator[str]:
    if not path.is_file():
        raise DataError(f"{path}: no such file.", hint="check the path.")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: is empty, no line was found.", hint="name a file with texts.")
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}:{number}: is not UTF-8 (byte {raw[error.start]:#04x} at column {error.start + 1}).",
                    hint="convert the file to UTF-8.",
                ) from error
            yield line.rstrip("\r\n")


def _require_none(log: FaultLog) -> None:
    if log.faults:
        raise DataError(f"{log.faults[0]}.", hint="mend the row: each row of the texts needs its vector.")
