"""Approximate indexes at recall@10 of 0.95: embedft against FAISS by hand, usearch, hnswlib and LanceDB.

    python benchmarks/index.py [--n 200000] [--vectors FILE.npy --queries FILE.npy] [--rounds 5] [--threads 2]
        [--systems NAME ...] [--suffix TEXT] [--lancedb PYTHON] [--dry]
    python benchmarks/index.py --repeat 20 --n 10000 [--kinds hnsw-fp16 ivf-sq8] [--dry]

Half of the queries tune: each system is swept over its own dials, and the fastest point whose recall on them reaches
0.95 is taken. Recall and speed are measured on the other half. ``embedft auto`` is what a user of ``embedft index``
gets: the kind is chosen, and its point is the fastest whose *lower bound* of recall reaches 0.95, so it aims higher
than the others, and its seconds of building include the tuning; the rows of single kinds are swept like the peers.
Every build, sweep and timing is a process of its own on the same processors (``trial.py``); timings take turns in
rounds. Disk counts the vectors where a search needs them.

Without ``--vectors`` the vectors are synthetic, as ``synthetic`` says.

``--repeat`` builds and tunes again and again, each time with another seed and other vectors (drawn anew, or another
sample of ``--vectors``) and counts the builds whose recall on many other queries reaches the target that the tuning
says is met.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from environment import summary, write_result
from peers import DIM, OURS, PEERS, TARGET, K
from trial import DOCUMENTS, OTHERS, TUNING

from embedft.index.approximate import KINDS, Stage, approximate_search, faiss_threads, recall_of, set_threads, tune
from embedft.index.exact import exact_search

# Directions that the synthetic vectors vary in, and groups of them.
LATENT, CLUSTERS = 30, 1000
ROWS_AT_ONCE = 65_536
QUERIES = 2000
# Of --repeat: queries that are tuned on, and those that show the recall.
REPEAT_TUNING, REPEAT_OTHERS = 500, 4000
LANCEDB = "LanceDB"
AUTO = f"{OURS} auto"
SYSTEMS = (AUTO, *(f"{OURS} {kind}" for kind in KINDS), *PEERS)


def synthetic(size: int, queries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Documents (size, 384) and queries (queries, 384), unit vectors of the same distribution.

    A vector is one of 1,000 centres plus as much variance of its own, in a space of 30 directions of falling length
    (1 / sqrt(1 + j / 10)), laid into 384 dimensions at random, plus a direction common to all and a little noise in
    every dimension. At 12,000 vectors the distances to the 20 nearest neighbours give an intrinsic dimension of 22
    (Levina and Bickel 2004); 12,000 embedded sentences of documentation give 21.
    """
    drawn = np.random.default_rng(seed)
    lengths = 1 / np.sqrt(1 + np.arange(LATENT) / 10)
    laid = (drawn.normal(size=(LATENT, DIM)) * lengths[:, None]).astype(np.float32)
    typical = float(np.sqrt((lengths**2).sum()))
    centres = drawn.normal(size=(CLUSTERS, LATENT)).astype(np.float32)
    common = (0.4 * typical * drawn.normal(size=DIM)).astype(np.float32)
    vectors = np.empty((size + queries, DIM), np.float32)
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        block = vectors[start : start + ROWS_AT_ONCE]
        latent = centres[drawn.integers(0, CLUSTERS, len(block))]
        latent = latent + drawn.standard_normal((len(block), LATENT), np.float32)
        noise = drawn.standard_normal((len(block), DIM), np.float32)
        block[:] = latent @ laid + common + np.float32(0.3 * typical) * noise
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors[:size], vectors[size:]


