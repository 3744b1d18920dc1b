"""Judgments: qrels by position, looked up once for any number of rankings of the same queries and documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedft.data.retrieval import QRELS_SCHEMA
from embedft.errors import DataError
from embedft.evaluation.metrics import Integers, Judged, Placed

NO_DOCUMENT = -1
# 2^64 over the golden ratio: multiplied by it, numbers near each other land far apart (Knuth, TAOCP vol. 3, 6.4).
SPREAD = np.uint64(0x9E3779B97F4A7C15)
# Slots for each key: of the pairs that are not judged, at most one in so many is looked at closer.
SLOTS = 32
CROWDED = 255
# So that what is computed for them stays in the processor's cache: a quarter of the time less.
QUERIES_AT_ONCE = 512


@dataclass(frozen=True)
class Judgments:
    """Which documents are relevant to which queries.

    Attributes:
        query_ids, document_ids: what the positions mean.
        keys: (n,), a number for each relevant pair of a query and a document that are both there, ascending.
        grades: (n,), above 0, of these pairs.
        relevant: (queries,), how many documents are relevant, at least 1; also those that are not there.
        ideal: all relevant documents, as the best ranking would have them.
        starts: (queries,), where the keys of each query begin.
        slots: for each value of a hash of the pairs, 0 where none of the keys has it, else which of the keys of its
            query does, from 1; `CROWDED` where several have it, or its number is as high.
    """

    query_ids: Sequence[str]
    document_ids: Sequence[str]
    keys: Integers
    grades: Integers
    relevant: Integers
    ideal: Placed
    starts: Integers
    slots: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, qrels: pa.Table, query_ids: Sequence[str], document_ids: Sequence[str]) -> Judgments:
        """The judgments of these queries; relevant documents beyond ``document_ids`` count, and cannot be found.

        Args:
            qrels: columns query_id, corpus_id, grade; a grade above 0 is relevant.
            query_ids: distinct.
            document_ids: distinct.

        Raises:
            DataError: there is no query, or one has no relevant document.
        """
        if not len(query_ids):
            raise DataError("there is no query to judge.", hint="give the ranking of at least one.")
        table = qrels.select(QRELS_SCHEMA.names).cast(QRELS_SCHEMA)
        table = table.filter(pc.greater(table["grade"], 0))
        queries, documents = _positions(table["query_id"], query_ids), _positions(table["corpus_id"], document_ids)
        kept = np.flatnonzero(queries != NO_DOCUMENT)
        queries, documents, grades = queries[kept], documents[kept], table["grade"].to_numpy()[kept].astype(np.int64)
        relevant = np.bincount(queries, minlength=len(query_ids))
        if not relevant.all():
            query = query_ids[int(np.flatnonzero(relevant == 0)[0])]
            raise DataError(f"query {query!r} has no relevant document in the qrels.", hint="rank judged queries only.")
        there = np.flatnonzero(documents != NO_DOCUMENT)
        keys = queries[there] * len(document_ids) + documents[there]
        order = np.argsort(keys)
        there, keys = there[order], keys[order]
        starts = np.searchsorted(keys, np.arange(len(query_ids)) * len(document_ids))
        slots = _fill(queries[there], documents[there], starts, len(document_ids))
        ideal = _ideal(queries, grades, relevant)
        return cls(query_ids, document_ids, keys, grades[there], relevant, ideal, starts, slots)

    def judge(self, rows: Integers) -> Judged:
        """What a ranking found.

        Args:
            rows: (queries, depth), positions in ``document_ids``; -1 where a query has fewer documents.
        """
        width, depth = len(self.document_ids), rows.shape[1]
        numbers, held = np.arange(len(rows))[:, None], np.empty(rows.shape, np.uint8)
        # Most pairs are not judged: what stands in the slot of a pair tells that faster than a search in the keys.
        for start in range(0, len(rows), QUERIES_AT_ONCE):
            part = slice(start, start + QUERIES_AT_ONCE)
            held[part] = self.slots[_slots(numbers[part], rows[part], width, len(self.slots))]
        likely = np.flatnonzero(held != 0)
        queries, ranks = np.divmod(likely, max(depth, 1))
        documents, number = rows.ravel()[likely], held.ravel()[likely]
        keys = queries * width + documents
        place = np.minimum(self.starts[queries] + number - 1, len(self.keys) - 1)
        crowded = np.flatnonzero(number == CROWDED)
        place[crowded] = np.searchsorted(self.keys, keys[crowded]).clip(max=len(self.keys) - 1)
        hit = np.flatnonzero((self.keys[place] == keys) & (documents != NO_DOCUMENT))
        counts = np.bincount(queries[hit], minlength=len(rows))
        found = Placed.of(queries[hit], ranks[hit], self.grades[place[hit]], counts)
        return Judged(found, self.ideal, self.relevant, depth)


def _positions(ids: pa.ChunkedArray, known: Sequence[str]) -> Integers:
    """Of each id its place among the known ones, -1 where it is none of them."""
    places = pc.index_in(ids, value_set=pa.array(known, pa.string()))
    return np.asarray(pc.fill_null(places, NO_DOCUMENT).to_numpy(), np.int64)


def _fill(queries: Integers, documents: Integers, starts: Integers, width: int) -> npt.NDArray[np.uint8]:
    """The slots of pairs that are ordered by key; see `Judgments`."""
    slots = np.zeros(1 << max(SLOTS * len(queries), 1).bit_length(), np.uint8)
    own = _slots(queries, documents, width, len(slots))
    slots[own] = np.minimum(np.arange(len(queries)) - starts[queries] + 1, CROWDED)
    ordered = np.sort(own)
    slots[ordered[1:][ordered[1:] == ordered[:-1]]] = CROWDED
    return slots


def _slots(queries: Integers, documents: Integers, width: int, slots: int) -> Integers:
    """Which of the slots each pair has: the upper bits of the product of its key with `SPREAD`.

    ``slots`` is how many there are, a power of two. Both factors of the key are multiplied, in place: the key itself
    would be another array as large as the ranking.
    """
    spread = documents.astype(np.uint64)
    spread *= SPREAD
    spread += queries.astype(np.uint64) * np.uint64(width) * SPREAD
    spread >>= np.uint64(65 - slots.bit_length())
    return spread.view(np.int64)


def _ideal(queries: Integers, grades: Integers, relevant: Integers) -> Placed:
    """The relevant documents of each query, highest grade first."""
    order = np.lexsort((-grades, queries))
    ranks = np.arange(len(queries)) - np.repeat(relevant.cumsum() - relevant, relevant)
    return Placed.of(queries[order], ranks, grades[order], relevant)
