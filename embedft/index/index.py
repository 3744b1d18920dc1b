"""Index: documents on disk with their vectors, searched exactly, and bound to what made those vectors.

That is the document side of an encoder: one that was tuned for queries alone searches the indexes of its base, and its
base searches those that it built.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embedft.data import document_text
from embedft.encoder import BUNDLED, Encoder, Vectors
from embedft.errors import DataError, WrongModelError
from embedft.index.exact import exact_search
from embedft.index.store import Version, new_version, open_version

VECTORS, IDS, DOCUMENTS = "vectors.npy", "ids.arrow", "documents.parquet"


@dataclass(frozen=True)
class Hit:
    """One document found.

    Attributes:
        id, title, text: of the document.
        score: cosine of query and document, in [-1, 1].
        metadata: the document's other fields.
    """

    id: str
    score: float
    title: str
    text: str
    metadata: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Index:
    """An opened index. Make one with `Index.build`, open one with `Index.open`.

    Attributes:
        path: the directory.
        manifest: what it was built from: fingerprint (of the document side) and name of the model, prompts, dim,
            counts, files.
        encoder: the encoder that answers queries.
    """

    def __init__(
        self, path: Path, manifest: dict[str, Any], encoder: Encoder, vectors: Vectors, documents: pa.Table
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.encoder = encoder
        self._vectors = vectors
        self._documents = documents

    @classmethod
    def build(
        cls,
        documents: pa.Table,
        encoder: Encoder,
        path: str | Path,
        *,
        force: bool = False,
        show_progress: bool = False,
    ) -> Index:
        """Embed documents and write an index, atomically; gives the opened index.

        Args:
            documents: columns id, title, text, metadata (JSON text or null), as `embedft.data.read_corpus` gives.
            encoder: embeds the documents and, later, the queries.
            path: the directory to write.
            force: replace the index that is there; it stays readable until the new one is complete.
            show_progress: on standard error.

        Raises:
            DataError: no documents, or an id stands twice.
            ArtifactError: ``path`` is taken, or another process writes there.
            DiskFullError: the disk ran full; what was there is untouched.
        """
        path = Path(path)
        ids = documents["id"].to_pylist()
        if not ids:
            raise DataError("there are no documents to index.", hint="give at least one.")
        if len(set(ids)) < len(ids):
            raise DataError("a document id stands twice.", hint="give each document its own id.")
        with new_version(path, force=force) as (staged, manifest):
            pairs = zip(documents["title"].to_pylist(), documents["text"].to_pylist(), strict=True)
            vectors = encoder.encode_documents(
                [document_text(title, text) for title, text in pairs], show_progress=show_progress
            )
            manifest |= {
                "documents": len(ids),
                "dim": encoder.dim,
                "metric": "cosine",
                "factory": "Flat",
                "fingerprint": encoder.document_fingerprint,
                "model": _absolute(encoder.name),
                "prompts": encoder.prompts,
                "max_length": encoder.max_length,
                "truncate_dim": encoder.truncate_dim,
            }
            np.save(staged / VECTORS, vectors, allow_pickle=False)
            with (
                pa.OSFile(str(staged / IDS), "wb") as sink,
                pa.ipc.new_file(sink, pa.schema([("id", pa.string())])) as writer,
            ):
                writer.write_table(documents.select(["id"]))
            pq.write_table(documents, staged / DOCUMENTS)
        return cls.open(path, encoder)

    @classmethod
    def open(cls, path: str | Path, encoder: Encoder | str | None = None) -> Index:
        """Open an index after verifying the checksum of every file.

        Args:
            path: the directory.
            encoder: an encoder or the name of one, of the same documents; by default the model that built the index,
                from where it was then.

        Raises:
            ArtifactError: there is no index, or a file is missing or damaged.
            WrongModelError: ``encoder`` makes other vectors of documents than the one that built the index.
            ModelError: the model cannot be opened.
        """
        version, (vectors, documents) = open_version(Path(path), _read)
        manifest = version.manifest
        if isinstance(encoder, str):
            encoder = Encoder.load(encoder)
        elif encoder is None:
            encoder = Encoder.load(
                manifest["model"],
                prompts=manifest["prompts"],
                max_length=manifest["max_length"],
                truncate_dim=manifest["truncate_dim"],
            )
        if encoder.document_fingerprint != manifest["fingerprint"]:
            raise WrongModelError(
                f"{path}: was built with {manifest['model']} (fingerprint {manifest['fingerprint'][:12]}, "
                f"{manifest['dim']} dimensions), but {_absolute(encoder.name)} was given (fingerprint "
                f"{encoder.document_fingerprint[:12]}, {encoder.dim} dimensions): their vectors cannot be compared.",
                hint="search with the model that built the index, or build it again with this one.",
            )
        return cls(Path(path), manifest, encoder, vectors, documents)

    def __len__(self) -> int:
        return int(self._documents.num_rows)

    def search(self, texts: Sequence[str], k: int = 10) -> list[list[Hit]]:
        """The ``k`` best documents for each query, best first; fewer where the index holds fewer.

        Args:
            texts: queries; a single string is refused.
            k: at least 1.

        Raises:
            DataError: ``texts`` is a string, or ``k`` is below 1.
        """
        return self.search_vectors(self.encoder.encode_queries(texts), k)

    def search_vectors(self, vectors: Vectors, k: int = 10) -> list[list[Hit]]:
        """As `search`, for queries that are encoded already: (n, dim) float32 unit vectors."""
        scores, rows = exact_search(vectors, self._vectors, k)
        found = self._documents.take(pa.array(rows.ravel())).to_pylist()
        hits = iter(
            # Rounding may put a cosine a hair beyond 1.
            Hit(
                document["id"],
                float(np.clip(score, -1, 1)),
                document["title"],
                document["text"],
                json.loads(document["metadata"]) if document["metadata"] else {},
            )
            for document, score in zip(found, scores.ravel(), strict=True)
        )
        return [[next(hits) for _ in range(rows.shape[1])] for _ in range(rows.shape[0])]


def _read(version: Version) -> tuple[Vectors, pa.Table]:
    vectors: Vectors = np.load(version.path / VECTORS, mmap_mode="r", allow_pickle=False)
    return vectors, pq.read_table(version.path / DOCUMENTS, memory_map=True)


def _absolute(name: str) -> str:
    """A path that still names the model from another working directory; other names as they are."""
    return str(Path(name).absolute()) if name != BUNDLED and Path(name).exists() else name
