"""Building an index and changing it: each call publishes one new version, or nothing.

Readers are never waited for and never disturbed: what they opened stays as it is. One writer at a time has the lock.
Long work, which is the embedding, happens before anything is published, in a folder that a killed build goes on from.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.artifacts import disk_errors, write_json
from embedft.encoder import Encoder, Vectors
from embedft.errors import DataError
from embedft.index.approximate import FLAT
from embedft.index.base import check_settings, enough_queries, needs_queries, queries_to_make, write_base
from embedft.index.canaries import FILE as CANARIES
from embedft.index.canaries import canaries as canaries_of
from embedft.index.canaries import write_canaries
from embedft.index.exact import COPIED_AT_ONCE, Flags, Floats, Rows
from embedft.index.held_out import TEXTS as QUERY_TEXTS
from embedft.index.held_out import queries_of, read_queries, write_queries
from embedft.index.identity import described, require_same
from embedft.index.segment import texts_of, write_vectors
from embedft.index.settings import Settings
from embedft.index.snapshot import QUERIES, Snapshot, write_deleted
from embedft.index.storage import Documents, Hold, Staged, building_folder, new_version, require_writable, writing
from embedft.index.storage.verify import VECTORS

PLAN = "plan.json"
# A further segment takes in those before it that are not more than twice as large: so n additions make at most about
# log2(n) segments, and each document is rewritten as often.
MERGED = 2
# What else a manifest may hold that compacting does not change: see `migrating` and `fusing`.
KEPT = ("mapped", "fusion")

# Texts of held-out queries, and whether they were given.
Queries = tuple[Sequence[str], bool]

logger = logging.getLogger("embedft")


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
        show_progress: on standard error.

    Raises:
        DataError: no documents, an id is empty or stands twice, or too few queries.
        ConfigError: no kind of index meets the recall within the limits.
        ArtifactError: ``path`` is taken, or another process writes there.
        DiskFullError: the disk ran full; what was there is untouched.
    """
    require_documents(documents)
    require_writable(path, force=force)
    asked = (queries, True) if queries else queries_for(documents, encoder.dim, settings)
    _check(documents, encoder, settings, asked, given=bool(queries))
    with writing(path, new=True) as hold:
        publish_base(
            path, hold, documents, encoder, settings, embed(path, documents, encoder, show_progress=show_progress),
            queries=asked, force=force, show_progress=show_progress,
        )  # fmt: skip


def _check(documents: pa.Table, encoder: Encoder, settings: Settings, queries: Queries | None, *, given: bool) -> None:
    count = 0 if queries is None else len(queries[0])
    check_settings(documents.num_rows, encoder.dim, settings, queries=count, given=given)


def queries_for(documents: pa.Table, dim: int, settings: Settings, kept: Queries | None = None) -> Queries | None:
    """Queries to tune an index of these documents on; what had to be made of the documents is said.

    Args:
        documents: id, title, text, metadata.
        dim: of their vectors.
        settings: of the index.
        kept: those of the version before, which stay, and get further ones where they are too few.

    Returns:
        None where none are kept and none needed.

    Raises:
        ConfigError: no kind fits the memory.
    """
    count = documents.num_rows
    texts, given = kept or ([], False)
    if not needs_queries(count, dim, settings) or enough_queries(len(texts), count, dim, settings):
        return kept
    texts = list(dict.fromkeys(texts))
    wanted = max(queries_to_make(count, dim, settings), len(texts))
    asked = list(dict.fromkeys([*texts, *queries_of(documents, wanted, settings.seed)]))[:wanted]
    if enough_queries(len(asked), count, dim, settings):
        made = len(asked) - len(texts)
        why = f"{len(texts)} queries are too few" if texts else "no queries given"
        beside = " beside them" if texts else ""
        logger.info("%s: recall is measured with %d sentences of the documents%s.", why, made, beside)
    return (asked, given and len(asked) == len(texts)) if asked else None


def require_documents(documents: pa.Table) -> None:
    """Raise DataError if there is no document, or one has no id, or an id is empty or stands twice."""
    ids = documents["id"].to_pylist()
    if not ids:
        raise DataError("there are no documents to index.", hint="give at least one.")
    if None in ids:
        raise DataError(f"document {ids.index(None)} has no id.", hint="give each document its own id.")
    if "" in ids:
        raise DataError(f"the id of document {ids.index('')} is empty.", hint="give each document its own id.")
    if len(set(ids)) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
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
    queries: Queries | None,
    show_progress: bool,
    force: bool = False,
    in_place: bool = False,
    further: dict[str, Any] | None = None,
    canaries: Floats | None = None,
) -> None:
    """Publish a version that is one base segment.

    Args:
        path: directory of the index.
        hold: of the writer's lock.
        documents: id, title, text, metadata.
        encoder: of the documents.
        settings: of the index.
        vectors: file of the documents' vectors.
        queries: held-out ones to tune it on, see `queries_for`.
        show_progress: on standard error.
        force: replace the index that is there.
        in_place: as for `new_version`.
        further: fields for the manifest, also in place of those of the encoder.
        canaries: vectors that the version keeps; by default those of the encoder.
    """
    encoded = encoder.encode_queries(queries[0]) if queries else None
    with new_version(path, force=force, in_place=in_place, keep=settings.keep, hold=hold) as staged:
        entry = write_base(staged.path, documents, vectors, encoded, settings, show_progress=show_progress)
        write_canaries(staged.path, canaries_of(encoder) if canaries is None else canaries)
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
        DataError: no documents, or an id is empty or stands twice among them.
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


