"""One process of ``index.py``: builds, sweeps or times one system, and prints what it found as a line of JSON.

    python benchmarks/trial.py SYSTEM build|sweep|time FOLDER --threads 2 [--point "[64]"]

It is held to ``--threads`` processors, so that no library takes more than its share. Memory is what the process holds
more of than before the index was built or opened, mapped pages of files included.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from peers import TARGET, Point, System, system

DOCUMENTS = "documents.npy"
# Queries that points are chosen by, and those that recall and speed are measured on.
TUNING, OTHERS = "tuning", "others"
# More effort is not tried once so many steps together gained less recall than this ...
STEPS, LEAST_GAIN = 6, 0.001
# ... nor once a batch takes so many times as long as the fastest one that met the target.
TOO_SLOW = 3.0
# Sums in another order differ by so much.
TIE = 1e-6
SINGLE_QUERIES = 200
BATCHES = 3


def memory_mb(name: str) -> float:
    """An entry of Linux's account of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024


def recalls(folder: Path, half: str, documents: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Share of the exact hits that each query got, ties counted as hits, (queries,)."""
    queries, truth = np.load(folder / f"{half}.npy"), np.load(folder / f"{half}-truth.npy")
    scores = np.matmul(documents[np.maximum(rows, 0)], queries[:, :, None])[:, :, 0]
    return ((rows >= 0) & (scores >= truth[:, -1:] - TIE)).mean(axis=1)


def build(trial: System, folder: Path) -> dict[str, Any]:
    """Seconds, memory at its peak, bytes on the disk."""
    before = memory_mb("VmRSS")
    start = time.perf_counter()
    notes = trial.build(np.load(folder / f"{TUNING}.npy"))
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in trial.folder.rglob("*") if path.is_file())
    size += trial.documents.nbytes if trial.needs_vectors else 0
    return {
        "build_s": seconds,
        "build_memory_mb": memory_mb("VmHWM") - before,
        "disk_mb": size / 2**20,
        "notes": notes,
    }


def sweep(trial: System, folder: Path) -> dict[str, Any]:
    """The fastest point that meets the target on one half of the queries, and its recall on the other half."""
    trial.open()
    queries, others = (np.load(folder / f"{half}.npy") for half in (TUNING, OTHERS))
    met: list[tuple[float, Point, float]] = []
    best, tried = 0.0, 0
    lines = trial.lines()
    # Exact search has no dial, and what embedft tuned by itself is taken as it is.
    fixed = len(lines) == len(lines[0]) == 1
    trial.search(queries, lines[0][0])  # reads the files, starts the threads
    for line in lines:
        seen: list[float] = []
        for point in line:
            seconds, rows = _timed(trial, queries, point)
            seen.append(float(recalls(folder, TUNING, trial.documents, rows).mean()))
            best, tried = max(best, seen[-1]), tried + 1
            if seen[-1] >= TARGET:
                met.append((min(seconds, _timed(trial, queries, point)[0]), point, seen[-1]))
                break
            saturated = len(seen) > STEPS and seen[-1] - seen[-1 - STEPS] < LEAST_GAIN
            if saturated or (met and seconds > TOO_SLOW * min(met)[0]):
                break
    if not met and not fixed:
        return {"point": None, "tuning_recall": best, "tried": tried}
    _, point, recall = min(met) if met else (0.0, lines[0][0], best)
    of_others = recalls(folder, OTHERS, trial.documents, trial.search(others, point))
    return {
        "point": point,
        "tuning_recall": recall,
        "recall": float(of_others.mean()),
        "recall_se": float(of_others.std(ddof=1) / len(of_others) ** 0.5),
        "tried": tried,
    }


def _timed(trial: System, queries: np.ndarray, point: Point) -> tuple[float, np.ndarray]:
    start = time.perf_counter()
    rows = trial.search(queries, point)
    return time.perf_counter() - start, rows


def timed(trial: System, folder: Path, point: Point) -> dict[str, Any]:
    """Memory of the opened index after a batch, seconds of a batch and of single queries."""
    others = np.load(folder / f"{OTHERS}.npy")
    before, mapped = memory_mb("VmRSS"), memory_mb("RssFile")
    start = time.perf_counter()
    trial.open()
    opened = time.perf_counter() - start
    trial.search(others, point)
    memory = {"memory_mb": memory_mb("VmRSS") - before, "mapped_mb": memory_mb("RssFile") - mapped}
    batch = statistics.median(_timed(trial, others, point)[0] for _ in range(BATCHES))
    single = [_timed(trial, others[row : row + 1], point)[0] for row in range(min(SINGLE_QUERIES, len(others)))]
    return memory | {"open_s": opened, "batch_s": batch / len(others), "single_s": statistics.median(single)}


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("system")
    parser.add_argument("action", choices=["build", "sweep", "time"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--point", type=json.loads)
    options = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    own = options.folder / options.system.replace(" ", "-")
    own.mkdir(exist_ok=True)
    documents = np.load(options.folder / DOCUMENTS, mmap_mode="r")
    try:
        trial = system(options.system, own, documents, options.threads)
    except ImportError as error:
        print(json.dumps({"missing": str(error)}))
        return
    if options.action == "build":
        found = build(trial, options.folder)
    elif options.action == "sweep":
        found = sweep(trial, options.folder)
    else:
        found = timed(trial, options.folder, options.point)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
