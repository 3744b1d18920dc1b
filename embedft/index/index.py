"""Index: documents on disk with their vectors, bound to what made those vectors.

That is the document side of an encoder: one that was tuned for queries alone searches the indexes of its base, and its
base searches those that it built.
"""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from embedft.encoder import Encoder, Vectors
from embedft.encoder.precision import Precision
from embedft.errors import DataError
from embedft.index import migrating, writing
from embedft.index.canaries import check_canaries
from embedft.index.documents import as_documents
from embedft.index.exact import Flags, Floats, Rows, require_k
from embedft.index.hits import Hit
from embedft.index.identity import load_encoder, require_same
from embedft.index.lexical import Words, min_max, mmr, rrf, weighted
from embedft.index.mapping import Retention
from embedft.index.segment import padded
from embedft.index.settings import Settings
from embedft.index.snapshot import Filters, Snapshot
from embedft.index.writing import Change

# Of each of the two rankings that hybrid search fuses, as in Cormack et al. 2009 (there 100 to 1000).
FUSED_DEPTH = 100
# Among so many times k are those chosen that differ from one another.
MMR_DEPTH = 4


class Index:
    """An opened index. Make one with `Index.build`, open one with `Index.open`.

    It may be used by many threads at once, also while one of them adds, deletes or compacts: a search sees one whole
    version. Changes that another process published are seen after `refresh`.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: Path, snapshot: Snapshot, encoder: Encoder | None, precision: Precision = "auto") -> None:
        self.path = path
        self._precision: Precision = precision
        # One attribute, so that a search never asks a version with the encoder of another one.
        self._now = snapshot, encoder
        self._changing = threading.Lock()

    @classmethod
    def build(
        cls,
        documents: pa.Table | Sequence[str] | Sequence[Mapping[str, Any]],
        encoder: Encoder,
        path: str | Path | None = None,
        *,
        queries: Sequence[str] | None = None,
        force: bool = False,
        show_progress: bool = False,
        **settings: Any,
    ) -> Self:
        """Embed documents and write an index; gives the opened index. A build that was killed goes on where it stopped.

        Args:
            documents: a table with the columns id, title, text, metadata, as `embedft.data.read_corpus` gives; or
                texts, whose ids are their numbers; or mappings with the keys text, and optionally id and title; further
                keys are metadata.
            encoder: embeds the documents and, later, the queries.
            path: the directory to write; without one, the index lives in a temporary directory as long as the object.
            queries: held-out queries that an approximate index is tuned on; by default parts of the documents.
            force: replace the index that is there; it stays readable until the new one is complete.
            show_progress: on standard error.
            settings: fields of `Settings`: ``kind``, ``recall``, ``k``, ``memory``, ``latency_ms``, ``lexical``,
                ``language``, ``seed``, ``keep``.

        Raises:
            DataError: no documents, an id is empty or stands twice, or too few queries.
            ConfigError: a setting is wrong, or no kind of index meets the recall within the limits.
            ArtifactError: ``path`` is taken, or another process writes there.
            DiskFullError: the disk ran full; what was there is untouched.
        """
        scratch = tempfile.mkdtemp(prefix="embedft-index-") if path is None else None
        path = Path(path if path is not None else scratch or "")
        try:
            writing.build(
                path, as_documents(documents), encoder, Settings.of(settings),
                queries=queries, force=force, show_progress=show_progress,
            )  # fmt: skip
            built = cls(path, Snapshot.open(path), encoder)
        except BaseException:
            _remove(scratch)
            raise
        if scratch is not None:
            weakref.finalize(built, _remove, scratch)
        return built

    @classmethod
    def open(cls, path: str | Path, encoder: Encoder | str | None = None, *, precision: Precision = "auto") -> Self:
        """Open the current version after verifying the checksum of every file.

        Args:
            path: the directory.
            encoder: an encoder of the same documents, or the name of its model, which is loaded with the prompts, the
                length and the dimensions of the index; by default the model that built the index, from where it was
                then, which is loaded when the first text is searched for.
            precision: of an encoder that is loaded here.

        Raises:
            ArtifactError: there is no index, or a file is missing or damaged.
            WrongModelError: ``encoder`` makes other vectors of documents than the one that built the index.
            ModelError: the model cannot be opened.
        """
        path = Path(path)
        snapshot = Snapshot.open(path)
        if encoder is not None:
            if isinstance(encoder, str):
                encoder = load_encoder(snapshot.manifest, precision, encoder)
            _require(path, snapshot, encoder)
        return cls(path, snapshot, encoder, precision)

    @property
    def manifest(self) -> dict[str, Any]:
        """What the version says of itself: model, fingerprint, prompts, dim, documents, segments, settings, files."""
        return self._now[0].manifest

    @property
    def encoder(self) -> Encoder:
        """The encoder that answers queries.

        Raises:
            ModelError: the model that built the index is not where it was.
            WrongModelError: another one is there now.
        """
        return self._loaded()[1]

    def _loaded(self) -> tuple[Snapshot, Encoder]:
        """The version that is open, and the encoder of its queries, which is loaded first where it is not yet."""
        snapshot, encoder = self._now
        if encoder is None:
            with self._changing:
                snapshot, encoder = self._now
                if encoder is None:
                    encoder = load_encoder(snapshot.manifest, self._precision)
                    _require(self.path, snapshot, encoder)
                    self._now = snapshot, encoder
        return snapshot, encoder

    @property
    def words(self) -> Words | None:
        """How the index compares words; None where it keeps none."""
        lexical = self._now[0].segments[0].lexical
        return None if lexical is None else lexical.words

    def __len__(self) -> int:
        return len(self._now[0])

    def refresh(self) -> bool:
        """Open the version that is current now; whether that is another one.

        Raises:
            ArtifactError: it is damaged; the version that was open stays.
            WrongModelError: the index was given to another model since.
        """
        # One after the other: of two threads, the slower must not put an older version in place of a newer one.
        with self._changing:
            snapshot, encoder = self._now
            if snapshot.version.is_current(self.path):
                return False
            snapshot = Snapshot.open(self.path)
            if encoder is not None:
                require_same(self.path, snapshot.manifest, encoder)
            self._now = snapshot, encoder
            return True

    def search(
        self,
        texts: Sequence[str],
        k: int = 10,
        *,
        filter: Filters = None,  # noqa: A002  # the word that every vector store uses for it
        hybrid: bool = False,
        mmr_trade_off: float | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """The ``k`` best documents for each query, best first; fewer where fewer are allowed.

        Args:
            texts: queries; a single string is refused.
            k: a whole number, at least 1.
            filter: of metadata, id or title: ``"lang=en"``, ``["lang=en", "year>=2020"]`` (all must hold), or
                ``{"lang": "en", "year": (">=", 2020)}``.
            hybrid: rank by vectors and by BM25, and fuse both rankings. ``score`` stays the cosine.
            mmr_trade_off: choose hits that differ from one another, by maximal marginal relevance: 1 is relevance
                alone, 0 difference alone. Relevance is the cosine; of hybrid search, the fused score.
            exact: search every vector, whatever the kind of index.

        Raises:
            DataError: ``texts`` is a string, ``k`` is below 1, or a filter is wrong; hybrid, without BM25 in the index.
        """
        snapshot, encoder = self._loaded()
        vectors = encoder.encode_queries(texts)
        return self._found(snapshot, vectors, texts if hybrid else None, k, filter, mmr_trade_off, exact)

    def search_vectors(
        self,
        vectors: Vectors,
        k: int = 10,
        *,
        filter: Filters = None,  # noqa: A002  # as in search
        mmr_trade_off: float | None = None,
        exact: bool = False,
    ) -> list[list[Hit]]:
        """As `search`, for queries that are encoded already: (n, dim) float32 unit vectors."""
        return self._found(self._now[0], np.asarray(vectors, np.float32), None, k, filter, mmr_trade_off, exact)

    def rank(
        self,
        texts: Sequence[str],
        k: int,
        *,
        hybrid: bool = False,
        exact: bool = False,
        vectors: Vectors | None = None,
    ) -> tuple[Floats, list[list[str]]]:
        """What `search` finds, as scores (queries, k) and ids, without reading the documents.

        Scores are cosines, or those of the fusion; where there are fewer hits, the rest is -inf and "".

        Args:
            texts: queries.
            k: a whole number, at least 1.
            hybrid: as for `search`.
            exact: as for `search`.
            vectors: of the texts, (queries, dim), where they are encoded already.

        Raises:
            DataError: as for `search`, or there are not as many vectors as texts.
        """
        if vectors is None:
            snapshot, encoder = self._loaded()
            vectors = encoder.encode_queries(texts)
        else:
            snapshot, _ = self._now
            vectors = np.asarray(vectors, np.float32)
        if len(vectors) != len(texts):
            raise DataError(f"{len(vectors)} vectors for {len(texts)} texts.", hint="give one for each.")
        found = self._ranked(snapshot, vectors, texts if hybrid else None, k, snapshot.alive, exact=exact)
        return (found.scores if found.fused is None else found.fused), snapshot.ids(found.rows)

    def _ranked(
        self,
        snapshot: Snapshot,
        vectors: Vectors,
        texts: Sequence[str] | None,
        k: int,
        allowed: Flags | None,
        *,
        exact: bool,
    ) -> _Ranked:
        k = require_k(k)
        if texts is None:
            return _Ranked(*snapshot.search(vectors, k, allowed, exact=exact))
        depth = max(FUSED_DEPTH, k)
        dense = snapshot.search(vectors, depth, allowed, exact=exact)
        words = snapshot.search_words(texts, depth, allowed)
        fused, rows = padded(*_fuse(dense, words, snapshot.manifest.get("fusion")), k)
        return _Ranked(_cosines(snapshot, vectors, rows), rows, fused, words)

    def _found(
        self,
        snapshot: Snapshot,
        vectors: Vectors,
        texts: Sequence[str] | None,
        k: int,
        filters: Filters,
        trade_off: float | None,
        exact: bool,
    ) -> list[list[Hit]]:
        k = require_k(k)
        if trade_off is not None and not 0 <= trade_off <= 1:
            raise DataError(f"the trade-off of mmr is {trade_off}.", hint="use 0 to 1.")
        # No more places than there are documents, whatever k is.
        wanted = min(k if trade_off is None else MMR_DEPTH * k, snapshot.rows)
        found = self._ranked(snapshot, vectors, texts, wanted, snapshot.allowed(filters), exact=exact)
        answers = []
        for number, rows in enumerate(found.rows):
            places = np.flatnonzero(rows >= 0)
            if trade_off is not None and len(places):
                candidates = snapshot.vectors(rows[places])
                places = places[mmr(candidates, found.relevance(number, places), k, trade_off)]
            answers.append(found.hits(snapshot, number, places[:k]))
        return answers

    def add(
        self,
        documents: pa.Table | Sequence[str] | Sequence[Mapping[str, Any]],
        *,
        show_progress: bool = False,
    ) -> Change:
        """Add documents; those whose id is there already are replaced. See `build` for what they may be.

        Raises:
            DataError: no documents, an id is empty or stands twice among them, or texts come without ids.
            ArtifactError: another process writes, or the index is damaged.
            DiskFullError: the disk ran full; the index is as it was.
        """
        table = as_documents(documents, ids=False)
        return self._after(writing.add(self.path, table, self.encoder, show_progress=show_progress))

    def delete(self, ids: Iterable[str]) -> Change:
        """Delete documents by id; ids that are not there are named in the answer.

        Raises:
            DataError: ``ids`` is a string or empty, or holds something else than strings.
            ArtifactError: another process writes, or the index is damaged.
            WrongModelError: the index was given to another model since; nothing is deleted.
            DiskFullError: the disk ran full; the index is as it was.
        """
        self.refresh()
        return self._after(writing.delete(self.path, ids))

    def compact(self, *, show_progress: bool = False) -> Change:
        """Make one segment of all documents that are alive, and tune it again; see `embedft.index.writing.compact`.

        Raises:
            DataError: no document is alive, or they give too few queries for the kind of index.
            ConfigError: no kind of index meets the recall within the limits any more.
            ArtifactError: another process writes, or the index is damaged.
            DiskFullError: the disk ran full; the index is as it was.
        """
        return self._after(writing.compact(self.path, self.encoder, show_progress=show_progress))

    def migrate(
        self, encoder: Encoder, *, sample: int | None = None, show_progress: bool = False
    ) -> tuple[Change, Retention | None]:
        """Give the index to another encoder, see `embedft.index.migrating.migrate`."""
        answer = migrating.migrate(self.path, encoder, sample=sample, show_progress=show_progress)
        with self._changing:
            snapshot = Snapshot.open(self.path)
            require_same(self.path, snapshot.manifest, encoder)
            self._now = snapshot, encoder
        return answer

    def _after(self, change: Change) -> Change:
        self.refresh()
        return change


def _require(path: Path, snapshot: Snapshot, encoder: Encoder) -> None:
    require_same(path, snapshot.manifest, encoder)
    queries = encoder.fingerprint == snapshot.manifest["encoder_fingerprint"]
    check_canaries(snapshot.version.path, snapshot.canaries, encoder, queries=queries)


@dataclass(frozen=True)
class _Ranked:
    """Rows of each query in order, with their cosines; of hybrid search also what they are ordered by, and BM25's."""

    scores: Floats
    rows: Rows
    fused: Floats | None = None
    words: tuple[Floats, Rows] | None = None

    def relevance(self, number: int, places: Rows) -> Floats:
        """What the hits of one query at ``places`` of its ranking are worth, beside the cosines between them.

        Fused scores are some hundredths, or in no proportion to cosines: they are stretched to [0, 1].
        """
        if self.fused is None:
            cosines: Floats = self.scores[number][places]
            return cosines
        stretched = min_max(self.fused[number : number + 1, places], self.rows[number : number + 1, places])
        worth: Floats = stretched[0].astype(np.float32)
        return worth

    def hits(self, snapshot: Snapshot, number: int, places: Rows) -> list[Hit]:
        """The hits of one query at ``places`` of its ranking, in their order."""
        rows = self.rows[number][places]
        bm25: dict[int, float] = {}
        if self.words is not None:
            bm25 = dict(zip(self.words[1][number].tolist(), self.words[0][number].tolist(), strict=True))
        return [
            Hit(
                document["id"],
                # Rounding may put a cosine a hair beyond 1.
                float(np.clip(self.scores[number][place], -1, 1)),
                document["title"],
                document["text"],
                document["metadata"],
                bm25=bm25.get(int(row)),
                fused=None if self.fused is None else float(self.fused[number][place]),
            )
            for document, row, place in zip(snapshot.documents(rows), rows, places, strict=True)
        ]


def _fuse(
    dense: tuple[Floats, Rows], words: tuple[Floats, Rows], fusion: Mapping[str, Any] | None
) -> tuple[Floats, Rows]:
    if fusion is None:
        return rrf([dense[1], words[1]])
    return weighted([dense, words], [fusion["weight"], 1 - fusion["weight"]])


def _cosines(snapshot: Snapshot, vectors: Floats, rows: Rows) -> Floats:
    """Cosines of rows that a ranking by words may have found, (queries, k); -inf where there is none."""
    cosines = np.full(rows.shape, -np.inf, np.float32)
    for number, vector in enumerate(vectors):
        there = rows[number] >= 0
        cosines[number][there] = snapshot.vectors(rows[number][there]) @ vector
    return cosines


def _remove(folder: str | None) -> None:
    import shutil

    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
