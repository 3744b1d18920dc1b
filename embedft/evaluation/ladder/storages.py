"""How vectors of documents may be stored: what is left of their order, how much memory they take, how fast they are.

    storage            in memory, bytes a vector   beside it on disk   kind of `embedft index build`
    fp32               4 dim                       -                   flat
    fp16               2 dim                       -                   -
    int8               dim                         -                   -
    int8+rescoring     dim                         4 dim               hnsw-sq8, with a graph
    binary             dim / 8                     -                   -
    binary+rescoring   dim / 8                     4 dim               binary

Queries stay in fp32, except against bits, where they are bits themselves. int8 is a line of 256 steps for each
dimension, from the smallest to the largest value of the documents there (FAISS' SQ8). Rescoring ranks the nearest
candidates by the fp32 vectors, which may stay on the disk. Kinds of index rescore whatever they keep in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.index.approximate import Point, Stage, approximate_search, faiss_threads, threads
from embedft.index.exact import Floats, Rows, exact_search

# Candidates that are scored again, as a multiple of the hits: what users of bits are told to begin with (Shakir, Aarsen
# and Lee 2024, Binary and Scalar Embedding Quantization, Hugging Face). An index tunes its own.
FACTOR = 4
# Queries are timed in batches of so many; a batch that is done sooner is repeated for so many seconds.
BATCH = 64
SHORTEST = 0.01
MILLION = 1_000_000
SMALLEST = 1e-12


@dataclass(frozen=True)
class Storage:
    """A way to store the vectors of documents.

    Attributes:
        name: as in the table above.
        kind: of `embedft index build` that keeps such codes; None where there is none.
        code_bytes: dimension -> bytes of a vector in memory.
        table_bytes: dimension -> bytes that are kept once, for all vectors.
        disk_bytes: dimension -> bytes of a vector that rescoring reads from the disk.
        quantiser: FAISS factory string of the codes; None for fp32 and bits.
    """

    name: str
    kind: str | None
    code_bytes: Callable[[int], int]
    table_bytes: Callable[[int], int] = lambda _dim: 0
    disk_bytes: Callable[[int], int] = lambda _dim: 0
    quantiser: str | None = None

    @property
    def rescored(self) -> bool:
        """Whether fp32 vectors rank what the codes propose."""
        return self.disk_bytes(1) > 0

    @property
    def binary(self) -> bool:
        """Whether the codes are bits."""
        return self.name.startswith("binary")

    def megabytes(self, dim: int) -> tuple[float, float]:
        """Megabytes (10^6 bytes) of a million documents: in memory, and beside that on the disk."""
        return (MILLION * self.code_bytes(dim) + self.table_bytes(dim)) / 1e6, float(self.disk_bytes(dim))


def _whole(dim: int) -> int:
    return 4 * dim


def _ranges(dim: int) -> int:
    """The smallest value of each dimension and how far it reaches, as fp32."""
    return 8 * dim


def _bits(dim: int) -> int:
    return (dim + 7) // 8


STORAGES = {
    storage.name: storage
    for storage in (
        Storage("fp32", "flat", _whole),
        Storage("fp16", None, lambda dim: 2 * dim, quantiser="SQfp16"),
        Storage("int8", None, int, _ranges, quantiser="SQ8"),
        Storage("int8+rescoring", "hnsw-sq8", int, _ranges, _whole, quantiser="SQ8,RFlat"),
        Storage("binary", None, _bits),
        Storage("binary+rescoring", "binary", _bits, disk_bytes=_whole),
    )
}


def truncated(vectors: Floats, dim: int) -> Floats:
    """The first ``dim`` dimensions as unit vectors, (n, dim); a vector without any length there stays zero."""
    if dim == vectors.shape[1]:
        return np.ascontiguousarray(vectors)
    first = vectors[:, :dim]
    norms = np.linalg.norm(first, axis=1, keepdims=True)
    return np.ascontiguousarray(first / np.where(norms > 0, norms, 1), dtype=np.float32)


class Stored:
    """Vectors of documents in one storage.

    Args:
        storage: of `STORAGES`.
        documents: unit vectors, (n, dim) float32.
    """

    def __init__(self, storage: Storage, documents: Floats) -> None:
        self.storage = storage
        self.documents = documents

    @cached_property
    def _codes(self) -> Any:
        """FAISS' scalar quantiser, or the stage of bits; None for fp32."""
        if self.storage.quantiser is not None:
            return quantised(self.documents, self.storage.quantiser)
        return Stage.build("binary", self.documents) if self.storage.binary else None

    def rank(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """Scores and rows of the ``k`` nearest documents of each query by what is stored, (n, k).

        Ties are in the order of rows, also where they cross the cut (bits have many), so that a score does not depend
        on how FAISS passes through its codes. Where candidates are rescored, the cut of the candidates is FAISS' own.
        """
        if self.storage.rescored:
            scores, rows = self.search(queries, k)
            order = np.lexsort((rows, -scores))
            return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
        with faiss_threads(len(queries)):
            return exact_search(self.seen(queries), self.decoded(), k)

    def search(self, queries: Floats, k: int) -> tuple[Floats, Rows]:
        """The same as a server does it, over the codes themselves: this is what is timed."""
        k = min(k, len(self.documents))
        if self.storage.binary and self.storage.rescored:
            return approximate_search(self._codes, self.documents, queries, k, Point(0, FACTOR))
        with faiss_threads(len(queries)):
            if self.storage.binary:
                found: tuple[Floats, Rows] = self._codes.search(queries, k, Point(0, 1))
                return found
            if self._codes is None:
                return exact_search(queries, self.documents, k)
            found = self._codes.search(queries, k)
            return found

    def decoded(self) -> Floats:
        """The documents as their codes have them, (n, dim) float32."""
        if self.storage.quantiser is not None:
            found: Floats = self._codes.reconstruct_n(0, len(self.documents))
            return found
        return signs(self.documents) if self.storage.binary else self.documents

    def seen(self, queries: Floats) -> Floats:
        """The queries as they are compared with `decoded`, (n, dim) float32."""
        return signs(queries) if self.storage.binary else queries


def quantised(vectors: Floats, recipe: str) -> Any:
    """FAISS' scalar quantiser of that factory string, with rescoring or without, fitted to the vectors it holds."""
    import faiss

    index = faiss.index_factory(vectors.shape[1], recipe, faiss.METRIC_INNER_PRODUCT)
    with faiss_threads(threads()):
        index.train(vectors)
        index.add(vectors)
    if hasattr(index, "k_factor"):
        index.k_factor = FACTOR
    return index


def seconds_of(stored: Stored, queries: Floats, k: int) -> float:
    """Seconds of one search for ``k`` hits of each of the queries, together."""
    stored.search(queries, k)
    repeats, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < SHORTEST or not repeats:
        stored.search(queries, k)
        repeats += 1
    return passed / repeats


def cosines_of(storage: Storage, vectors: Floats, pairs: Rows) -> npt.NDArray[np.float64]:
    """Cosines of vectors as they are stored, (pairs,); 0 with a vector that is zero.

    Args:
        storage: of `STORAGES`.
        vectors: unit vectors, (n, dim) float32.
        pairs: (pairs, 2), rows of ``vectors``.
    """
    stored = Stored(storage, vectors).decoded().astype(np.float64)
    lengths = np.linalg.norm(stored, axis=1)
    # Divided last: inner products of bits are whole numbers, and equal ones must stay equal.
    products = (stored[pairs[:, 0]] * stored[pairs[:, 1]]).sum(axis=1)
    return np.asarray(products / np.maximum(lengths[pairs].prod(axis=1), SMALLEST), np.float64)


def signs(vectors: Floats) -> Floats:
    """1 where a value is above zero, else -1: inner products fall as Hamming distances rise, dim - 2 distance."""
    return np.where(vectors > 0, np.float32(1), np.float32(-1))
