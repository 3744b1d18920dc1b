"""Giving an index to another model: all documents embedded again, or their vectors mapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.artifacts import disk_errors
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.index.exact import Floats, Rows
from embedft.index.held_out import TEXTS as QUERY_TEXTS
from embedft.index.held_out import queries_of, read_queries
from embedft.index.mapping import Retention, apply_map, fit_map, require_sample
from embedft.index.segment import VECTORS, write_vectors
from embedft.index.settings import Settings
from embedft.index.snapshot import Snapshot
from embedft.index.storage import building_folder, writing
from embedft.index.writing import Change, embed, publish_base, require_documents
from embedft.progress import progress

MAPPED_AT_ONCE = 65_536


def migrate(
    path: Path,
    encoder: Encoder,
    *,
    sample: int | None = None,
    say: Callable[[str], None],
    show_progress: bool = False,
) -> tuple[Change, Retention | None]:
    """Publish a version whose vectors are those of ``encoder``; a migration that was killed goes on where it stopped.

    Args:
        path: directory of the index.
        encoder: the new one.
        sample: None embeds every document again; a number fits a linear map on so many of them instead.
        say: is told what people should know.
        show_progress: on standard error.

    Raises:
        DataError: the index is of this model already, holds no document, or too few for a map.
        ConfigError: no kind of index meets the recall within the limits.
        ArtifactError: there is no index, it is damaged, or another process writes.
        DiskFullError: the disk ran full; the index is as it was.
    """
    with writing(path) as hold:
        snapshot = Snapshot.open(path)
        manifest = snapshot.manifest
        if manifest["fingerprint"] == encoder.document_fingerprint and ("mapped" not in manifest or sample):
            raise DataError(f"{path}: is an index of {encoder.name} already.", hint="name another --model.")
        documents = snapshot.live_documents()
        require_documents(documents)
        stored = snapshot.version.path
        queries = read_queries(stored) if (stored / QUERY_TEXTS).exists() else None
        retention: Retention | None = None
        further: dict[str, Any] | None = None
        if sample is None:
            file = embed(path, documents, encoder, show_progress=show_progress)
        else:
            asked = queries[0] if queries else queries_of(documents)
            file, retention = _mapped(path, snapshot, documents, encoder, sample, asked, show_progress=show_progress)
            further = {
                "mapped": {"from": manifest["model"], "fingerprint": manifest["fingerprint"], **retention.as_dict()}
            }
        publish_base(
            path, hold, documents, encoder, Settings.from_dict(manifest["settings"]), file,
            queries=queries, force=True, say=say, show_progress=show_progress, further=further,
        )  # fmt: skip
        if "fusion" in manifest:
            say("hybrid search fuses by ranks again: its weight was tuned for the old model ('embedft index fuse').")
        return Change(documents.num_rows), retention


def _mapped(
    path: Path,
    snapshot: Snapshot,
    documents: pa.Table,
    encoder: Encoder,
    sample: int,
    queries: Sequence[str],
    *,
    show_progress: bool,
) -> tuple[Path, Retention]:
    """The file of the mapped vectors, and what they keep."""
    sample = min(sample, documents.num_rows)
    require_sample(sample, snapshot.manifest["dim"])
    if not queries:
        raise DataError(
            "there are no queries to measure a map by: the documents have no text.", hint="migrate without --map."
        )
    drawn = np.random.default_rng(0).permutation(documents.num_rows)[:sample]
    live = _live_rows(snapshot)
    sampled = documents.take(pa.array(drawn))
    new: Floats = np.load(embed(path, sampled, encoder, show_progress=show_progress), mmap_mode="r", allow_pickle=False)
    matrix, retention = fit_map(snapshot.vectors(live[drawn]), new, encoder.encode_queries(queries))
    work = building_folder(path)
    # Beside the sample: a killed migration need not embed it again.
    file = work / f"mapped-{VECTORS}"
    with disk_errors(path), progress("mapping", len(live), "vectors", enabled=show_progress) as advance:

        def mapped() -> Iterator[Floats]:
            for start in range(0, len(live), MAPPED_AT_ONCE):
                rows = live[start : start + MAPPED_AT_ONCE]
                yield apply_map(snapshot.vectors(rows), matrix)
                advance(len(rows))

        write_vectors(file, (len(live), encoder.dim), mapped())
    return file, retention


def _live_rows(snapshot: Snapshot) -> Rows:
    """Rows of all documents that are alive, in the order of `Snapshot.live_documents`."""
    return np.arange(snapshot.rows) if snapshot.alive is None else np.flatnonzero(snapshot.alive)
