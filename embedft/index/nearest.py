"""The nearest documents of many queries: exact, in bounded memory, and faster than a flat index.

A first pass scores each query against each document in bf16 where the processor multiplies it fast, else in fp32. Such
a score is off by no more than a bound that follows from the vectors themselves: with the rounded vectors q', d' and
what rounding took away, q - q' and d - d',

    |q . d - q' . d'|  =  |q' . (d - d') + (q - q') . d|  <=  |q'| |d - d'| + |q - q'| |d|     (Cauchy-Schwarz)

and the rounding of sums and results comes on top (Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 3).
Documents that cannot be among the k best by this bound are dropped; the others, not many more than k, are scored again
in fp32. So what comes out depends neither on the number format nor on the blocks nor on the number of threads.

Looking for the k best of each row of scores costs more than computing them, so each row is first reduced to the maxima
of chunks: the k-th best maximum is a lower bound of the k-th best score, and only chunks that reach it are looked into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ctypes import c_float
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from embedft.encoder import Precision, resolve_precision
from embedft.errors import DataError
from embedft.progress import progress

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

BLOCK_MB = 256
# What looking into a score costs at most: its place, its key, copies of these.
BYTES_PER_SCORE = 40
# A matrix product of fewer queries at once is slower; documents are cut to blocks of at most so many.
QUERIES_AT_ONCE, DOCUMENTS_AT_ONCE, QUERIES_A_BLOCK = 256, 32_768, 16_384
# Vectors whose rounding is measured at once.
ROWS_AT_ONCE = 4096
# Chunks of a row of scores: at most so many scores in one, and so many times k of them.
CHUNK, CHUNKS_PER_CANDIDATE = 16, 8
NONE = -1
# While the threads of a search begin, the number of threads that torch gives to new ones is theirs.
_beginning = Lock()
LOW = np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Nearest:
    """The nearest documents of some queries.

    Attributes:
        queries: which queries, of all.
        scores: (queries, k) float32, best first; -inf where there are fewer than k documents.
        rows: (queries, k) int64; -1 there. Equal scores stand in the order of the rows.
    """

    queries: slice
    scores: Floats
    rows: Rows


def nearest(
    queries: Floats,
    documents: Floats,
    k: int,
    *,
    precision: Precision = "auto",
    block_mb: int = BLOCK_MB,
    show_progress: bool = False,
) -> Iterator[Nearest]:
    """The ``k`` nearest documents of each query by inner product, queries in blocks.

    Args:
        queries: (q, dim) float32, rows contiguous; may be memory-mapped, as may the documents.
        documents: (n, dim) float32.
        k: at least 1.
        precision: of the first pass; by default bf16 where the processor is fast at it. It changes no result.
        block_mb: what the search may hold besides the vectors.
        show_progress: on standard error.

    Raises:
        DataError: the vectors do not fit together, or are not finite.
    """
    import torch

    _check(queries, documents, k)
    dtype = resolve_precision(precision, "cpu")
    threads = torch.get_num_threads()
    documents_at_once = min(DOCUMENTS_AT_ONCE, max(len(documents), 1))
    # Half of the memory is for scores, half for looking into them.
    half = block_mb * 2**19
    fair = -(-len(queries) // threads)
    at_once = max(min(QUERIES_AT_ONCE, fair, half // (threads * documents_at_once * dtype.itemsize)), 1)
    most = half // (threads * BYTES_PER_SCORE)
    memories: SimpleQueue[torch.Tensor] = SimpleQueue()
    for _ in range(threads):
        memories.put(torch.empty(at_once * documents_at_once, dtype=dtype))
    # Each block of queries reads all documents again, so it is as large as its results allow.
    block = max(min(half // (k * BYTES_PER_SCORE), QUERIES_A_BLOCK) // at_once, 1) * at_once
    coded: _Coded | None = None
    with progress("searching", len(queries), "queries", enabled=show_progress) as advance:
        for begin in range(0, len(queries), block):
            part = slice(begin, min(begin + block, len(queries)))
            best = np.zeros((part.stop - begin, k), np.uint64)
            with _lone_threads(threads) as pool:
                for first in range(0, len(documents), documents_at_once):
                    if coded is None or len(documents) > documents_at_once:
                        coded = None  # or two of them would be held
                        coded = _Coded.of(documents[first : first + documents_at_once], dtype, pool.map)
                    jobs = [
                        pool.submit(
                            _improve,
                            best[start - begin : start - begin + at_once],
                            queries[start : min(start + at_once, part.stop)],
                            coded,
                            first,
                            memories,
                            most,
                        )
                        for start in range(begin, part.stop, at_once)
                    ]
                    for job in jobs:
                        job.result()
            yield Nearest(part, *_decoded(best))
            advance(len(best))


@contextmanager
def _lone_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each compute alone.

    Blocks are small. Threads that share one wait for each other many times in it, and on a busy machine each time for
    those that have no processor just then: with as many other processes at work, 50,000 x 50,000 took 50 s that way.
    """
    import faiss
    import torch

    begun = SimpleQueue[None]()
    whole = Event()

    def alone() -> None:
        torch.set_num_threads(1)
        # The first that a thread asks of torch takes over what was set last, and that is this until all have begun.
        torch.get_num_threads()
        faiss.omp_set_num_threads(1)
        begun.put(None)
        whole.wait()

    pool = ThreadPoolExecutor(count, "search", alone)
    try:
        # Threads that begin later take over what was set last, in whatever thread: so all of these begin now, and none
        # is free for a second task before.
        with _beginning:
            for _ in range(count):
                pool.submit(int)
            for _ in range(count):
                begun.get()
            torch.set_num_threads(count)
        whole.set()
        yield pool
    finally:
        whole.set()
        pool.shutdown(cancel_futures=True)


