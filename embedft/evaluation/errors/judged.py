"""Rankings beside the judgments: documents by their place in the corpus, their grades, the ranks of the relevant.

Rankings of two models and of files know documents by lists of their own; here all are positions in one `Collection`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from embedft.data import RetrievalData
from embedft.data.retrieval import document_text
from embedft.errors import DataError
from embedft.evaluation.judgments import NO_DOCUMENT
from embedft.evaluation.ranking import Ranking
from embedft.evaluation.retrieval import RetrievalEvaluation
from embedft.evaluation.texts import shown
from embedft.index.lexical.words import surfaces

Rows = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
NOT_FOUND = 0
UNREAD = -1.0


class Collection:
    """The documents of a corpus by position, and after them those that only rankings or qrels name."""

    def __init__(self, data: RetrievalData, others: Iterable[str]) -> None:
        self._corpus = data.corpus
        self.ids: list[str] = data.corpus["id"].to_pylist()
        self.known = len(self.ids)
        self.row_of = {name: row for row, name in enumerate(self.ids)}
        for name in others:
            if name not in self.row_of:
                self.row_of[name] = len(self.ids)
                self.ids.append(name)
        self._lengths = np.full(len(self.ids), UNREAD)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, names: Sequence[str]) -> Rows:
        """The position of each document, (n,)."""
        return np.fromiter((self.row_of[name] for name in names), np.int64, len(names))

    def texts(self, rows: Rows) -> list[str]:
        """What an encoder sees of each document; "" for one that is not in the corpus."""
        return [document_text(title, text) for title, text in self._columns(rows)]

    def lengths(self, rows: Rows) -> npt.NDArray[np.float64]:
        """The number of words of each document, (n,), each text read once; NaN for one without."""
        asked = np.unique(rows)
        missing = asked[self._lengths[asked] == UNREAD]
        counts = np.array([len(surfaces(text)) for text in self.texts(missing)], np.float64)
        self._lengths[missing] = np.where(counts > 0, counts, np.nan)
        return np.asarray(self._lengths[rows])

    def metadata(self, rows: Rows) -> list[str | None]:
        """The metadata of each document as JSON text."""
        return self._taken("metadata", rows)

    def describe(self, row: int) -> dict[str, str]:
        """Id, title and text of a document, as a report shows them."""
        title, text = self._columns(np.array([row]))[0]
        return {"id": self.ids[row], "title": shown(title), "text": shown(text)}

    def _columns(self, rows: Rows) -> list[tuple[str, str]]:
        titles, texts = self._taken("title", rows), self._taken("text", rows)
        return [(title or "", text or "") for title, text in zip(titles, texts, strict=True)]

    def _taken(self, name: str, rows: Rows) -> list[str | None]:
        inside = rows < self.known
        found = iter(self._corpus[name].take(rows[inside]).to_pylist())
        return [next(found) if there else None for there in inside.tolist()]


@dataclass(frozen=True)
class Grading:
    """The judgments of some queries, in the order of query and document.

    Attributes:
        queries, documents: (m,), positions.
        grades: (m,); above 0 is relevant.
        width: more than any document's position.
        count: of queries.
    """

    queries: Rows
    documents: Rows
    grades: Rows
    width: int
    count: int

    def along(self, rows: Rows) -> tuple[Rows, Bools]:
        """Grade of each document of a ranking, 0 where there is none, and whether it was judged; (queries, depth)."""
        wanted = np.arange(len(rows))[:, None] * self.width + rows
        keys = self.queries * self.width + self.documents
        if not len(keys):
            return np.zeros_like(rows), np.zeros(rows.shape, np.bool_)
        place = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        judged = (keys[place] == wanted) & (rows != NO_DOCUMENT)
        return np.where(judged, self.grades[place], 0), judged

    @cached_property
    def relevant(self) -> Grading:
        """Those above 0 alone."""
        kept = self.grades > 0
        return Grading(self.queries[kept], self.documents[kept], self.grades[kept], self.width, self.count)

    @cached_property
    def starts(self) -> Rows:
        """Where the judgments of each query begin, and the last ones end, (count + 1,)."""
        return np.searchsorted(self.queries, np.arange(self.count + 1)).astype(np.int64)

    def of(self, query: int) -> slice:
        """The judgments of one query."""
        return slice(int(self.starts[query]), int(self.starts[query + 1]))

    def mean(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The mean over the judgments of each query, (count,); NaN are left out, and stand where nothing is left."""
        there = ~np.isnan(values)
        found = np.bincount(self.queries[there], minlength=self.count)
        sums = np.bincount(self.queries[there], weights=values[there], minlength=self.count)
        return np.asarray(np.divide(sums, found, out=np.full(self.count, np.nan), where=found > 0), np.float64)


