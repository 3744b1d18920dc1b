"""Building an index and changing it: each call publishes one new version, or nothing.

Readers are never waited for and never disturbed: what they opened stays as it is. One writer at a time has the lock.
Long work, which is the embedding, happens before anything is published, in a folder that a killed build goes on from.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.artifacts import disk_errors, write_json
from embedft.encoder import Encoder, Vectors
from embedft.errors import DataError
from embedft.index.base import check_settings, needs_queries, queries_needed, write_base
from embedft.index.canaries import FILE as CANARIES
from embedft.index.canaries import write_canaries
from embedft.index.held_out import COUNT, queries_of, read_queries, write_queries
from embedft.index.held_out import TEXTS as QUERY_TEXTS
from embedft.index.identity import described, require_same
from embedft.index.segment import FLAT, VECTORS, texts_of, write_vectors
from embedft.index.settings import Settings
from embedft.index.snapshot import Snapshot, write_deleted
from embedft.index.storage import Documents, Hold, Staged, building_folder, new_version, require_writable, writing

QUERIES = "queries.npy"
PLAN = "plan.json"
# A further segment takes in those before it that are not more than twice as large: so n additions make at most about
# log2(n) segments, and each document is rewritten as often.
MERGED = 2
COPIED_AT_ONCE = 65_536
# What else a manifest may hold that compacting does not change: see `migrating` and `fusing`.
KEPT = ("mapped", "fusion")


@dataclass(frozen=True)
class Change:
    """What a change of an index came to.

    Attributes:
        documents: alive in the new version.
        added: new ids.
        replaced: ids that were there before.
        deleted: ids that are gone.
        missing: ids that were to be deleted and are not there.
    """

    documents: int
    added: int = 0
    replaced: int = 0
    deleted: int = 0
    missing: tuple[str, ...] = ()


def build(
    path: Path,
    documents: pa.Table,
    encoder: Encoder,
    settings: Settings,
    *,
    queries: Sequence[str] | None = None,
    force: bool = False,
    say: Callable[[str], None],
    show_progress: bool = False,
) -> None:
    """Embed documents and publish an index of them; a build that was killed goes on where it stopped.

    Args:
        path: directory of the index.
        documents: id, title, text, metadata.
        encoder: of the documents.
        settings: of the index.
        queries: held-out queries that it is tuned on; by default parts of the documents.
        force: replace the index that is there.
        say: is told what people should know.
        show_progress: on standard error.

    Raises:
        DataError: no documents, an id stands twice, or too few queries.
        ConfigError: no kind of index meets the recall within the limits.
        ArtifactError: ``path`` is taken, or another process writes there.
        DiskFullError: the disk ran full; what was there is untouched.
    """
    require_documents(documents)
    require_writable(path, force=force)
    check_settings(documents.num_rows, encoder.dim, settings, queries=len(queries) if queries else None)
    with writing(path) as hold:
        publish_base(
            path, hold, documents, encoder, settings, embed(path, documents, encoder, show_progress=show_progress),
            queries=(queries, True) if queries else None, force=force, say=say, show_progress=show_progress,
        )  # fmt: skip


def require_documents(documents: pa.Table) -> None:
    """Raise DataError if there is no document, or one has no id, or an id stands twice."""
    ids = documents["id"].to_pylist()
    if not ids:
        raise DataError("there are no documents to index.", hint="give at least one.")
    if None in ids:
        raise DataError(f"document {ids.index(None)} has no id.", hint="give each document its own id.")
    if len(set(ids)) < len(ids):
        twice = next(name for place, name in enumerate(sorted(ids)[1:]) if name == sorted(ids)[place])
        raise DataError(f"the document id {twice!r} stands twice.", hint="give each document its own id.")


def embed(path: Path, documents: pa.Table, encoder: Encoder, *, show_progress: bool) -> Path:
    """The file of the documents' vectors, in the folder that an interrupted build of the same goes on from."""
    texts = texts_of(documents)
    digest = hashlib.sha256()
    for text in texts:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "little") + raw)
    plan = {
        "texts": digest.hexdigest(),
        "fingerprint": encoder.document_fingerprint,
        "prompt": encoder.prompts["document"],
        "precision": str(encoder.dtype),
    }
    work = building_folder(path)
    file = work / VECTORS
    with disk_errors(path):
        _begin(work, plan)
        if not file.exists():
            prompt = encoder.prompts["document"]
            encoder.encode_to(file, texts, prompt=prompt, resume=True, show_progress=show_progress)
    return file


