"""Faults of single rows: counted and left out, and fatal once too large a share of a file is bad."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from embedft.errors import DataError

logger = logging.getLogger("embedft")

MAX_BAD_SHARE = 0.05
SHOWN = 5
# A quarantine file keeps this much of a bad row, in characters.
RAW_LENGTH = 100_000


@dataclass(frozen=True)
class Fault:
    """One row that was left out: ``kind`` groups equal faults, ``raw`` is its beginning.

    ``line`` counts from 1; 0 stands for the whole file.
    """

    kind: str
    path: Path
    line: int
    found: str
    raw: str = ""

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else f"{self.path}"
        return f"{place}: {self.kind} ({self.found})" if self.found else f"{place}: {self.kind}"


def report(faults: Sequence[Fault]) -> None:
    """Log what was left out, as warnings: the first rows, and how many more."""
    for fault in faults[:SHOWN]:
        logger.warning("left out: %s", fault)
    if len(faults) > SHOWN:
        logger.warning("left out: %d more rows", len(faults) - SHOWN)


def shortened(text: str, length: int = 80) -> str:
    """``text``, or its beginning and an ellipsis."""
    return text if len(text) <= length else text[: length - 3] + "..."


@dataclass
class Notes:
    """Peculiarities of rows that stay: how often each stands in each file, and the first few."""

    counts: Counter[tuple[str, Path]] = field(default_factory=Counter)
    examples: dict[tuple[str, Path], list[Fault]] = field(default_factory=dict)

    def add(self, kind: str, path: Path, line: int, found: str = "") -> None:
        """Count one row."""
        key = (kind, path)
        self.counts[key] += 1
        if self.counts[key] <= SHOWN:
            self.examples.setdefault(key, []).append(Fault(kind, path, line, shortened(found)))

    def merge(self, other: Notes) -> None:
        """Take in the notes of another file."""
        self.counts.update(other.counts)
        self.examples.update(other.examples)


@dataclass
class FaultLog:
    """Collects the faults of one file while it is read."""

    path: Path
    rows: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: Notes = field(default_factory=lambda: Notes())

    def add(self, kind: str, line: int, found: object = "", raw: object = "") -> None:
        """Count one bad row, which is left out; ``raw`` is its line, or the row that the line held."""
        text = found if isinstance(found, str) else repr(found)
        row = raw if isinstance(raw, str) else json.dumps(raw, ensure_ascii=False, default=str)
        self.faults.append(Fault(kind, self.path, line, shortened(text), row[:RAW_LENGTH]))

    def note(self, kind: str, line: int, found: object = "") -> None:
        """Count a peculiarity of a row that stays."""
        self.notes.add(kind, self.path, line, found if isinstance(found, str) else repr(found))

    def check(self, expected: str, max_bad: float = MAX_BAD_SHARE) -> None:
        """Raise DataError if the file has no row, or if more than ``max_bad`` of its rows are bad.

        Args:
            expected: what a good row looks like, for the hint.
            max_bad: share of rows, 0..1.
        """
        if self.rows == 0:
            raise DataError(f"{self.path}: is empty, no row was found.", hint=f"expected {expected}.")
        require_few(self.path, self.rows, self.faults, expected, max_bad)


def require_few(
    path: Path, rows: int, faults: Sequence[Fault], expected: str, max_bad: float, *, unit: str = "rows"
) -> None:
    """Raise DataError if more than ``max_bad`` of the rows of a file are bad, or of the files of a folder.

    Args:
        path: of the file or folder.
        rows: how many there are, bad ones included.
        faults: of the bad ones.
        expected: what a good one looks like, for the hint.
        max_bad: share of them, 0..1.
        unit: what they are called.
    """
    bad_rows = bad_lines(faults)
    if is_too_bad(bad_rows, rows, max_bad):
        kinds = ", ".join(f"{count} x {kind}" for kind, count in Counter(f.kind for f in faults).most_common())
        shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
        percent = percent_of(bad_rows, rows)
        leave = f"; to leave the bad out: --max-bad {percent}% (in a configuration: data.max_bad: {percent / 100:g})"
        more = f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(
            f"{path}: {bad_rows} of {rows} {unit} are bad, more than the allowed {max_bad:.0%}: {kinds}.\n"
            f"{shown}{more}",
            hint=f"expected {expected}{leave if bad_rows < rows else ''}.",
        )


def bad_lines(faults: Sequence[Fault]) -> int:
    """How many rows of a file, or files of a folder, are bad; one may have several faults."""
    return len({(fault.path, fault.line) for fault in faults})


def is_too_bad(bad: int, rows: int, max_bad: float) -> bool:
    """Whether more than the share ``max_bad`` of the rows is bad."""
    # Divided, not multiplied: 29 of 100 are no more than 0.29, but more than 0.29 * 100 in floating point.
    return bad > 0 and bad / rows > max_bad


def percent_of(bad: int, rows: int) -> int:
    """The least share, in whole percent, that allows so many bad rows."""
    return -(-100 * bad // rows)
