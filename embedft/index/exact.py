"""Exact search: every query against every vector, by FAISS or by rounded products, with ties in a fixed order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import numpy as np
import numpy.typing as npt

from embedft.encoder.precision import fast_bfloat16
from embedft.errors import DataError
from embedft.index.nearest import nearest

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Scores of this many queries against all documents are held at once.
RANKED_AT_ONCE = 256
# Up to so many queries go through the documents one by one; more of them pay for a copy of the allowed ones, since a
# matrix product then reads each vector once (100,000 x 384, a third allowed: 1 query 3 against 13 ms, 32 queries 162
# against 131 ms).
SELECTED_QUERIES = 8
# From so many queries on FAISS multiplies matrices; before, it passes over all documents for each query. By itself it
# begins at 334 queries of 384 dimensions: for 100,000 documents 100 queries then take 430 ms on one thread instead of
# 72. FAISS' threads wait for one another after each block of documents, so where it uses several, blocks are larger
# than its 1,024, and few queries do not pay for it (on a busy machine not before 32). Memory for scores: at most 64 MB.
MULTIPLIED_QUERIES, MULTIPLIED_QUERIES_OF_THREADS = 4, 32
MULTIPLIED_DOCUMENTS = 4096
# FAISS spreads queries over threads: one query has one thread. From two parts of so many documents on, each thread gets
# a part of the documents instead, with nothing to wait for until the end. Of 200,000 on two threads, against FAISS'
# spreading, 1 query takes 5.6 instead of 10.7 ms, 10 queries 21 instead of 56, 1,000 queries 680 instead of 770; of
# 20,000 it is no gain.
PART_DOCUMENTS = 25_000
# From so many queries and documents on it pays to round the vectors to bf16 first, where the processor multiplies that
# fast (`embedft.index.nearest`). Two threads with AVX512-BF16: 256 queries among 200,000 documents take 162 instead of
# 181 ms, 1,000 take 330 instead of 654; 128 queries take longer, 127 instead of 98.
ROUNDED_QUERIES, ROUNDED_DOCUMENTS = 256, 8192
COPIED_AT_ONCE = 65_536


def exact_search(queries: Floats, documents: Floats, k: int, allowed: Flags | None = None) -> tuple[Floats, Rows]:
    """The ``k`` nearest documents of each query by inner product: scores and row numbers, both (n, min(k, documents)).

    Sorted by score, highest first; equal scores by row number, lowest first, also where a tie crosses the cut at k
    (FAISS itself leaves that order open). For unit vectors the scores are cosines in [-1, 1].

    Args:
        queries: (n, dim) float32.
        documents: (m, dim) float32; may be memory-mapped.
        k: at least 1.
        allowed: (m,), which documents may be hits; where they are fewer than k, the rest has score -inf and row -1.

    Raises:
        DataError: the dimensions differ, or k is below 1.
    """
    k = require_k(k)
    if queries.ndim != 2 or documents.ndim != 2 or queries.shape[1] != documents.shape[1]:
        raise DataError(
            f"queries are {queries.shape} and documents {documents.shape}; both must be (rows, dim) of one dim.",
            hint="encode both with the same encoder.",
        )
    k = min(k, len(documents))
    if allowed is not None:
        return _search_allowed(queries, documents, k, allowed)
    return ordered_search(queries, documents, k)


def ordered_search(queries: Floats, documents: Floats, k: int, place: Rows | None = None) -> tuple[Floats, Rows]:
    """What `exact_search` finds, with an order for equal scores.

    Args:
        queries: (n, dim) float32.
        documents: (m, dim) float32.
        k: at least 0.
        place: (m,), distinct; equal scores stand by it, lowest first. The row number if left out.
    """
    k = min(k, len(documents))
    if k == 0 or len(queries) == 0:
        return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    scores, rows, by_row = _search(queries, documents, min(k + 1, len(documents)))
    # FAISS fills up by row -1 where a score is no number.
    tied = (scores[:, k - 1 : -1] == scores[:, k:]) & (rows[:, k:] >= 0)
    scores, rows = scores[:, :k], rows[:, :k]
    if place is not None:
        scores, rows = _sorted(scores, rows, place)
    elif by_row:
        return scores, rows
    across = np.flatnonzero(tied)
    if len(across):
        scores[across], rows[across] = _settle_ties(queries[across], documents, k, place)
    return scores, rows


def useful_threads(queries: int, documents: int) -> int:
    """How many threads an exact search of so many queries among so many documents can use."""
    return max(queries, documents // PART_DOCUMENTS, 1)


def require_k(k: int) -> int:
    """``k`` as a plain integer; DataError if it is no number of hits that can be asked for."""
    if not isinstance(k, int | np.integer) or k < 1:
        raise DataError(f"k is {k!r}.", hint="ask for a whole number of hits, at least 1.")
    return int(k)


def _search_allowed(queries: Floats, documents: Floats, k: int, allowed: Flags) -> tuple[Floats, Rows]:
    rows = np.flatnonzero(allowed)
    if k and len(queries) and len(queries) <= SELECTED_QUERIES and len(rows) > k:
        values, places = _search_selected(queries, documents, k + 1, allowed)
        if (values[:, k - 1] > values[:, k]).all():
            return values[:, :k], places[:, :k]
    scores = np.full((len(queries), k), -np.inf, np.float32)
    found = np.full((len(queries), k), -1, np.int64)
    # In blocks, so that what is copied does not grow with the documents.
    for start in range(0, len(rows), COPIED_AT_ONCE):
        block = rows[start : start + COPIED_AT_ONCE]
        more, places = exact_search(queries, documents[block], k)
        scores, found = _sorted(np.concatenate([scores, more], 1), np.concatenate([found, block[places]], 1))
        scores, found = scores[:, :k], found[:, :k]
    return scores, found


def _search_selected(queries: Floats, documents: Floats, k: int, allowed: Flags) -> tuple[Floats, Rows]:
    """One pass over the documents where they lie, without those that are not allowed."""
    import faiss

    queries, documents = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(documents, np.float32)
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    bits = np.packbits(allowed, bitorder="little")
    faiss.knn_inner_product(
        faiss.swig_ptr(queries), faiss.swig_ptr(documents), queries.shape[1], len(queries), len(documents), k,
        faiss.swig_ptr(scores), faiss.swig_ptr(rows), faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(bits)),
    )  # fmt: skip
    return _sorted(scores, rows)


def _search(queries: Floats, documents: Floats, k: int) -> tuple[Floats, Rows, bool]:
    """The ``k`` nearest of at least as many documents by the fastest way; whether rows decided ties across the cut."""
    queries, documents = np.ascontiguousarray(queries, np.float32), np.ascontiguousarray(documents, np.float32)
    if _rounding_pays(len(queries), len(documents)):
        # Vectors that are no numbers, or whose length is none, have no bound of rounding.
        with suppress(DataError):
            found = list(nearest(queries, documents, k))
            return np.concatenate([part.scores for part in found]), np.concatenate([part.rows for part in found]), True
    return *_multiplied(queries, documents, k), False


def _rounding_pays(queries: int, documents: int) -> bool:
    if queries < ROUNDED_QUERIES or documents < ROUNDED_DOCUMENTS or not fast_bfloat16("cpu"):
        return False
    import faiss
    import torch

    # It takes all threads of torch, so it must not run beside searches that share the budget of FAISS.
    return bool(faiss.omp_get_max_threads() >= torch.get_num_threads())


def _multiplied(queries: Floats, documents: Floats, k: int) -> tuple[Floats, Rows]:
    import faiss

    threads = faiss.omp_get_max_threads()
    parts = min(threads, len(documents) // PART_DOCUMENTS)
    fewest = MULTIPLIED_QUERIES if threads == 1 or parts > 1 else MULTIPLIED_QUERIES_OF_THREADS
    # FAISS' settings belong to the process. Set at each call: other code may have set them otherwise meanwhile.
    faiss.cvar.distance_compute_blas_threshold = fewest * queries.shape[1]
    faiss.cvar.distance_compute_blas_database_bs = MULTIPLIED_DOCUMENTS
    if parts < 2:
        return _sorted(*_best(queries, k, documents))
    starts = np.linspace(0, len(documents), parts + 1).astype(np.int64)
    # The number of threads belongs to the thread that calls FAISS.
    with ThreadPoolExecutor(parts, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(partial(_best, queries, k), np.split(documents, starts[1:-1])))
    scores = np.concatenate([scores for scores, _ in found], axis=1)
    rows = np.concatenate([rows + start for (_, rows), start in zip(found, starts, strict=False)], axis=1)
    scores, rows = _sorted(scores, rows)
    return scores[:, :k], rows[:, :k]


def _best(queries: Floats, k: int, documents: Floats) -> tuple[Floats, Rows]:
    import faiss

    found: tuple[Floats, Rows] = faiss.knn(
        queries, documents, min(k, len(documents)), metric=faiss.METRIC_INNER_PRODUCT
    )
    return found


def _sorted(scores: Floats, rows: Rows, place: Rows | None = None) -> tuple[Floats, Rows]:
    order = np.lexsort((rows if place is None else place[rows], -scores))
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _settle_ties(queries: Floats, documents: Floats, k: int, place: Rows | None) -> tuple[Floats, Rows]:
    """The ``k`` best of queries that have more documents of one score than fit: those above it, then its first.

    Query by query, so that what is held does not grow with the ties: all documents may have one vector. The scores
    are no matrix product, which rounds equal documents differently by where they stand in it.
    """
    order = None if place is None else np.argsort(place)
    scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for number, query in enumerate(queries):
        own = np.einsum("d,md->m", query, documents)
        np.fmax(own, -np.inf, out=own)  # what is no number comes last
        cut = np.partition(own, len(own) - k)[len(own) - k]
        above, level = np.flatnonzero(own > cut), own == cut
        tied = np.flatnonzero(level) if order is None else order[level[order]]
        rows[number] = np.concatenate([above, tied[: k - len(above)]])
        scores[number] = own[rows[number]]
    return _sorted(scores, rows, place)


def rank_of(queries: Floats, documents: Floats, own: np.ndarray) -> np.ndarray:
    """Rank of each query's own document among all of them, from 1; ties count in its favour.

    Args:
        queries: unit vectors, (n, dim).
        documents: unit vectors, (m, dim).
        own: row of each query's document, (n,).

    Returns:
        (n,) int64.
    """
    ranks = np.empty(len(queries), np.int64)
    for begin in range(0, len(queries), RANKED_AT_ONCE):
        part = slice(begin, begin + RANKED_AT_ONCE)
        scores = queries[part] @ documents.T
        of_own = scores[np.arange(len(scores)), own[part]]
        ranks[part] = (scores > of_own[:, None]).sum(1) + 1
    return ranks
