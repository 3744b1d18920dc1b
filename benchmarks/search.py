"""Exact batch search against FAISS' flat index used by hand, and other ways to do it: numpy, torch in fp32 and bf16.

    python benchmarks/search.py [--n 100000 1000000] [--rounds 7] [--threads 2] [--dry]

Ten hits of 1, 10, 100 and 1,000 queries among ``n`` vectors of 384 dimensions, drawn as ``index.synthetic`` says. All
run in one process with the same threads and take turns. A way's hits are right where their exact scores reach the
score of the last exact hit. The bf16 way ranks a copy in bf16 (made beforehand, not timed) and scores the best 4 k
exactly; it proves nothing about what it missed, so its share of right hits is printed.

GB/s: bytes of the fp32 vectors over the seconds of a batch, beside the speed at which an array beyond the caches is
read by the same threads. Above 1 the vectors were read once for many queries.

FAISS 1.15 multiplies matrices only where queries x dimensions reach 128,000 (334 queries of 384); below that it goes
through all vectors for each query (faiss#5022, and faiss#5109 about few threads). "FAISS flat, matrices" lowers that
limit to ``MATRIX_QUERIES`` queries a thread, and multiplies larger blocks: threads wait for one another after each,
which is slow beside other work.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np
import torch
from environment import summary, write_result
from index import DIM, synthetic

from embedft.index.approximate import faiss_threads, recall_of, set_threads
from embedft.index.exact import exact_search, useful_threads

K = 10
QUERIES = (1, 10, 100, 1000)
ROWS_AT_ONCE = 16_384
# Candidates of the bf16 way, as a multiple of the hits.
FACTOR = 4
MATRIX_QUERIES = 4
# As FAISS comes: queries x dimensions from which it multiplies matrices, documents in a block.
STOCK_LIMITS = (faiss.cvar.distance_compute_blas_threshold, faiss.cvar.distance_compute_blas_database_bs)
READ_BYTES, READS = 1 << 30, 7

Hits = tuple[np.ndarray, np.ndarray]
Search = Callable[[np.ndarray], Hits]
OURS, PEER = "embedft exact_search", "FAISS IndexFlatIP"


def by_embedft(documents: np.ndarray, queries: np.ndarray) -> Hits:
    """As a segment of an index is searched."""
    with faiss_threads(useful_threads(len(queries), len(documents))):
        return exact_search(queries, documents, K)


def by_faiss(index: Any, queries: np.ndarray, limits: tuple[int, int] = STOCK_LIMITS) -> Hits:
    """FAISS with these limits, which belong to the process: ours would be left from the search before."""
    faiss.cvar.distance_compute_blas_threshold, faiss.cvar.distance_compute_blas_database_bs = limits
    return index.search(queries, K)


def by_numpy(documents: np.ndarray, queries: np.ndarray) -> Hits:
    """A matrix product and a partition of each block of documents."""
    kept = []
    for start in range(0, len(documents), ROWS_AT_ONCE):
        scores = queries @ documents[start : start + ROWS_AT_ONCE].T
        rows = np.argpartition(-scores, min(K, scores.shape[1] - 1), axis=1)[:, :K]
        kept.append((np.take_along_axis(scores, rows, axis=1), rows + start))
    scores, rows = (np.concatenate(parts, axis=1) for parts in zip(*kept, strict=True))
    best = np.argsort(-scores, axis=1)[:, :K]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)


def _best_of_blocks(documents: torch.Tensor, queries: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    kept = []
    for start in range(0, len(documents), ROWS_AT_ONCE):
        scores = queries @ documents[start : start + ROWS_AT_ONCE].T
        best, rows = scores.topk(min(count, scores.shape[1]), dim=1)
        kept.append((best, rows + start))
    scores, rows = (torch.cat(parts, dim=1) for parts in zip(*kept, strict=True))
    best, places = scores.topk(count, dim=1)
    return best, rows.gather(1, places)


def by_torch(documents: torch.Tensor, queries: np.ndarray) -> Hits:
    """A matrix product and ``topk`` of each block."""
    scores, rows = _best_of_blocks(documents, torch.from_numpy(queries), K)
    return scores.numpy(), rows.numpy()


def by_bf16(documents: np.ndarray, rounded: torch.Tensor, queries: np.ndarray) -> Hits:
    """The same on rounded vectors, and exact scores of the best ``FACTOR`` times as many."""
    rows = _best_of_blocks(rounded, torch.from_numpy(queries).bfloat16(), FACTOR * K)[1].numpy()
    scores = exact_of(documents, queries, rows)
    best = np.argsort(-scores, axis=1)[:, :K]
    return np.take_along_axis(scores, best, axis=1), np.take_along_axis(rows, best, axis=1)


def ways(documents: np.ndarray) -> dict[str, Search]:
    """Every way to search ``documents`` for ``K`` hits."""
    index = faiss.IndexFlatIP(DIM)
    index.add(documents)
    tensor = torch.from_numpy(documents)
    lowered = (DIM * (1 + MATRIX_QUERIES * faiss.omp_get_max_threads()), ROWS_AT_ONCE)
    return {
        PEER: partial(by_faiss, index),
        OURS: partial(by_embedft, documents),
        "FAISS flat, matrices": partial(by_faiss, index, limits=lowered),
        "numpy, argpartition": partial(by_numpy, documents),
        "torch fp32, topk": partial(by_torch, tensor),
        "torch bf16, rescored": partial(by_bf16, documents, tensor.bfloat16()),
    }


def read_speed() -> float:
    """Bytes a second at which torch's threads add up an array that no cache holds: the median of some reads."""
    # Eight bytes a number leave the processor little to do but wait for memory.
    array = torch.ones(READ_BYTES // 8, dtype=torch.float64)
    seconds = []
    for _ in range(READS):
        start = time.perf_counter()
        array.sum()
        seconds.append(time.perf_counter() - start)
    return READ_BYTES / statistics.median(seconds)


def exact_of(documents: np.ndarray, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Inner products of each query with its own rows, (queries, k)."""
    return np.matmul(documents[rows], queries[:, :, None])[:, :, 0]


def measure(
    searches: dict[str, Search], documents: np.ndarray, queries: np.ndarray, rounds: int
) -> dict[str, dict[str, Any]]:
    """Rows of the table for one number of queries."""
    truth, _ = by_embedft(documents, queries)
    right = {name: float(recall_of(exact_of(documents, queries, search(queries)[1]), truth).mean())
             for name, search in searches.items()}  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(rounds):
        for name, search in searches.items():
            start = time.perf_counter()
            search(queries)
            seconds[name].append(time.perf_counter() - start)
    return {name: summary(values) | {"equal_hits": right[name]} for name, values in seconds.items()}


def of_size(size: int, rounds: int, bandwidth: float) -> dict[str, dict[str, dict[str, Any]]]:
    """Rows of the table for one number of documents, by number of queries."""
    documents, queries = synthetic(size, max(QUERIES), seed=0)
    searches = ways(documents)
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for count in QUERIES:
        table[str(count)] = measure(searches, documents, queries[:count], rounds)
        for name, row in table[str(count)].items():
            row["times_faiss_flat"] = table[str(count)][PEER]["median"] / row["median"]
            row["gb_per_s"] = documents.nbytes / row["median"] / 1e9
            row["of_bandwidth"] = 1e9 * row["gb_per_s"] / bandwidth
            print(
                f"{size:9,} x {count:5} queries: {name:22} {1000 * row['median']:9.1f} ms "
                f"[{1000 * row['min']:.1f} .. {1000 * row['max']:.1f}] {row['times_faiss_flat']:6.2f} x FAISS flat, "
                f"{row['gb_per_s']:6.1f} GB/s ({row['of_bandwidth']:.2f} of memory's), "
                f"equal hits {row['equal_hits']:.4f}",
                flush=True,
            )
    return table


def main() -> None:
    """Measure, print, write ``results/search.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, nargs="+", default=[100_000], help="numbers of vectors")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--dry", action="store_true", help="print, but write no result")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    faiss.omp_set_num_threads(options.threads)
    set_threads(options.threads)
    bandwidth = read_speed()
    print(f"memory is read at {bandwidth / 1e9:.1f} GB/s by {options.threads} threads")
    tables = {str(size): of_size(size, options.rounds, bandwidth) for size in options.n}
    if not options.dry:
        settings = {"dim": DIM, "k": K, "threads": options.threads, "peer": PEER, "rounds": options.rounds}
        write_result("search", settings | {"read_gb_per_s": bandwidth / 1e9, "tables": tables})


if __name__ == "__main__":
    main()
