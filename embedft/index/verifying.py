"""Whether an index is what it says: its files, its counts, its canaries, its recall."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.encoder import Encoder
from embedft.errors import EmbedftError
from embedft.index.approximate import recall_of
from embedft.index.canaries import check_canaries
from embedft.index.exact import Floats
from embedft.index.identity import require_same
from embedft.index.snapshot import Snapshot
from embedft.index.storage import check_files

# Recall again, on queries that the index was tuned on or on its own documents: seconds for a million vectors.
SAMPLED = 200
# Vectors have length 1 but for rounding.
NORM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        problems: of files, counts, vectors or canaries; empty if the index is sound.
        documents: alive.
        canary: lowest cosine of a kept canary with what the encoder makes now; None where no encoder was given.
        recall: recall@k measured now against exact search, with the stated one; None where search is exact.
    """

    problems: list[str]
    documents: int = 0
    canary: float | None = None
    recall: dict[str, Any] | None = field(default=None)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"sound": not self.problems, **asdict(self)}


def verify(path: Path, load: Callable[[Mapping[str, Any]], Encoder] | None = None) -> Verified:
    """Check every file against its SHA-256, then counts, vectors, canaries and recall.

    Args:
        path: directory of the index.
        load: gives the encoder of the index, to compare canaries with, and is called with the manifest once all files
            were found whole; None leaves canaries out.

    Raises:
        WrongModelError: the encoder is not that of the index.
        ModelError: it cannot be opened.
        ArtifactError: there is no index.
    """
    problems = [f"{problem.file}: {problem.found}" for problem in check_files(path)]
    if problems:
        return Verified(problems)
    try:
        snapshot = Snapshot.open(path)
    except EmbedftError as error:
        return Verified([error.message])
    encoder = load(snapshot.manifest) if load is not None else None
    if encoder is not None:
        require_same(path, snapshot.manifest, encoder)
    if len(snapshot) != snapshot.manifest["documents"]:
        problems.append(
            f"the manifest counts {snapshot.manifest['documents']} documents, and {len(snapshot)} are alive."
        )
    problems += _repeated(snapshot)
    for segment in snapshot.segments:
        problems += _odd_vectors(segment.entry["folder"], segment.vectors)
    canary = None
    if encoder is not None:
        queries = encoder.fingerprint == snapshot.manifest["encoder_fingerprint"]
        try:
            canary = check_canaries(snapshot.version.path, snapshot.canaries, encoder, queries=queries)
        except EmbedftError as error:
            problems.append(error.message)
    return Verified(problems, len(snapshot), canary, _recall(snapshot))


def _repeated(snapshot: Snapshot) -> list[str]:
    alive = [
        segment.documents.ids.take(pa.array(snapshot.live_rows(number)))
        for number, segment in enumerate(snapshot.segments)
    ]
    ids = pa.chunked_array([chunk for part in alive for chunk in part.chunks], pa.large_string())
    count = len(ids) - len(ids.unique())
    return [f"{count} ids are alive more than once."] if count else []


def _odd_vectors(folder: str, vectors: Floats) -> list[str]:
    odd = 0
    for start in range(0, len(vectors), 65_536):
        norms = np.linalg.norm(vectors[start : start + 65_536], axis=1)
        # Not "> tolerance": a vector that is no number compares as False.
        odd += int((~(np.abs(norms - 1) <= NORM_TOLERANCE)).sum())
    return [f"{folder}: {odd} vectors are not of length 1."] if odd else []


def _recall(snapshot: Snapshot) -> dict[str, Any] | None:
    base = snapshot.segments[0]
    if base.tuning is None or base.tuning.chosen is None or snapshot.queries is None:
        return None
    queries = snapshot.queries[:SAMPLED]
    k = base.tuning.k
    scores, _ = base.search(queries, k)
    truth, _ = base.search(queries, k, exact=True)
    value = float(recall_of(scores, truth).mean())
    stated = base.tuning.chosen
    return {"at": k, "value": value, "queries": len(queries), "stated": stated.recall, "stated_ci_low": stated.ci_low}
