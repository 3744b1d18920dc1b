"""A snapshot: one version of an index, opened. It never changes; a writer publishes another one beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.errors import ArtifactError, DataError
from embedft.index.canaries import FILE as CANARIES
from embedft.index.exact import Flags, Floats, Rows, require_k
from embedft.index.lexical import Prepared, best_rows
from embedft.index.segment import Segment, open_vectors, padded
from embedft.index.storage import Version, mask, open_version, parse_all

DELETED, QUERIES = "deleted.npy", "queries.npy"
# Queries that went through half precision are off by so much.
QUERY_TOLERANCE = 1e-2
# Float32 vectors are off by less; they are searched as they are.
ROUNDING = 1e-5
Filters = str | Sequence[str] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Snapshot:
    """All segments of one version; rows are counted over them in order.

    Attributes:
        version: its folder and manifest.
        segments: the base first, then what was added.
        alive: (rows,), False for what was deleted or replaced; None where nothing was.
        canaries: (2 x texts, dim), see `embedft.index.canaries`; here since the version's folder may be removed while
            the snapshot is in use.
        queries: vectors of the held-out queries, (queries, dim), memory-mapped; None where it was tuned on none.
    """

    version: Version
    segments: tuple[Segment, ...]
    alive: Flags | None
    canaries: Floats
    queries: Floats | None

    @classmethod
    def open(cls, path: Path) -> Snapshot:
        """The current version of the index at ``path``.

        Raises:
            ArtifactError: there is no index, or a file is missing, damaged, or of another version.
        """
        version, read = open_version(path, _read)
        return cls(version, *read)

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the version."""
        return self.version.manifest

    @cached_property
    def starts(self) -> Rows:
        """The first row of each segment, and the number of rows at the end: (segments + 1,)."""
        return np.concatenate([[0], np.cumsum([len(segment) for segment in self.segments])]).astype(np.int64)

    @property
    def rows(self) -> int:
        """Rows in all, deleted ones too."""
        return int(self.starts[-1])

    def __len__(self) -> int:
        return self.rows if self.alive is None else int(self.alive.sum())

    def allowed(self, filters: Filters) -> Flags | None:
        """(rows,), which rows a search may find; None for all.

        Raises:
            DataError: a filter names a field that no document has, or asks of numbers alone what is no number.
        """
        parsed = parse_all(filters)
        if not parsed:
            return self.alive
        flags = mask(parsed, [segment.documents for segment in self.segments])
        return flags if self.alive is None else flags & self.alive

    def search(self, queries: Floats, k: int, allowed: Flags | None, *, exact: bool = False) -> tuple[Floats, Rows]:
        """Exact cosines and rows of the nearest allowed documents, (queries, k); -inf and -1 where there are fewer.

        Raises:
            DataError: the queries have another dimension, or k is below 1.
        """
        k = require_k(k)
        if queries.ndim != 2 or queries.shape[1] != self.manifest["dim"]:
            raise DataError(
                f"the vectors of the queries are {queries.shape}; the index has {self.manifest['dim']} dimensions.",
                hint="encode queries with the encoder of the index.",
            )
        queries = _unit(queries)
        found = [
            segment.search(queries, k, part, exact=exact)
            for segment, part in zip(self.segments, self._split(allowed), strict=True)
        ]
        return self.merged(found, k)

    def merged(self, found: Sequence[tuple[Floats, Rows]], k: int) -> tuple[Floats, Rows]:
        """The best ``k`` of each query out of those of the segments, whose rows become rows of the whole."""
        if len(found) == 1:
            return padded(*found[0], k)
        scores = np.concatenate([scores for scores, _ in found], axis=1)
        rows = np.concatenate(
            [np.where(rows < 0, rows, rows + start) for (_, rows), start in zip(found, self.starts, strict=False)],
            axis=1,
        )
        order = np.lexsort((rows, -scores))[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def search_words(self, texts: Sequence[str], k: int, allowed: Flags | None) -> tuple[Floats, Rows]:
        """BM25 scores and rows of the best allowed documents, (queries, k); -inf and -1 where no word is shared.

        Documents that were added since the base was built are scored by the base's statistics.

        Raises:
            DataError: the index was built without BM25.
        """
        base = self.segments[0]
        if base.lexical is None:
            raise DataError(
                "the index keeps no words: it was built without BM25.", hint="build it again without --no-lexical."
            )
        k = require_k(k)
        parts = self._split(allowed)
        found = [base.lexical.search(texts, k, parts[0])]
        for words, part in zip(self._added_words, parts[1:], strict=True):
            scores = np.full((len(texts), min(k, words.count)), -np.inf, np.float32)
            rows = np.full(scores.shape, -1, np.int64)
            # One after the other: all at once would hold a score of each query and document.
            for number, text in enumerate(texts):
                of_all = base.lexical.score_prepared([text], words)[0]
                best = best_rows(of_all, k, part)
                scores[number, : len(best)], rows[number, : len(best)] = of_all[best], best
            found.append((scores, rows))
        return self.merged(found, k)

    @cached_property
    def _added_words(self) -> list[Prepared]:
        lexical = self.segments[0].lexical
        return [] if lexical is None else [lexical.prepare(segment.texts()) for segment in self.segments[1:]]

    def _split(self, flags: Flags | None) -> list[Flags | None]:
        if flags is None:
            return [None] * len(self.segments)
        return list(np.split(flags, self.starts[1:-1]))

    def vectors(self, rows: Rows) -> Floats:
        """The vectors of rows, (rows, dim)."""
        gathered = np.empty((len(rows), self.manifest["dim"]), np.float32)
        for segment, start, end in zip(self.segments, self.starts, self.starts[1:], strict=False):
            here = (rows >= start) & (rows < end)
            gathered[here] = segment.vectors[rows[here] - start]
        return gathered

    def documents(self, rows: Rows) -> list[dict[str, Any]]:
        """id, title, text, metadata of rows, in their order."""
        taken: list[dict[str, Any]] = [{}] * len(rows)
        for segment, start, end in zip(self.segments, self.starts, self.starts[1:], strict=False):
            here = np.flatnonzero((rows >= start) & (rows < end))
            for place, document in zip(here, segment.documents.take(rows[here] - start), strict=True):
                taken[place] = document
        return taken

    def ids(self, rows: Rows) -> list[list[str]]:
        """The id of each of (queries, k) rows; "" for -1."""
        flat = rows.ravel()
        named = np.full(len(flat), "", dtype=object)
        for segment, start, end in zip(self.segments, self.starts, self.starts[1:], strict=False):
            here = np.flatnonzero((flat >= start) & (flat < end))
            named[here] = segment.documents.ids.take(pa.array(flat[here] - start)).to_pylist()
        return [list(part) for part in named.reshape(rows.shape)]

    def find(self, ids: Sequence[str]) -> Rows:
        """The row of each id, (ids,); -1 for an id that the index does not hold."""
        rows = np.full(len(ids), -1, np.int64)
        for segment, start in zip(self.segments, self.starts, strict=False):
            here = segment.documents.find(ids)
            there = np.flatnonzero(here >= 0)
            found = here[there] + start
            live = np.ones(len(found), bool) if self.alive is None else self.alive[found]
            rows[there[live]] = found[live]
        return rows

    def live_flags(self) -> Flags:
        """(rows,), which are alive: an array of its own."""
        return np.ones(self.rows, bool) if self.alive is None else self.alive.copy()

    def live_rows(self, number: int | None = None) -> Rows:
        """Rows that are alive, in the order of `live_documents`; those of one segment are counted within it."""
        flags = self.live_flags()
        return np.flatnonzero(flags if number is None else flags[self.starts[number] : self.starts[number + 1]])

    def live_documents(self) -> pa.Table:
        """All documents that are alive: id, title, text, metadata."""
        return pa.concat_tables(
            [segment.documents.table(self.live_rows(number)) for number, segment in enumerate(self.segments)]
        )


def _unit(queries: Floats) -> Floats:
    """The queries, those that are of length 1 only roughly divided by it."""
    norms = np.linalg.norm(queries, axis=1, keepdims=True)
    odd = np.abs(norms - 1)
    if not (odd < QUERY_TOLERANCE).all():
        raise DataError(
            f"the vector of query {int(odd.argmax())} is not of length 1, or no number.",
            hint="encode queries with the encoder of the index, or divide vectors by their lengths.",
        )
    unit: Floats = np.where(odd > ROUNDING, queries / norms, queries)
    return unit


def _read(version: Version) -> tuple[tuple[Segment, ...], Flags | None, Floats, Floats | None]:
    manifest = version.manifest
    segments = tuple(Segment.open(version.path, entry, manifest["dim"]) for entry in manifest["segments"])
    rows = sum(len(segment) for segment in segments)
    file = version.path / DELETED
    canaries: Floats = np.load(version.path / CANARIES, allow_pickle=False)
    queries = open_vectors(version.path / QUERIES) if QUERIES in manifest["files"] else None
    deleted = file.exists()
    if not version.path.is_dir():
        # What was not there may have been, before a writer removed the version: `open_version` takes the new one.
        raise ArtifactError(f"{version.path}: is missing.", hint="build the index again, or restore it from a copy.")
    if not deleted:
        return segments, None, canaries, queries
    bits = np.load(file, allow_pickle=False)
    if bits.dtype != np.uint8 or bits.ndim != 1 or len(bits) != -(-rows // 8):
        raise ArtifactError(
            f"{file}: does not belong to the {rows} documents beside it.", hint="build the index again, or roll back."
        )
    return segments, np.unpackbits(bits, count=rows) == 0, canaries, queries


def write_deleted(folder: Path, alive: Flags) -> None:
    """Write which rows are gone, one bit a row; nothing where none is."""
    if not alive.all():
        np.save(folder / DELETED, np.packbits(~alive), allow_pickle=False)
