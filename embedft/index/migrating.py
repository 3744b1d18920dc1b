"""Giving an index to another model: all documents embedded again, or their vectors mapped."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.artifacts import disk_errors
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.index.base import check_settings
from embedft.index.exact import COPIED_AT_ONCE, Floats
from embedft.index.held_out import queries_of
from embedft.index.mapping import Retention, apply_map, fit_map, require_sample
from embedft.index.segment import write_vectors
from embedft.index.settings import Settings
from embedft.index.snapshot import Snapshot
from embedft.index.storage import building_folder, writing
from embedft.index.storage.verify import VECTORS
from embedft.index.writing import Change, embed, kept_queries, publish_base, queries_for, require_documents
from embedft.progress import progress

logger = logging.getLogger("embedft")


def migrate(
    path: Path,
    encoder: Encoder,
    *,
    sample: int | None = None,
    show_progress: bool = False,
) -> tuple[Change, Retention | None]:
    """Publish a version whose vectors are those of ``encoder``; a migration that was killed goes on where it stopped.

    Args:
        path: directory of the index.
        encoder: the new one.
        sample: None embeds every document again; a number fits a linear map on so many of them instead.
        show_progress: on standard error.

    Raises:
        DataError: the index is of this model already, holds no document, too few for a map, or too few for queries.
        ConfigError: no kind of index meets the recall within the limits.
        ArtifactError: there is no index, it is damaged, or another process writes.
        DiskFullError: the disk ran full; the index is as it was.
    """
    with writing(path) as hold:
        snapshot = Snapshot.open(path)
        manifest = snapshot.manifest
        if manifest["fingerprint"] == encoder.document_fingerprint and ("mapped" not in manifest or sample):
            mapped = ", or leave out --map: then every document is embedded" if "mapped" in manifest else ""
            raise DataError(f"{path}: is an index of {encoder.name} already.", hint=f"name another --model{mapped}.")
        documents = snapshot.live_documents()
        require_documents(documents)
        settings = Settings.from_dict(manifest["settings"])
        queries = queries_for(documents, encoder.dim, settings, kept_queries(snapshot))
        count = len(queries[0]) if queries else 0
        check_settings(documents.num_rows, encoder.dim, settings, queries=count, given=False)
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
            path, hold, documents, encoder, settings, file,
            queries=queries, in_place=True, show_progress=show_progress, further=further,
        )  # fmt: skip
        if "fusion" in manifest:
            logger.warning(
                "hybrid search fuses by ranks again: its weight was tuned for the old model ('embedft index fuse')."
            )
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
    live = snapshot.live_rows()
    sampled = documents.take(pa.array(drawn))
    new: Floats = np.load(embed(path, sampled, encoder, show_progress=show_progress), mmap_mode="r", allow_pickle=False)
    matrix, retention = fit_map(snapshot.vectors(live[drawn]), new, encoder.encode_queries(queries))
    work = building_folder(path)
    # Beside the sample: a killed migration need not embed it again.
    file = work / f"mapped-{VECTORS}"
    with disk_errors(path), progress("mapping", len(live), "vectors", enabled=show_progress) as advance:

        def mapped() -> Iterator[Floats]:
            for start in range(0, len(live), COPIED_AT_ONCE):
                rows = live[start : start + COPIED_AT_ONCE]
                yield apply_map(snapshot.vectors(rows), matrix)
                advance(len(rows))

        write_vectors(file, (len(live), encoder.dim), mapped())
    return file, retention
