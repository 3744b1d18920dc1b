"""Threads search while another one changes the index: every hit was there while its search ran, whole, and once."""

import gc
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from index_cases import SENTENCES

from embedft.index import Index

SEARCHERS = 8
STAYING = {f"stays{number}": text for number, text in enumerate(SENTENCES[:20])}
PASSING = [f"passes{number}" for number in range(10)]


@dataclass
class History:
    """When each text of each id was there: from when its adding began to when its removal had ended."""

    spans: dict[tuple[str, str], list[list[float]]] = field(default_factory=dict)
    now: dict[str, str] = field(default_factory=dict)

    def adding(self, name, text):
        """To be called before the change; gives what to do after it."""
        before = self.now.get(name)
        self.spans.setdefault((name, text), []).append([time.monotonic(), np.inf])
        self.now[name] = text
        return lambda: before is None or self._end(name, before)

    def deleting(self, name):
        text = self.now.pop(name)
        return lambda: self._end(name, text)

    def _end(self, name, text):
        # The oldest that is open: the same text may have been put back meanwhile.
        next(span for span in self.spans[name, text] if span[1] == np.inf)[1] = time.monotonic()

    def was_there(self, name, text, begin, end):
        return any(since <= end and until >= begin for since, until in self.spans.get((name, text), []))


class Load:
    """Searchers and one writer on one opened index, until a time has passed or something was wrong."""

    def __init__(self, index, encoder, seconds, history):
        self.index, self.history = index, history
        self.end = time.monotonic() + seconds
        self.found, self.searches, self.changes = [], 0, {"add": 0, "delete": 0, "compact": 0}
        self.vectors = encoder.encode_documents(list(STAYING.values()))

    def run(self):
        threads = [threading.Thread(target=self._guarded, args=(self._search, seed)) for seed in range(SEARCHERS)]
        threads.append(threading.Thread(target=self._guarded, args=(self._change, 99)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self

    def _guarded(self, work, seed):
        random = np.random.default_rng(seed)
        while time.monotonic() < self.end and not self.found:
            try:
                work(random)
            except Exception as error:
                self.found.append(f"{type(error).__name__}: {error}")

    def _change(self, random):
        drawn = [PASSING[int(number)] for number in random.choice(len(PASSING), 2, replace=False)]
        kind = str(random.choice(["add", "add", "delete", "compact"], p=[0.4, 0.2, 0.3, 0.1]))
        there = [name for name in drawn if name in self.history.now]
        if kind == "delete" and there:
            after = [self.history.deleting(name) for name in there]
            self.index.delete(there)
        elif kind == "compact":
            after = []
            self.index.compact()
        else:
            kind = "add"
            texts = {name: f"{name} of turn {int(random.integers(1 << 30))}" for name in drawn}
            after = [self.history.adding(name, text) for name, text in texts.items()]
            self.index.add(rows(texts))
        for done in after:
            done()
        self.changes[kind] += 1

    def _search(self, random):
        row = int(random.integers(len(STAYING)))
        k = int(random.choice([1, 5, 40]))
        how = int(random.integers(3))
        begin = time.monotonic()
        if how == 0:
            (hits,) = self.index.search_vectors(self.vectors[row : row + 1], k)
        elif how == 1:
            (hits,) = self.index.search([list(STAYING.values())[row]], k, hybrid=True)
        else:
            (hits,) = self.index.search([list(STAYING.values())[row]], k, filter="of!=nobody")
        self._judge(hits, row, k, begin, time.monotonic())
        self.searches += 1

    def _judge(self, hits, row, k, begin, end):
        ids = [hit.id for hit in hits]
        strangers = [
            hit
            for hit in hits
            if hit.metadata != {"of": hit.id} or not self.history.was_there(hit.id, hit.text, begin, end)
        ]
        self.found += [f"not there at the time: {hit}" for hit in strangers]
        if len(set(ids)) < len(ids):
            self.found.append(f"twice: {ids}")
        if ids[:1] != [f"stays{row}"] or (k == 40 and not set(STAYING) <= set(ids)):
            self.found.append(f"missing: stays{row} or others in {ids}")


@pytest.fixture
def index(tmp_path, encoder):
    built = Index.build(rows(STAYING), encoder, tmp_path / "idx")
    built.search(["warm"], hybrid=True)
    return built


@pytest.fixture
def history():
    begun = History()
    for name, text in STAYING.items():
        begun.adding(name, text)
    return begun


def rows(texts):
    return [{"id": name, "text": text, "of": name} for name, text in texts.items()]


def open_files():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


def test_what_threads_find_while_another_one_writes_was_there_whole_and_once(index, encoder, history):
    before = open_files()
    load = Load(index, encoder, 3, history).run()
    assert load.found == []
    assert load.searches > SEARCHERS
    assert load.changes["add"] > 0
    index.compact()
    assert open_files() <= before


@pytest.mark.slow
def test_a_minute_of_searching_and_writing_holds_no_more_memory_and_no_more_files(index, encoder, history):
    assert Load(index, encoder, 20, history).run().found == []
    index.compact()
    files, memory = open_files(), psutil.Process().memory_info().rss
    load = Load(index, encoder, 60, history).run()
    assert load.found == []
    assert min(load.changes.values()) > 0
    index.compact()
    assert open_files() <= files
    grown = psutil.Process().memory_info().rss / memory
    assert grown <= 1.1