@dataclass(frozen=True)
class Ranked:
    """One model's ranking beside the judgments.

    Attributes:
        rows: (queries, depth), positions in the collection; -1 where a query has fewer documents.
        scores: (queries, depth).
        grades: (queries, depth), 0 where not judged.
        judged: (queries, depth).
        ranks: (m,), of the relevant documents in the order of the judgments, from 1; 0 if it is not in the ranking.
    """

    rows: Rows
    scores: npt.NDArray[np.float64]
    grades: Rows
    judged: Bools
    ranks: Rows

    @cached_property
    def filled(self) -> Bools:
        """Where there is a document."""
        return np.asarray(self.rows != NO_DOCUMENT)

    @cached_property
    def first_relevant(self) -> Rows:
        """The rank of the first relevant document of each query, from 1; 0 if none is in the ranking."""
        hits = self.grades > 0
        if hits.shape[1] == 0:
            return np.zeros(len(hits), np.int64)
        return np.where(hits.any(1), hits.argmax(1) + 1, NOT_FOUND)


@dataclass(frozen=True)
class Case:
    """All that the analyses of retrieval ask: the documents, the judgments, one model's ranking, and another's.

    Attributes:
        query_ids, queries: of the judged queries, in the order of the rankings.
        query_metadata: JSON text or None.
        documents: of the corpus and beyond.
        judgments: of these queries.
        own, other: rankings.
    """

    query_ids: list[str]
    queries: list[str]
    query_metadata: list[str | None]
    documents: Collection
    judgments: Grading
    own: Ranked
    other: Ranked | None

    @classmethod
    def of(cls, evaluation: RetrievalEvaluation, against: RetrievalEvaluation | None, data: RetrievalData) -> Case:
        """The case of one or two evaluations on their split of ``data``.

        Raises:
            DataError: the two ranked other queries, or ``data`` lacks the split, a query, or its relevant documents.
        """
        if against is not None and against.query_ids != evaluation.query_ids:
            raise DataError(
                f"{evaluation.model} and {against.model} ranked different queries.",
                hint="evaluate both on the same data and split.",
            )
        query_row = {name: row for row, name in enumerate(data.queries["id"].to_pylist())}
        foreign = [name for name in evaluation.query_ids if name not in query_row]
        if foreign:
            raise DataError(
                f"{data.path}: has no query {foreign[0]!r}, which {evaluation.model} was judged by.",
                hint="name the data that the evaluation was made on.",
            )
        taken = data.queries.take([query_row[name] for name in evaluation.query_ids])
        both = [evaluation, *([against] if against is not None else [])]
        qrels = data.split(evaluation.split)
        named = [qrels["corpus_id"].to_pylist(), *(one.ranking.document_ids for one in both)]
        documents = Collection(data, (name for names in named for name in names))
        judgments = _grading(evaluation.query_ids, documents, qrels.to_pydict())
        lonely = np.flatnonzero(np.diff(judgments.relevant.starts) == 0)
        if len(lonely):
            raise DataError(
                f"{data.path}: query {evaluation.query_ids[lonely[0]]!r} has no relevant document in split "
                f"{evaluation.split!r}, by which {evaluation.model} was judged.",
                hint="name the data that the evaluation was made on.",
            )
        ranked = [_ranked(one.ranking, documents, judgments) for one in both]
        return cls(
            evaluation.query_ids, taken["text"].to_pylist(), taken["metadata"].to_pylist(),
            documents, judgments, ranked[0], ranked[1] if against is not None else None,
        )  # fmt: skip


def _grading(query_ids: list[str], documents: Collection, qrels: dict[str, list[str]]) -> Grading:
    query_row = {name: row for row, name in enumerate(query_ids)}
    queries = np.array([query_row.get(name, -1) for name in qrels["query_id"]], np.int64)
    kept = queries >= 0
    queries, rows = queries[kept], documents.rows(qrels["corpus_id"])[kept]
    grades = np.array(qrels["grade"], np.int64)[kept]
    order = np.lexsort((rows, queries))
    return Grading(queries[order], rows[order], grades[order], len(documents) + 1, len(query_ids))


def _ranked(ranking: Ranking, documents: Collection, judgments: Grading) -> Ranked:
    place_of = np.append(documents.rows(ranking.document_ids), NO_DOCUMENT)
    rows = place_of[ranking.rows]
    grades, judged = judgments.along(rows)
    wanted = judgments.relevant
    ranks = ranks_of(rows, wanted.queries, wanted.documents, judgments.width)
    return Ranked(rows, np.asarray(ranking.scores, np.float64), grades, judged, ranks)


def ranks_of(rows: Rows, queries: Rows, documents: Rows, width: int) -> Rows:
    """The rank of each document (m,) for its query (m,) in ``rows`` (queries, depth), from 1; 0 if it is not there."""
    there = rows != NO_DOCUMENT
    keys = (np.arange(len(rows))[:, None] * width + rows)[there]
    if not len(keys):
        return np.full(len(queries), NOT_FOUND, np.int64)
    ranks = np.broadcast_to(np.arange(1, rows.shape[1] + 1), rows.shape)[there]
    order = np.argsort(keys, kind="stable")
    asked = queries * width + documents
    place = np.searchsorted(keys[order], asked).clip(max=len(keys) - 1)
    return np.where(keys[order][place] == asked, ranks[order][place], NOT_FOUND)