def delete(path: Path, ids: Iterable[str]) -> Change:
    """Delete documents by id; ids that are not there are named in the answer.

    Raises:
        DataError: ``ids`` is a string or empty, or holds something else than strings.
        ArtifactError: there is no index, it is damaged, or another process writes.
        DiskFullError: the disk ran full; the index is as it was.
    """
    names = _names(ids)
    with writing(path) as hold:
        snapshot = Snapshot.open(path)
        rows = snapshot.find(names)
        missing = tuple(name for name, row in zip(names, rows, strict=True) if row < 0)
        if len(missing) == len(names):
            return Change(len(snapshot), missing=missing)
        with changed(path, hold, snapshot, gone=rows[rows >= 0]) as (staged, alive):
            for entry in snapshot.manifest["segments"]:
                staged.link_tree(f"{entry['folder']}/")
            staged.manifest["segments"] = list(snapshot.manifest["segments"])
            finish(staged, alive)
        return Change(int(alive.sum()), deleted=len(names) - len(missing), missing=missing)


def _names(ids: Iterable[str]) -> list[str]:
    """Each id once."""
    try:
        names = [] if isinstance(ids, str) else list(ids)
    except TypeError:
        names = []
    if not names or not all(isinstance(name, str) for name in names):
        raise DataError(f"the ids to delete are {str(ids)[:80]!r}.", hint="give a list of at least one id, as strings.")
    # Plain strings of numpy's, which pyarrow does not take for those.
    return list(dict.fromkeys(map(str, names)))


def compact(path: Path, encoder: Encoder, *, show_progress: bool = False) -> Change:
    """Make one base segment of all documents that are alive, and tune it again.

    No document is embedded: vectors, canaries and what the index says of its model stay. Queries to tune on are; where
    those of the version are too few by now, more are made of the documents.

    Raises:
        DataError: no document is alive, or they give too few queries for the kind of index.
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
        settings = Settings.from_dict(snapshot.manifest["settings"])
        queries = queries_for(documents, encoder.dim, settings, kept_queries(snapshot))
        _check(documents, encoder, settings, queries, given=False)
        work = building_folder(path)
        try:
            with disk_errors(path):
                _begin(work, {"compacts": snapshot.version.path.name})
                _copy_live(snapshot, work / VECTORS)
            publish_base(
                path, hold, documents, encoder, settings, work / VECTORS,
                queries=queries, in_place=True, show_progress=show_progress, canaries=snapshot.canaries,
                further={
                    name: snapshot.manifest[name] for name in (*described(encoder), *KEPT) if name in snapshot.manifest
                },
            )  # fmt: skip
        finally:
            # Nothing in it that another attempt would go on with.
            shutil.rmtree(work, ignore_errors=True)
        return Change(documents.num_rows)


def kept_queries(snapshot: Snapshot) -> Queries | None:
    """The held-out queries of a version."""
    return read_queries(snapshot.version.path) if QUERY_TEXTS in snapshot.manifest["files"] else None


def _copy_live(snapshot: Snapshot, file: Path) -> None:
    """The vectors of all documents that are alive, in the order of `Snapshot.live_documents`."""
    rows = snapshot.live_rows()
    blocks = (snapshot.vectors(rows[at : at + COPIED_AT_ONCE]) for at in range(0, len(rows), COPIED_AT_ONCE))
    write_vectors(file, (len(rows), snapshot.manifest["dim"]), blocks)


@contextmanager
def changed(path: Path, hold: Hold, snapshot: Snapshot, *, gone: Rows) -> Iterator[tuple[Staged, Flags]]:
    """Stage a version onto ``snapshot``: its manifest and root files, and which of its rows stay alive."""
    alive = snapshot.live_flags()
    alive[gone] = False
    keep = Settings.from_dict(snapshot.manifest["settings"]).keep
    with new_version(path, onto=True, keep=keep, hold=hold) as staged:
        of_version = {"files", "format", "created", "segments", "documents"}
        staged.manifest |= {key: value for key, value in snapshot.manifest.items() if key not in of_version}
        for name in (CANARIES, QUERIES, QUERY_TEXTS):
            if name in snapshot.manifest["files"]:
                staged.link(name)
        yield staged, alive


def _merged_from(snapshot: Snapshot, alive: Flags, new: int) -> int:
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
    staged: Staged, snapshot: Snapshot, alive: Flags, merged: int, documents: pa.Table, vectors: Vectors
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


def finish(staged: Staged, alive: Flags) -> None:
    """Write which rows of a staged version are gone, and count the others."""
    write_deleted(staged.path, alive)
    staged.manifest["documents"] = int(alive.sum())