def _begin(work: Path, plan: dict[str, Any]) -> None:
    """Keep what the same plan has done so far; remove what another one left."""
    file = work / PLAN
    try:
        same = json.loads(file.read_bytes()) == plan
    except (OSError, ValueError):
        same = False
    if not same:
        # The plan first: without it, what a kill leaves of the rest is never taken for the work of that plan.
        file.unlink(missing_ok=True)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_json(file, plan)


def publish_base(
    path: Path,
    hold: Hold,
    documents: pa.Table,
    encoder: Encoder,
    settings: Settings,
    vectors: Path,
    *,
    queries: tuple[Sequence[str], bool] | None,
    force: bool,
    say: Callable[[str], None],
    show_progress: bool,
    further: dict[str, Any] | None = None,
) -> None:
    """Publish a version that is one base segment.

    Args:
        path: directory of the index.
        hold: of the writer's lock.
        documents: id, title, text, metadata.
        encoder: of the documents.
        settings: of the index.
        vectors: file of the documents' vectors.
        queries: texts of held-out queries, and whether they were given; None to make some where they are needed.
        force: replace the index that is there.
        say: is told what people should know.
        show_progress: on standard error.
        further: fields for the manifest.
    """
    needed = needs_queries(documents.num_rows, encoder.dim, settings)
    if queries is None and needed:
        count = max(COUNT, 2 * (queries_needed(settings.recall) or 0))
        queries = queries_of(documents, count, settings.seed), False
        say(f"no queries given: recall is measured with {len(queries[0])} sentences of the documents.")
    encoded = encoder.encode_queries(queries[0]) if queries else None
    with new_version(path, force=force, keep=settings.keep, hold=hold) as staged:
        entry = write_base(staged.path, documents, vectors, encoded, settings, say=say, show_progress=show_progress)
        write_canaries(staged.path, encoder)
        if queries is not None and encoded is not None:
            write_queries(staged.path, queries[0], given=queries[1])
            np.save(staged.path / QUERIES, encoded, allow_pickle=False)
        staged.manifest |= {
            "documents": documents.num_rows,
            **described(encoder),
            "settings": settings.as_dict(),
            "segments": [entry],
            **(further or {}),
        }


def add(path: Path, documents: pa.Table, encoder: Encoder, *, show_progress: bool = False) -> Change:
    """Add documents; those whose id is there already are replaced.

    Raises:
        DataError: no documents, or an id stands twice among them.
        WrongModelError: ``encoder`` is not that of the index.
        ArtifactError: there is no index, it is damaged, or another process writes.
        DiskFullError: the disk ran full; the index is as it was.
    """
    require_documents(documents)
    with writing(path) as hold:
        snapshot = Snapshot.open(path)
        require_same(path, snapshot.manifest, encoder)
        vectors = encoder.encode_documents(texts_of(documents), show_progress=show_progress)
        old = snapshot.find(documents["id"].to_pylist())
        replaced = old[old >= 0]
        with changed(path, hold, snapshot, gone=replaced) as (staged, alive):
            merged = _merged_from(snapshot, alive, documents.num_rows)
            _write_delta(staged, snapshot, alive, merged, documents, vectors)
            kept = int(snapshot.starts[merged])
            after = np.concatenate([alive[:kept], np.ones(staged.manifest["segments"][-1]["documents"], bool)])
            finish(staged, after)
        return Change(int(after.sum()), added=documents.num_rows - len(replaced), replaced=len(replaced))


def delete(path: Path, ids: Sequence[str]) -> Change:
    """Delete documents by id; ids that are not there are named in the answer.

    Raises:
        DataError: ``ids`` is a string or empty.
        ArtifactError: there is no index, it is damaged, or another process writes.
        DiskFullError: the disk ran full; the index is as it was.
    """
    if isinstance(ids, str) or not ids or not all(isinstance(name, str) for name in ids):
        raise DataError(f"the ids to delete are {str(ids)[:80]!r}.", hint="give a list of at least one id, as strings.")
    with writing(path) as hold:
        snapshot = Snapshot.open(path)
        ids = list(dict.fromkeys(ids))
        rows = snapshot.find(ids)
        missing = tuple(name for name, row in zip(ids, rows, strict=True) if row < 0)
        if len(missing) == len(ids):
            return Change(len(snapshot), missing=missing)
        with changed(path, hold, snapshot, gone=rows[rows >= 0]) as (staged, alive):
            for entry in snapshot.manifest["segments"]:
                staged.link_tree(f"{entry['folder']}/")
            staged.manifest["segments"] = list(snapshot.manifest["segments"])
            finish(staged, alive)
        return Change(int(alive.sum()), deleted=len(ids) - len(missing), missing=missing)


