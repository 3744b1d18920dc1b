"""Write a data set in the forms that `read_dataset` reads: BEIR for retrieval, a JSONL file a split for all others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedft.artifacts import atomic_directory, atomic_file
from embedft.data.beir import write_beir_into
from embedft.data.dataset import Dataset
from embedft.data.faults import Fault
from embedft.errors import DataError

MANIFEST = "manifest.yaml"
QUARANTINE_BEGIN = '{"file": '
QUARANTINE = Path("quarantine") / "rows.jsonl"


def is_stored(path: Path) -> bool:
    """Whether embedft wrote this folder, and nobody added a file or changed the size of one since."""
    try:
        written = json.loads((path / MANIFEST).read_text("utf-8"))["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return bool(written == _sizes(path))


def write_manifest(folder: Path, content: dict[str, Any]) -> None:
    """Say what a folder holds and where it comes from, last of all files: their names and sizes are part of it."""
    text = json.dumps({**content, "files": _sizes(folder)}, indent=2)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def _sizes(folder: Path) -> dict[str, int]:
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / MANIFEST)
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def write_dataset(
    data: Dataset, path: Path, *, made_by: str, force: bool = False, dropped: Iterable[Fault] = ()
) -> None:
    """Write a folder, atomically: the splits, a manifest, and what was left out under ``quarantine/``.

    Args:
        data: what is written; columns get the names of their roles, all others go into ``metadata``.
        path: of the new folder.
        made_by: the command, for the manifest.
        force: replace a folder that embedft wrote.
        dropped: rows left out beyond ``data.faults``.

    Raises:
        ArtifactError: ``path`` exists, and ``force`` is False or embedft did not write it.
        DataError: nothing is left to write.
        DiskFullError: the disk ran full.
    """
    rows = data.sizes()
    if not any(rows.values()):
        raise DataError(f"{data.path}: no row is left.", hint="look at what was left out and why.")
    with atomic_directory(path, force=force, ours=is_stored) as staged:
        if data.retrieval is not None:
            write_beir_into(data.retrieval, staged)
        for split, table in data.splits.items():
            if not table.num_rows:
                continue  # no reader takes an empty file
            with (staged / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(_lines(table))
        left_out = [*data.faults, *dropped]
        if left_out:
            (staged / QUARANTINE).parent.mkdir()
            write_quarantine(left_out, staged / QUARANTINE)
        manifest = {"kind": data.kind, "from": str(data.path), "by": made_by, "rows": rows, "sources": dict(data.files)}
        write_manifest(staged, manifest)


def write_quarantine(faults: Iterable[Fault], path: Path) -> None:
    """One JSON object a row that was left out: file, line, reason, what was found, the row itself; atomically."""
    with atomic_file(path) as file:
        for fault in faults:
            row = {
                "file": str(fault.path),
                "line": fault.line,
                "reason": fault.kind,
                "found": fault.found,
                "row": fault.raw.rstrip("\r\n"),
            }
            file.write((json.dumps(row) + "\n").encode())


def _lines(table: pa.Table) -> Iterator[str]:
    # One form a file: a label alone stands as a text only where no row has several.
    lists = "labels" in table.column_names and any(len(row) != 1 for row in table["labels"].to_pylist())
    for batch in table.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            yield json.dumps(_plain(row, lists=lists), ensure_ascii=False) + "\n"


def _plain(row: dict[str, Any], *, lists: bool) -> dict[str, Any]:
    """A row as it is read again: no place, a single label as a text, no empty fields."""
    row.pop("file")
    row.pop("line")
    metadata = row.pop("metadata")
    if "labels" in row and not lists:
        row["label"] = row.pop("labels")[0]
    if "negatives" in row and not row["negatives"]:
        row.pop("negatives")
    if "id" in row:
        row = {"_id": row.pop("id"), **row}
    if metadata:
        row["metadata"] = json.loads(metadata)
    return row
