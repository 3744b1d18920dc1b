"""A stage: a FAISS index that proposes candidates, as a file that is checked before and after FAISS reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.errors import ArtifactError, DataError
from embedft.index.approximate.budget import faiss_threads, threads
from embedft.index.approximate.kinds import ROWS_PER_LIST, Kind, Point, effort_of_building, lists_of, stage_kind

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

# Vectors that are added at once: searches beside a build wait for one block, about a second.
ADDED_AT_ONCE = 4096
# What codes are fitted to, at least; k-means of many lists asks for more.
TRAINING_ROWS = 20_000
# PQ of 4 bits has 16 codes a part, and each needs a vector.
FEWEST_ROWS = 16
# FAISS allocates a table beside a PQ index of few vectors that is larger than its file.
TABLE_BYTES = 64 << 20
# Loops of the reader run over lists; files of small indexes have small other loops.
FEWEST_LOOPS = 4096

# The limits of the reader belong to the process.
_reading = threading.Lock()


class Stage:
    """An approximate index of unit vectors that proposes candidates by scores of its own.

    Many threads may search it at once: a search changes nothing.

    Attributes:
        kind: of ``embedft.index.approximate.KINDS``.
        size: number of vectors.
        dim: their dimension.
    """

    def __init__(self, kind: str, index: Any, *, size: int, dim: int) -> None:
        self.kind = kind
        self.size = size
        self.dim = dim
        self._index = index

    @classmethod
    def build(
        cls,
        kind: str,
        vectors: Floats,
        *,
        seed: int = 0,
        threads: int | None = None,
        done: Callable[[int], None] | None = None,
    ) -> Stage:
        """A stage of ``vectors``.

        The same seed gives the same stage, except for the kinds that are graphs (HNSW) where several threads add at
        once: the links then depend on which came first.

        Args:
            kind: of ``KINDS``, not flat.
            vectors: unit vectors, (n, dim) float32; may be memory-mapped, and is read in blocks.
            seed: of the sample that codes and lists are fitted to, of k-means, and of the graph.
            threads: at most; by default those of the process' budget.
            done: is told how many vectors were added, block by block.

        Raises:
            ConfigError: there is no such kind of stage.
            DataError: the vectors are too few or of another type.
        """
        made = stage_kind(kind)
        if vectors.ndim != 2 or vectors.dtype != np.float32:
            raise DataError(f"vectors are {vectors.shape} {vectors.dtype}.", hint="give (n, dim) float32.")
        size, dim = vectors.shape
        if size < FEWEST_ROWS:
            raise DataError(
                f"{size} vectors are too few for an index of kind {kind!r}; it needs {FEWEST_ROWS}.",
                hint="search them exactly: choose the kind flat.",
            )
        index = _empty(made, size, dim, seed)
        with faiss_threads(_wanted(threads)):
            if not index.is_trained:
                index.train(made.encode(_sample(vectors, seed)))
        for start in range(0, size, ADDED_AT_ONCE):
            block = vectors[start : start + ADDED_AT_ONCE]
            with faiss_threads(_wanted(threads)):
                index.add(made.encode(block))
            if done is not None:
                done(len(block))
        return cls(kind, index, size=size, dim=dim)

    def save(self, path: Path) -> None:
        """Write the stage as one file; flushing it to the disk is the caller's."""
        faiss = _faiss()
        write = faiss.write_index_binary if stage_kind(self.kind).binary else faiss.write_index
        write(self._index, str(path))

    @classmethod
    def open(cls, kind: str, path: Path, *, size: int, dim: int) -> Stage:
        """The stage in a file of ``save`` whose SHA-256 the caller has checked; memory-mapped where possible.

        Args:
            kind: it was built as.
            path: of the file.
            size: number of vectors it must hold.
            dim: their dimension.

        Raises:
            ConfigError: there is no such kind of stage.
            ArtifactError: FAISS cannot read the file, or it is another index than the one asked for.
        """
        faiss = _faiss()
        made = stage_kind(kind)
        if not path.is_file():
            raise ArtifactError(f"{path}: is missing.", hint="build the index again, or restore it from a copy.")
        read = faiss.read_index_binary if made.binary else faiss.read_index
        try:
            with _limited(path.stat().st_size, size):
                # Mapped, a file opens ten times as fast and is searched as fast.
                index = read(str(path), faiss.IO_FLAG_MMAP_IFC)
        except (RuntimeError, MemoryError) as error:
            reason = str(error).strip().splitlines()[-1].split("Error: ")[-1]
            raise ArtifactError(
                f"{path}: FAISS cannot read it: {reason}", hint="build the index again, or restore it from a copy."
            ) from error
        found, expected = _identity(index), _expected(made, size, dim)
        wrong = [f"{name} {found[name]} instead of {value}" for name, value in expected.items() if found[name] != value]
        if wrong:
            raise ArtifactError(
                f"{path}: is not the {kind} index of {size} vectors of {dim} dimensions: it has {', '.join(wrong)}.",
                hint="build the index again, or restore it from a copy.",
            )
        return cls(kind, index, size=size, dim=dim)

    def search(self, queries: Floats, count: int, point: Point, allowed: Flags | None = None) -> tuple[Floats, Rows]:
        """The ``count`` best candidates of each query by the stage's own scores: scores and rows, (n, count).

        Where there are fewer, rows end with -1 and scores with -inf. Binary codes score minus their Hamming distance,
        other kinds an approximate inner product.

        With ``allowed``, a kind with a dial looks only where it would look without: where allowed vectors are rare, or
        far from the query, it misses hits or finds fewer (``approximate_search`` does not let that happen).

        Args:
            queries: unit vectors, (n, dim) float32.
            count: at least 1.
            point: its effort is used; a graph is searched with an effort of at least ``count``.
            allowed: (size,), which rows may be proposed.

        Raises:
            ArtifactError: the index names a row that it cannot have.
        """
        faiss = _faiss()
        if not len(queries):
            return np.empty((0, count), np.float32), np.empty((0, count), np.int64)
        made = stage_kind(self.kind)
        bits = None if allowed is None else np.packbits(allowed, bitorder="little")
        selector = None if bits is None else faiss.IDSelectorBitmap(self.size, faiss.swig_ptr(bits))
        with faiss_threads(len(queries)):
            found, rows = self._index.search(
                made.encode(queries), count, params=_parameters(made, self._index, point, count, selector)
            )
        if rows.size and int(rows.max()) >= self.size:
            raise ArtifactError(
                f"the {self.kind} index names row {int(rows.max())} of {self.size}.", hint="build the index again."
            )
        scores = -found.astype(np.float32) if made.binary else found
        scores[rows < 0] = -np.inf
        return scores, rows


