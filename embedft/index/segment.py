"""A segment: documents with their vectors, searched exactly or through an approximate index, and by their words.

The base of an index is one; what was added since stands in further ones, which are small and searched exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from embedft.errors import ArtifactError
from embedft.index.approximate import FLAT, Stage, Tuning, approximate_search, faiss_threads
from embedft.index.exact import Flags, Floats, Rows, exact_search, useful_threads
from embedft.index.lexical import Lexical
from embedft.index.storage import Documents
from embedft.index.storage.verify import VECTORS

STAGE, WORDS = "index.faiss", "bm25"
# Vectors of a large index are not hashed when it is opened; a flipped bit in an exponent shows here.
HIGHEST = 1.001


@dataclass(frozen=True)
class Segment:
    """One segment of an opened version.

    Attributes:
        entry: what the manifest says of it: folder, documents, kind, factory, tuning.
        documents: id, title, text, metadata of each row.
        vectors: (n, dim) float32 unit vectors, memory-mapped.
        stage: proposes candidates; None where search is exact.
        tuning: what the stage was found to recall, and the point it is searched at.
        lexical: BM25 of the texts, where it is kept.
    """

    entry: Mapping[str, Any]
    documents: Documents
    vectors: Floats
    stage: Stage | None
    tuning: Tuning | None
    lexical: Lexical | None

    @classmethod
    def open(cls, version: Path, entry: Mapping[str, Any], dim: int) -> Segment:
        """The segment in ``version / entry["folder"]``, whose checksums have been verified.

        Raises:
            ArtifactError: its files do not fit one another, or the manifest.
        """
        folder = version / entry["folder"]
        documents = Documents.open(folder)
        vectors = open_vectors(folder / VECTORS)
        if vectors.shape != (len(documents), dim) or vectors.dtype != np.float32 or len(vectors) != entry["documents"]:
            raise ArtifactError(
                f"{folder / VECTORS}: holds vectors {vectors.shape} {vectors.dtype} beside {len(documents)} documents, "
                f"where the manifest says {entry['documents']} of {dim} dimensions.",
                hint="build the index again, or restore it from a copy.",
            )
        kind = entry["kind"]
        stage = None if kind == FLAT else Stage.open(kind, folder / STAGE, size=len(vectors), dim=dim)
        tuning = Tuning.from_dict(entry["tuning"]) if entry.get("tuning") else None
        lexical = Lexical.open(folder / WORDS) if (folder / WORDS).is_dir() else None
        return cls(entry, documents, vectors, stage, tuning, lexical)

    def __len__(self) -> int:
        return len(self.documents)

    def search(
        self, queries: Floats, k: int, allowed: Flags | None = None, *, exact: bool = False
    ) -> tuple[Floats, Rows]:
        """Exact cosines and rows of the nearest allowed documents, (queries, k); -inf and -1 where there are fewer.

        Args:
            queries: (queries, dim) float32 unit vectors.
            k: at least 1.
            allowed: (n,), which rows may be hits; None for all.
            exact: leave the approximate index out.

        Raises:
            ArtifactError: the vectors are damaged.
        """
        if self.stage is None or self.tuning is None or self.tuning.chosen is None or exact:
            with faiss_threads(useful_threads(len(queries), len(self.vectors))):
                found = exact_search(queries, self.vectors, k, allowed)
        else:
            point = self.tuning.chosen.point
            found = approximate_search(self.stage, self.vectors, queries, k, point, allowed)
        scores, rows = padded(*found, k)
        if (scores > HIGHEST).any() or np.isnan(scores).any():
            raise ArtifactError(
                f"{self.entry['folder']}/{VECTORS}: gives a cosine above 1 or none at all: it is damaged.",
                hint="run 'embedft index verify', then roll back, or restore the file from a copy.",
            )
        return scores, rows

    def texts(self) -> list[str]:
        """What is encoded and compared by words: title and text of each document."""
        return texts_of(self.documents.table())


def texts_of(documents: Any) -> list[str]:
    """Title and text of each row of a table as the encoder reads them."""
    from embedft.data import document_text

    titles: Sequence[str] = documents["title"].to_pylist()
    return [document_text(title, text) for title, text in zip(titles, documents["text"].to_pylist(), strict=True)]


def open_vectors(file: Path) -> Floats:
    """The vectors in a ``.npy`` file, memory-mapped.

    Raises:
        ArtifactError: it cannot be read: of a large index it is not hashed when it is opened.
    """
    try:
        vectors = np.load(file, mmap_mode="r", allow_pickle=False)
        # One bit of the header says how long it is; another length would shift every number.
        if vectors.offset + vectors.nbytes != file.stat().st_size:
            raise ValueError(f"its {vectors.nbytes} bytes of vectors begin at {vectors.offset}")
    # numpy reads the header as Python.
    except (ValueError, EOFError, SyntaxError, TokenError, TypeError, KeyError, OverflowError) as error:
        raise ArtifactError(
            f"{file}: is damaged: {str(error)[:120]}.", hint="build the index again, or restore it from a copy."
        ) from error
    unit: Floats = vectors
    return unit


def write_vectors(file: Path, shape: tuple[int, int], blocks: Iterable[Floats]) -> None:
    """Write blocks of float32 rows as a ``.npy`` file of ``shape``.

    Not through a memory map: where the disk is full, writing to one kills the process.
    """
    # What an interrupted run left may be a link to the file of a published version.
    file.unlink(missing_ok=True)
    with file.open("wb") as sink:
        np.lib.format.write_array_header_1_0(sink, {"descr": "<f4", "fortran_order": False, "shape": shape})
        for block in blocks:
            sink.write(np.ascontiguousarray(block, dtype="<f4").data)


def padded(scores: Floats, rows: Rows, k: int) -> tuple[Floats, Rows]:
    """Both with ``k`` columns: cut, or filled with -inf and -1."""
    missing = ((0, 0), (0, max(0, k - scores.shape[1])))
    return (
        np.pad(scores, missing, constant_values=-np.inf)[:, :k],
        np.pad(rows, missing, constant_values=-1)[:, :k],
    )
