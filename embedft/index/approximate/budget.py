"""One budget of threads for all FAISS calls of the process.

OpenMP's number of threads belongs to the thread that calls: eight Python threads that search at once would start eight
times the processors, and be slower for it (faiss#2953). Here each call takes permits from one budget, in the order of
arrival, so that a large batch that asks again and again does not starve single queries.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from embedft.errors import ConfigError


def _usable_processors() -> int:
    stated = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if stated.isdecimal() and int(stated) > 0:
        return int(stated)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Budget:
    """Permits, given out first come, first served."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._used = 0
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    def resize(self, size: int) -> None:
        with self._changed:
            self.size = size
            self._changed.notify_all()

    def take(self, wanted: int) -> int:
        me = object()
        with self._changed:
            self._waiting.append(me)
            try:
                self._changed.wait_for(lambda: self._waiting[0] is me and self._used < self.size)
                taken = max(min(wanted, self.size - self._used), 1)
                self._used += taken
            finally:
                self._waiting.remove(me)
                self._changed.notify_all()
            return taken

    def give_back(self, taken: int) -> None:
        with self._changed:
            self._used -= taken
            self._changed.notify_all()


_budget = _Budget(_usable_processors())
_mine = threading.local()


def threads() -> int:
    """How many threads all FAISS calls of this process may use together."""
    return _budget.size


def set_threads(count: int) -> None:
    """Let all FAISS calls of this process use ``count`` threads together.

    Until this is called it is OMP_NUM_THREADS, else the processors that the process may run on. Calls that run
    already keep what they have.

    Raises:
        ConfigError: ``count`` is below 1.
    """
    if count < 1:
        raise ConfigError(f"the number of threads is {count}.", hint="use at least 1.")
    _budget.resize(count)


@contextmanager
def faiss_threads(wanted: int) -> Iterator[int]:
    """Let FAISS use up to ``wanted`` threads in this thread until the block ends; gives how many it got, at least 1.

    Waits while all threads of the budget are taken. Inside another such block of the same thread nothing more is taken
    and nothing waited for.

    Args:
        wanted: what can run side by side: FAISS spreads queries, so as many as there are queries.
    """
    import faiss

    held: int = getattr(_mine, "held", 0)
    if held:
        yield held
        return
    taken = _budget.take(wanted)
    before = faiss.omp_get_max_threads()
    _mine.held = taken
    try:
        faiss.omp_set_num_threads(taken)
        yield taken
    finally:
        faiss.omp_set_num_threads(before)
        _mine.held = 0
        _budget.give_back(taken)
