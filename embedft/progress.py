"""Progress of long work on standard error: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

# Often enough to see that it lives, seldom enough not to fill a log file.
LOG_EVERY_SECONDS = 15.0


class Advance(Protocol):
    """Called with the amount of work done since the last call, and optionally a new total."""

    def __call__(self, amount: float = 1, /, *, total: float | None = None) -> None:
        """Advance by ``amount``."""


@contextmanager
def progress(label: str, total: float | None, unit: str, *, done: float = 0, enabled: bool = True) -> Iterator[Advance]:
    """Yield a function that advances the progress of ``label``.

    Args:
        label: what is being done, shown in front.
        total: the amount of work in ``unit``; ``None`` if it is not known beforehand.
        unit: what is counted, in the plural ("texts", "steps").
        done: the amount that was there before it began, which has no part in the rate.
        enabled: False yields a function that does nothing.
    """
    if not enabled:
        yield _advance_nothing
    elif sys.stderr.isatty():
        with _bar(label, total, unit, done) as advance:
            yield advance
    else:
        yield _Lines(label, total, unit, done)


def _advance_nothing(_amount: float = 1, /, *, total: float | None = None) -> None:
    pass


@contextmanager
def _bar(label: str, total: float | None, unit: str, done: float) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class RateColumn(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.1f} {unit}/s", style="progress.data.speed")

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}" if total is not None else "{task.completed:,.0f}"),
        RateColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, completed=int(done))

        def advance(amount: float = 1, /, *, total: float | None = None) -> None:
            if total is not None:
                bar.update(task, total=total)
            bar.advance(task, amount)

        yield advance


class _Lines:
    def __init__(self, label: str, total: float | None, unit: str, done: float) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = self.before = done
        self.start = self.last = time.monotonic()

    def __call__(self, amount: float = 1, /, *, total: float | None = None) -> None:
        self.total = total if total is not None else self.total
        self.done += amount
        now = time.monotonic()
        if now - self.last < LOG_EVERY_SECONDS:
            return
        self.last = now
        rate = (self.done - self.before) / (now - self.start)
        line = f"{self.label}: {self.done:,.0f}"
        if self.total:
            left = max(self.total - self.done, 0) / rate if rate else float("inf")
            line += f"/{self.total:,.0f} {self.unit}, {rate:,.1f}/s, {left:,.0f} s left"
        else:
            line += f" {self.unit}, {rate:,.1f}/s"
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