def paired_scores(queries: Floats, documents: Floats, rows: Rows) -> Floats:
    """Inner products of each query with its own documents, (q, m) float32.

    FAISS gathers nothing: 256 queries of 80 rows take 1.3 ms, an einsum over the gathered rows 3.9 ms.

    Args:
        queries: (q, dim) float32.
        documents: (n, dim) float32.
        rows: (q, m) int64, of the documents; -1 gives -inf.
    """
    import faiss

    scores = np.empty(rows.shape, np.float32)
    if not scores.size:
        return scores
    numbers = [np.ascontiguousarray(side, np.float32) for side in (queries, documents)]
    rows = np.ascontiguousarray(rows)
    pointers = [*(faiss.swig_ptr(array) for array in (scores, *numbers)), faiss.swig_ptr(rows)]
    # FAISS has it and its type stubs do not.
    faiss.fvec_inner_products_by_idx(*pointers, queries.shape[1], *rows.shape)  # type: ignore[attr-defined]
    return scores


def _check(queries: Floats, documents: Floats, k: int) -> None:
    if queries.ndim != 2 or documents.ndim != 2 or queries.shape[1] != documents.shape[1]:
        raise DataError(
            f"queries are {queries.shape} and documents {documents.shape}; both must be (rows, dim) of one dim.",
            hint="encode both with the same encoder.",
        )
    if queries.dtype != np.float32 or documents.dtype != np.float32:
        raise DataError(f"queries are {queries.dtype} and documents {documents.dtype}.", hint="give float32.")
    if k < 1:
        raise DataError(f"k is {k}.", hint="ask for at least 1 document.")
    if len(documents) > int(LOW):
        raise DataError(f"there are {len(documents):,} documents.", hint="search in parts of at most 4 billion.")


@dataclass(frozen=True)
class _Coded:
    """Vectors as the first pass multiplies them, and what bounds its error.

    Attributes:
        vectors: fp32, (n, dim).
        coded: in the number format of the first pass.
        norm: of each vector, (n,).
        lost: of each difference between a vector and its coded form, (n,).
    """

    vectors: Floats
    coded: torch.Tensor
    norm: Floats
    lost: Floats

    @classmethod
    def of(cls, vectors: Floats, dtype: torch.dtype, each: Callable[..., Iterable[None]] = map) -> _Coded:
        """Raises DataError where a vector is not finite; ``each`` maps over blocks, as the ``map`` of a pool does."""
        import torch

        vectors = np.ascontiguousarray(vectors)
        exact = _tensor(vectors)
        coded = torch.empty(exact.shape, dtype=dtype)
        norm, lost = np.empty((2, len(vectors)), np.float32)

        def measure(at: int) -> None:
            part = slice(at, at + ROWS_AT_ONCE)
            coded[part] = exact[part]
            norm[part] = torch.linalg.vector_norm(exact[part], dim=1).numpy()
            lost[part] = torch.linalg.vector_norm(exact[part] - coded[part].float(), dim=1).numpy()

        for _ in each(measure, range(0, len(vectors), ROWS_AT_ONCE)):
            pass
        if not np.isfinite(norm).all():
            raise DataError("a vector is not finite.", hint="encode the texts again in float32.")
        return cls(vectors, coded, norm, lost)


def _tensor(vectors: Floats) -> torch.Tensor:
    """The vectors as a tensor that is only read: torch warns of memory that cannot be written, as mapped files are."""
    import torch

    memory = (c_float * vectors.size).from_address(vectors.ctypes.data)
    return torch.frombuffer(memory, dtype=torch.float32).view(vectors.shape)


@dataclass(frozen=True)
class _Bound:
    """How far an approximate score of a query can be from the exact one: ``slack`` and a share of itself.

    Attributes:
        slack: (b, 1) float32.
        rounding: of the approximate score to its number format, relative.
    """

    slack: Floats
    rounding: float

    @classmethod
    def of(cls, queries: _Coded, documents: _Coded) -> _Bound:
        norms, lost = queries.norm, queries.lost
        most, most_lost = documents.norm.max(), documents.lost.max()
        slack = (norms + lost) * most_lost + lost * most
        # Both sums, the approximate and the exact one, in any order; a product of a fused step may be rounded twice.
        slack += 2 * queries.vectors.shape[1] * 2.0**-23 * (norms + lost) * (most + most_lost)
        return cls(slack[:, None], 2.0**-8 if queries.coded.element_size() == 2 else 0.0)

    def least_exact(self, approximate: Floats) -> Floats:
        """The least that the exact score can be."""
        return self._rounded_down(approximate) - self.slack

    def least_approximate(self, exact: Floats) -> Floats:
        """The least that the approximate score can be."""
        return self._rounded_down(exact - self.slack)

    def _rounded_down(self, scores: Floats) -> Floats:
        return np.asarray(np.minimum(scores * (1 - self.rounding), scores * (1 + self.rounding)))


