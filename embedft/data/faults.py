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
    """One row that was left out: ``kind`` groups equal faults, ``line`` counts from 1, ``raw`` is its beginning."""

    kind: str
    path: Path
    line: int
    found: str
    raw: str = ""

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.line}: {self.kind} ({self.found})"
            if self.found
            else f"{self.path}:{self.line}: {self.kind}"
        )


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


def require_few(path: Path, rows: int, faults: Sequence[Fault], expected: str, max_bad: float) -> None:
    """Raise DataError if more than ``max_bad`` of the rows of a file are bad; the arguments as for `FaultLog.check`."""
    bad_rows = bad_lines(faults)
    if bad_rows > max_bad * rows:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in Counter(f.kind for f in faults).most_common())
        shown = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
        more = f"\n  ... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise DataError(
            f"{path}: {bad_rows} of {rows} rows are bad, more than the allowed {max_bad:.0%}: {kinds}.\n{shown}{more}",
            hint=f"expected {expected}.",
        )


def bad_lines(faults: Sequence[Fault]) -> int:
    """How many rows of a file are bad; one may have several faults."""
    return len({fault.line for fault in faults})