def compact(path: Path, encoder: Encoder, *, say: Callable[[str], None], show_progress: bool = False) -> Change:
    """Make one base segment of all documents that are alive, and tune it again; no text is embedded.

    Raises:
        DataError: no document is alive.
        WrongModelError: ``encoder`` is not that of the index.
        ConfigError: no kind of index meets the recall within the limits any more.
        ArtifactError: there is no index, it is damaged, or another process writes.
        DiskFullError: the disk ran full; the index is as it was.
    """
    with writing(path) as hold:
        snapshot = Snapshot.open(path)
        require_same(path, snapshot.manifest, encoder)
        documents = snapshot.live_documents()
        require_documents(documents)
        work = building_folder(path)
        stored = snapshot.version.path
        try:
            with disk_errors(path):
                _begin(work, {"compacts": snapshot.version.path.name})
                _copy_live(snapshot, work / VECTORS)
            publish_base(
                path, hold, documents, encoder, Settings.from_dict(snapshot.manifest["settings"]), work / VECTORS,
                queries=read_queries(stored) if (stored / QUERY_TEXTS).exists() else None,
                force=True, say=say, show_progress=show_progress,
                further={name: snapshot.manifest[name] for name in KEPT if name in snapshot.manifest},
            )  # fmt: skip
        finally:
            # Nothing in it that another attempt would go on with.
            shutil.rmtree(work, ignore_errors=True)
        return Change(documents.num_rows)


def _copy_live(snapshot: Snapshot, file: Path) -> None:
    """The vectors of all documents that are alive, in the order of `Snapshot.live_documents`."""
    rows = np.arange(snapshot.rows) if snapshot.alive is None else np.flatnonzero(snapshot.alive)
    blocks = (snapshot.vectors(rows[at : at + COPIED_AT_ONCE]) for at in range(0, len(rows), COPIED_AT_ONCE))
    write_vectors(file, (len(rows), snapshot.manifest["dim"]), blocks)


@contextmanager
def changed(path: Path, hold: Hold, snapshot: Snapshot, *, gone: np.ndarray) -> Iterator[tuple[Staged, np.ndarray]]:
    """Stage a version onto ``snapshot``: its manifest and root files, and which of its rows stay alive."""
    alive = np.ones(snapshot.rows, bool) if snapshot.alive is None else snapshot.alive.copy()
    alive[gone] = False
    keep = Settings.from_dict(snapshot.manifest["settings"]).keep
    with new_version(path, onto=True, keep=keep, hold=hold) as staged:
        of_version = {"files", "format", "created", "segments", "documents"}
        staged.manifest |= {key: value for key, value in snapshot.manifest.items() if key not in of_version}
        for name in (CANARIES, QUERIES, QUERY_TEXTS):
            if name in snapshot.manifest["files"]:
                staged.link(name)
        yield staged, alive


def _merged_from(snapshot: Snapshot, alive: np.ndarray, new: int) -> int:
    """The number of the first further segment that is merged into a new one of ``new`` documents."""
    first = len(snapshot.segments)
    size = new
    while first > 1:
        live = int(alive[snapshot.starts[first - 1] : snapshot.starts[first]].sum())
        if live > MERGED * size:
            break
        size += live
        first -= 1
    return first


def _write_delta(
    staged: Staged, snapshot: Snapshot, alive: np.ndarray, merged: int, documents: pa.Table, vectors: Vectors
) -> None:
    """Link the segments before ``merged``; write the rest of them and the new documents as one further segment."""
    kept = snapshot.manifest["segments"][:merged]
    for entry in kept:
        staged.link_tree(f"{entry['folder']}/")
    rest = replace(snapshot, alive=alive)
    tables, parts = [], []
    for number in range(merged, len(snapshot.segments)):
        rows = rest.live_rows(number)
        tables.append(snapshot.segments[number].documents.table(rows))
        parts.append(snapshot.segments[number].vectors[rows])
    folder = staged.path / f"delta-{staged.number:06d}"
    folder.mkdir()
    columns = ["id", "title", "text", "metadata"]
    table = pa.concat_tables([part.select(columns) for part in [*tables, documents]], promote_options="permissive")
    Documents.write(table, folder)
    np.save(folder / VECTORS, np.concatenate([*parts, vectors]).astype(np.float32, copy=False), allow_pickle=False)
    entry = {"folder": folder.name, "documents": table.num_rows, "kind": FLAT, "factory": "Flat", "tuning": None}
    staged.manifest["segments"] = [*kept, entry]


def finish(staged: Staged, alive: np.ndarray) -> None:
    """Write which rows of a staged version are gone, and count the others."""
    write_deleted(staged.path, alive)
    staged.manifest["documents"] = int(alive.sum())