def stored(vectors: Path, queries: Path, size: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A sample of ``size`` rows of a file, in order, and up to ``count`` of another, shuffled, made unit vectors."""
    drawn = np.random.default_rng(seed)
    documents, asked = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (vectors, queries))
    if documents.shape[1] != DIM or asked.shape[1] != DIM:
        raise SystemExit(f"vectors are {documents.shape} and queries {asked.shape}; they must have {DIM} dimensions.")
    if len(documents) < size:
        raise SystemExit(f"{vectors} has {len(documents):,} rows; ask for at most so many with --n.")
    rows = np.sort(drawn.choice(len(documents), size, replace=False))
    chosen = documents[rows], asked[drawn.permutation(len(asked))[:count]]
    documents, asked = (np.ascontiguousarray(part, np.float32) for part in chosen)
    for part in (documents, asked):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return documents, asked


def write_inputs(folder: Path, documents: np.ndarray, queries: np.ndarray) -> None:
    """Write the vectors, both halves of the queries, and the exact scores of their hits."""
    np.save(folder / DOCUMENTS, documents)
    half = len(queries) // 2
    for name, part in ((TUNING, queries[:half]), (OTHERS, queries[half:])):
        np.save(folder / f"{name}.npy", part)
        with faiss_threads(len(part)):
            np.save(folder / f"{name}-truth.npy", exact_search(part, documents, K)[0])


def run(system: str, action: str, folder: Path, options: argparse.Namespace, point: Any = None) -> dict[str, Any]:
    """What a process of ``trial.py`` found; why it is missing where it could not be."""
    python = options.lancedb if system.startswith(LANCEDB) and options.lancedb else sys.executable
    threads = str(options.threads)
    command = [python, str(Path(__file__).with_name("trial.py")), system, action, str(folder)]
    command += ["--threads", threads] + ([] if point is None else ["--point", json.dumps(point)])
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "LANCE_CPU_THREADS")
    done = subprocess.run(command, env=os.environ | dict.fromkeys(names, threads), capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"missing": f"{action} ended with {done.returncode}: {last}"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if "missing" in found and system.startswith(LANCEDB) and not options.lancedb:
        found["missing"] += "; give --lancedb PYTHON of an environment that has it"
    return found


def prepared(system: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A system's row without timings: built, and its point chosen."""
    row = run(system, "build", folder, options)
    if "missing" not in row:
        row |= run(system, "sweep", folder, options)
    if "missing" in row:
        print(f"{system:22} left out: {row['missing']}", flush=True)
    elif row["point"] is None:
        row["missing"] = f"meets {TARGET} at no point; at most {row['tuning_recall']:.3f}"
        print(f"{system:22} {row['missing']} (built in {row['build_s']:.1f} s)", flush=True)
    else:
        print(
            f"{system:22} built in {row['build_s']:.1f} s, point {row['point']}, recall {row['recall']:.3f}", flush=True
        )
    return row


def time_in_turns(rows: dict[str, dict[str, Any]], folder: Path, options: argparse.Namespace) -> None:
    """Add timings and memory to the rows that have a point."""
    timed = {system: row for system, row in rows.items() if "missing" not in row}
    rounds: dict[str, list[dict[str, Any]]] = {system: [] for system in timed}
    for _ in range(options.rounds):
        for system, row in timed.items():
            rounds[system].append(run(system, "time", folder, options, row["point"]))
    for system, row in timed.items():
        failed = [found["missing"] for found in rounds[system] if "missing" in found]
        if failed:
            row["missing"] = failed[0]
            continue
        for name in ("batch_s", "single_s", "open_s", "memory_mb", "mapped_mb"):
            row[name] = summary([found[name] for found in rounds[system]])


def add_ratios(rows: dict[str, dict[str, Any]]) -> None:
    """Add speed as a multiple of the fastest peer's, and print the table."""
    timed = {system: row for system, row in rows.items() if "missing" not in row}
    for name in ("batch", "single"):
        peers = [row[f"{name}_s"]["median"] for system, row in timed.items() if not system.startswith(OURS)]
        for row in timed.values():
            row[f"{name}_times_best_peer"] = min(peers) / row[f"{name}_s"]["median"] if peers else None
    print(f"{'system':22} recall        batch/s [range]  x best    single ms  x best  build s   memory MB  disk MB")
    for system, row in rows.items():
        if "missing" in row:
            print(f"{system:22} {row['missing']}")
            continue
        batch, single = row["batch_s"], row["single_s"]
        ratios = [row[f"{name}_times_best_peer"] for name in ("batch", "single")]
        of_batch, of_single = ("-" if ratio is None else f"{ratio:.2f}" for ratio in ratios)
        print(
            f"{system:22} {row['recall']:.3f} {1 / batch['median']:10,.0f} [{1 / batch['max']:,.0f} .. "
            f"{1 / batch['min']:,.0f}] {of_batch:>6} {1000 * single['median']:11.2f} {of_single:>6} "
            f"{row['build_s']:9.1f} {row['memory_mb']['median']:9,.0f} {row['disk_mb']:9,.0f}  {row['notes'] or ''}"
        )


def repeat(options: argparse.Namespace, drawn: Callable[[int, int], tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """For each kind, in how many builds the recall that the tuning says is met is met on other queries."""
    table: dict[str, Any] = {kind: {"builds": []} for kind in options.kinds}
    for seed in range(options.repeat):
        documents, queries = drawn(REPEAT_TUNING + REPEAT_OTHERS, seed + 1)
        tuning, others = queries[:REPEAT_TUNING], queries[REPEAT_TUNING:]
        if not len(others):
            raise SystemExit(f"{len(queries)} queries are too few; {REPEAT_TUNING} tune, and others show the recall.")
        with faiss_threads(len(others)):
            truth = exact_search(others, documents, K)[0]
        for kind, row in table.items():
            stage = Stage.build(kind, documents, seed=seed)
            chosen = tune(stage, documents, tuning, k=K, target=TARGET, seed=seed).chosen
            built: dict[str, Any] = {"seed": seed, "stated": None if chosen is None else chosen.ci_low}
            if chosen is not None:
                found = recall_of(approximate_search(stage, documents, others, K, chosen.point)[0], truth)
                built |= {"recall": float(found.mean()), "recall_se": float(found.std() / len(found) ** 0.5)}
            row["builds"].append(built)
            print(f"build {seed + 1}: {kind}: {built}", flush=True)
    for kind, row in table.items():
        reached = [built["recall"] for built in row["builds"] if "recall" in built]
        short = [TARGET - recall for recall in reached if recall < TARGET]
        row |= {"stated": len(reached), "held": len(reached) - len(short), "furthest_below": max(short, default=0.0)}
        print(
            f"{kind:12} says {TARGET} is met in {row['stated']} of {options.repeat} builds, it is in {row['held']} of "
            f"them, at most {row['furthest_below']:.4f} below; mean recall {np.mean(reached or [np.nan]):.4f}"
        )
    return table


def main() -> None:
    """Measure, print, write ``results/index-<n>.json`` or ``results/index-repeat-<n>.json``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=200_000)
    parser.add_argument("--vectors", type=Path, help=".npy of documents, (at least n, 384)")
    parser.add_argument(
        "--queries", type=Path, help=".npy of queries, (any, 384); up to 2,000 are used, 4,500 by --repeat"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS, metavar="NAME")
    parser.add_argument("--suffix", default="", help="of the result's name, for a run of some systems: -graphs")
    parser.add_argument("--lancedb", help="Python of an environment that has lancedb, pyarrow and numpy")
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", default=["hnsw-fp16", "ivf-sq8"])
    parser.add_argument("--scratch", type=Path, help="folder for indexes: at a million vectors some 20 GB")
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    if (options.vectors is None) != (options.queries is None):
        parser.error("give --vectors and --queries together")
    set_threads(options.threads)

    def drawn(queries: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        if options.vectors is None:
            return synthetic(options.n, queries, seed)
        return stored(options.vectors, options.queries, options.n, queries, seed)

    source = "synthetic" if options.vectors is None else f"{options.vectors.name}, {options.queries.name}"
    about = {"n": options.n, "dim": DIM, "k": K, "target": TARGET, "vectors": source, "threads": options.threads}
    if options.repeat:
        name, table = f"index-repeat-{options.n}", repeat(options, drawn)
    else:
        name, table = f"index-{options.n}{options.suffix}", {}
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            write_inputs(Path(scratch), *drawn(QUERIES, 0))
            for system in options.systems:
                table[system] = prepared(system, Path(scratch), options)
            time_in_turns(table, Path(scratch), options)
            add_ratios(table)
    if not options.dry:
        write_result(name, about | {"table": table})


if __name__ == "__main__":
    main()