def _improve(
    best: Keys, queries: Floats, documents: _Coded, first: int, memories: SimpleQueue[torch.Tensor], most: int
) -> None:
    """Put the documents of a block where they belong in ``best``.

    Args:
        best: keys of the k best so far of each query, (b, k), the worst of them first.
        queries: (b, dim).
        documents: (m, dim).
        first: row of the first one of them.
        memories: each for b times m scores; to take new memory for each block costs a fifth of the first pass.
        most: scores that may be looked into at once.
    """
    import torch

    coded = _Coded.of(queries, documents.coded.dtype)
    shape = len(queries), len(documents.vectors)
    memory = memories.get()
    try:
        scores = memory[: shape[0] * shape[1]].view(shape)
        torch.mm(coded.coded, documents.coded.T, out=scores)
        found = _candidates(scores, best, _Bound.of(coded, documents), most)
    finally:
        memories.put(memory)
    if found is None:
        half = len(best) // 2
        for part in (slice(half), slice(half, None)):
            _improve(best[part], queries[part], documents, first, memories, most)
        return
    keys = _keys(paired_scores(coded.vectors, documents.vectors, found), found, first)
    best[:] = np.sort(np.concatenate([best, keys], 1), 1)[:, -best.shape[1] :]


def _candidates(scores: torch.Tensor, best: Keys, bound: _Bound, most: int) -> Rows | None:
    """Columns of all documents that may be among the k best, (b, most of a query), filled up with -1.

    Args:
        scores: approximate ones, (b, m).
        best: keys of the k best documents so far, (b, k), the worst of them first.
        bound: of the error of ``scores``.
        most: scores that may be looked into at once; None where that is not enough for several queries.
    """
    import torch

    k, columns = best.shape[1], scores.shape[1]
    chunk = min(max(columns // (CHUNKS_PER_CANDIDATE * k), 1), CHUNK)
    width = columns // chunk
    # Chunk i is the columns i, i + width, i + 2 width, ...: maxima of whole runs of memory, not within them.
    chunks = scores[:, : chunk * width].view(len(scores), chunk, width)
    maxima = chunks.amax(1).float().numpy()
    floor = _decoded(best[:, :1])[0]  # (b, 1): the k-th best score so far is one that must be reached
    if width >= k and not np.isfinite(floor).all():
        kth = np.partition(maxima, width - k, axis=1)[:, [width - k]]
        floor = np.maximum(floor, bound.least_exact(kth))
    cut = bound.least_approximate(floor)
    reached = maxima >= cut
    if len(scores) > 1 and np.count_nonzero(reached) * chunk > most:
        return None
    query, column = np.nonzero(reached)
    looked_into = chunks[torch.from_numpy(query), :, torch.from_numpy(column)].float().numpy()  # (chunks, chunk)
    number, place = np.nonzero(looked_into >= cut[query])
    query, column = query[number], column[number] + place * width
    if chunk * width < columns:
        rest, place = np.nonzero(scores[:, chunk * width :].float().numpy() >= cut)
        query, column = np.concatenate([query, rest]), np.concatenate([column, place + chunk * width])
        order = np.argsort(query, kind="stable")
        query, column = query[order], column[order]
    # Side by side, filled up with -1: the query with the most candidates says how wide all are.
    counts = np.bincount(query, minlength=len(scores))
    shape = len(scores), int(counts.max(initial=0))
    if len(scores) > 1 and shape[0] * shape[1] > most:
        return None
    table = np.full(shape, NONE, np.int64)
    table[query, np.arange(len(query)) - np.repeat(np.cumsum(counts) - counts, counts)] = column
    return table


def _keys(scores: Floats, columns: Rows, first: int) -> Keys:
    """Score and row as one number, larger for the better score, of equal ones for the lower row; 0 for none."""
    bits = (scores + np.float32(0)).view(np.uint32)  # -0.0 is 0.0
    # Floats order like their bits, negative ones the other way round.
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31)).astype(np.uint64)
    keys = (ordered << np.uint64(32)) | (LOW - (columns + first).astype(np.uint64) & LOW)
    keys[columns == NONE] = 0
    return keys


def _decoded(keys: Keys) -> tuple[Floats, Rows]:
    """Scores and rows, best first."""
    keys = keys[:, ::-1]
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ordered >> 31, ordered & np.uint32(~(1 << 31) & 0xFFFFFFFF), ~ordered)
    scores, rows = bits.view(np.float32), (LOW - (keys & LOW)).astype(np.int64)
    scores[keys == 0], rows[keys == 0] = -np.inf, NONE
    return scores, rows