def _faiss() -> Any:
    """FAISS, whose type stubs lack much of what it has."""
    import faiss

    return faiss


def _wanted(count: int | None) -> int:
    return threads() if count is None else count


def _sample(vectors: Floats, seed: int) -> Floats:
    wanted = max(TRAINING_ROWS, ROWS_PER_LIST * lists_of(len(vectors)))
    if wanted >= len(vectors):
        return np.ascontiguousarray(vectors)
    rows = np.random.default_rng(seed).choice(len(vectors), wanted, replace=False)
    # In order, so that a memory-mapped file is read forwards.
    return vectors[np.sort(rows)]


def _empty(made: Kind, size: int, dim: int, seed: int) -> Any:
    faiss = _faiss()
    recipe, encoded = made.factory(size, dim), made.encoded_dim(dim)
    if made.binary:
        return faiss.index_binary_factory(encoded, recipe)
    index = faiss.index_factory(encoded, recipe, faiss.METRIC_INNER_PRODUCT)
    if made.dial == "efSearch":
        index.hnsw.rng = faiss.RandomGenerator(seed)
        index.hnsw.efConstruction = effort_of_building(size)
    if made.dial == "nprobe":
        # Small indexes have few vectors a list; FAISS would warn of it on standard error.
        index.cp.min_points_per_centroid = 1
        index.cp.seed = seed
    if hasattr(index, "pq"):
        index.pq.cp.min_points_per_centroid = 1
        index.pq.cp.seed = seed
    return index


def _parameters(made: Kind, index: Any, point: Point, count: int, selector: Any) -> Any:
    faiss = _faiss()
    if made.dial == "efSearch":
        return faiss.SearchParametersHNSW(efSearch=max(point.effort, count), sel=selector)
    if made.dial == "nprobe":
        return faiss.SearchParametersIVF(nprobe=max(1, min(point.effort, index.nlist)), sel=selector)
    return None if selector is None else faiss.SearchParameters(sel=selector)


@contextmanager
def _limited(file_bytes: int, size: int) -> Iterator[None]:
    """Let FAISS' reader allocate no more, and loop no longer, than an honest file of this size asks for."""
    faiss = _faiss()
    with _reading:
        before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
        faiss.set_deserialization_vector_byte_limit(max(2 * file_bytes, TABLE_BYTES))
        faiss.set_deserialization_loop_limit(max(size, FEWEST_LOOPS))
        try:
            yield
        finally:
            faiss.set_deserialization_vector_byte_limit(before[0])
            faiss.set_deserialization_loop_limit(before[1])


def _expected(made: Kind, size: int, dim: int) -> dict[str, Any]:
    expected = {"class": made.class_name, "vectors": size, "dimensions": made.encoded_dim(dim), "trained": True}
    expected["code bytes"] = made.code_bytes(dim)
    expected["metric"] = "Hamming" if made.binary else "inner product"
    expected["lists"] = lists_of(size) if made.dial == "nprobe" else None
    # Each vector must have its links, or its place in a list.
    expected["linked or listed"] = None if made.dial is None else size
    return expected


def _identity(index: Any) -> dict[str, Any]:
    faiss = _faiss()
    binary, graph, lists = (hasattr(index, name) for name in ("xb", "hnsw", "invlists"))
    linked = index.hnsw.levels.size() if graph else index.invlists.compute_ntotal() if lists else None
    coded = faiss.downcast_index(index.storage) if graph else index
    metrics = {faiss.METRIC_INNER_PRODUCT: "inner product", faiss.METRIC_L2: "L2"}
    return {
        "class": type(index).__name__,
        "vectors": index.ntotal,
        "dimensions": index.d,
        "trained": bool(index.is_trained),
        "code bytes": getattr(coded, "code_size", None),
        "metric": "Hamming" if binary else metrics.get(index.metric_type, f"number {index.metric_type}"),
        "lists": index.nlist if lists else None,
        "linked or listed": linked,
    }
