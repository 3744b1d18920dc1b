"""A process that loads the encoder once and forks children that may be killed, or crash: for the tests of the index.

A child that starts from nothing takes seconds to load torch, a forked one milliseconds. One thread each, since OpenMP's
do not survive a fork. Each line of standard input is an order as JSON, each line of standard output its outcome.
"""

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from functools import cache
from pathlib import Path

import numpy as np

PROMPTED = {"query": "q: ", "document": "d: "}


class Nursery:
    """The parent's side: `run` an order and wait for its child's end."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
        )
        atexit.register(self._process.kill)

    def run(self, what, path, **how):
        """The child's signal (0 for none) and the values that it reported, one after the other, at last a traceback.

        With ``kill_after``, in seconds, it is killed so long after its ``kill_report``-th report, by default its first.
        """
        self._process.stdin.write(json.dumps({"what": what, "path": str(path), **how}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["signal"], answer["reports"]


@cache
def nursery():
    """One for all tests of the process."""
    return Nursery()


def encoders():
    """Two models of one dimension, which differ in their prompts."""
    from embedft.encoder import Encoder

    return [Encoder.load("bundled", precision="float32", prompts=prompts) for prompts in ({}, PROMPTED)]


def step(random, index, texts):
    """A change of the index, drawn at random: its name, and what it takes."""
    name = str(random.choice(["add", "add", "add", "delete", "delete", "compact", "build", "migrate"]))
    names = [f"d{number}" for number in random.choice(12, size=3, replace=False)]
    if name in ("add", "build"):
        return [name, {each: texts[int(random.integers(len(texts)))] for each in names}]
    if name == "delete":
        return [name, names[:2]]
    return [name, None]


def apply(change, state):
    """The documents (id -> text) after a change of the index that holds ``state``."""
    name, given = change
    if name == "build":
        return given
    if name == "add":
        return state | given
    return {key: text for key, text in state.items() if key not in given} if name == "delete" else state


def changes(report, both, path, seed, texts):
    """Changes without an end, each reported before it begins and after it has ended."""
    from embedft.errors import DataError
    from embedft.index import Index, writing

    random = np.random.default_rng(seed)
    path = Path(path)
    while True:
        index = None
        if (path / "CURRENT").exists():
            index = Index.open(path)
            index = Index.open(path, next(one for one in both if one.fingerprint == index.manifest["fingerprint"]))
        change = step(random, index, texts) if index else ["build", {"d0": texts[0], "d1": texts[1]}]
        name, given = change
        report(change)
        documents = [{"id": key, "text": text} for key, text in given.items()] if isinstance(given, dict) else given
        with contextlib.suppress(DataError):  # of no documents at all
            if name == "build":
                Index.build(documents, both[0], path, force=True)
            elif name == "add":
                index.add(documents)
            elif name == "delete":
                writing.delete(path, documents)
            elif name == "compact":
                index.compact()
            else:
                index.migrate(both[index.encoder is both[0]])
        report("done")


def build(report, both, path, texts, window):
    """A build that writes its vectors in windows of so many texts, each of which is reported."""
    from embedft.encoder import encoder as module
    from embedft.encoder.vectorfile import VectorFile
    from embedft.index import Index

    read, append = module.read_windows, VectorFile.append
    module.read_windows = lambda texts, **limits: read(texts, window, **limits)

    def told(file, texts, vectors):
        append(file, texts, vectors)
        report(file.rows)
        time.sleep(0.05)

    VectorFile.append = told
    Index.build(texts, both[0], path)


def compact(report, both, path):
    """A compaction, and how it failed."""
    from embedft.errors import EmbedftError
    from embedft.index import Index

    try:
        Index.open(path, both[0]).compact()
    except EmbedftError as error:
        report([type(error).__name__, error.message])


def damage(report, both, path, **how):
    """See `index_damage`."""
    from index_damage import damages

    for outcome in damages(Path(path), both[0], **how):
        report(outcome)


def warm(both):
    """Import now all that the children will use, and not in each of them."""
    from embedft.index import Index

    for one in both:
        index = Index.build(["warm"], one)
        index.add([{"id": "warmer", "text": "warmer"}])
        index.search(["warm"], hybrid=True)
        index.compact()


def fork(order, both):
    """Run the order in a child; its number, and where it writes its reports."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:

        def report(value):
            os.write(writing, json.dumps(value).encode() + b"\n")

        try:
            os.close(reading)
            what = {"changes": changes, "build": build, "compact": compact, "damage": damage}[order.pop("what")]
            what(report, both, **order)
        except BaseException:
            report({"traceback": traceback.format_exc()})
        finally:
            os._exit(0)
    os.close(writing)
    return child, reading


def main():
    both = encoders()
    warm(both)
    for line in sys.stdin:
        order = json.loads(line)
        kill_after, kill_report = order.pop("kill_after", None), order.pop("kill_report", 1)
        child, reading = fork(order, both)
        with os.fdopen(reading) as reports:
            found = []
            if kill_after is not None:
                found = [reports.readline() for _ in range(kill_report)]
                time.sleep(kill_after)
                os.kill(child, signal.SIGKILL)
            found += reports.readlines()
        status = os.waitpid(child, 0)[1]
        answer = {
            "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
            "reports": [json.loads(text) for text in found if text.endswith("\n")],
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
