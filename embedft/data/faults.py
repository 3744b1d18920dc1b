"""Faults of single rows: counted and left out, and fatal once too large a share of a file is bad."""

from __future__ import annotations

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

    def add(self, kind: str, line: int, found: object = "", raw: str = "") -> None:
        """Count one bad row, which is left out."""
        text = found if isinstance(found, str) else repr(found)
        self.faults.append(Fault(kind, self.path, line, shortened(text), raw[:RAW_LENGTH]))

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
        bad_rows = len({fault.line for fault in self.faults})
        if bad_rows > max_bad * self.rows:
            kinds = ", ".join(f"{count} x {kind}" for kind, count in Counter(f.kind for f in self.faults).most_common())
            shown = "\n".join(f"  {fault}" for fault in self.faults[:SHOWN])
            more = f"\n  ... and {len(self.faults) - SHOWN} more" if len(self.faults) > SHOWN else ""
            raise DataError(
                f"{self.path}: {bad_rows} of {self.rows} rows are bad, more than the allowed {max_bad:.0%}: {kinds}.\n"
                f"{shown}{more}",
                hint=f"expected {expected}.",
            )
