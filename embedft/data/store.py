"""Write a data set in the forms that `read_dataset` reads: BEIR for retrieval, a JSONL file a split for all others."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedft.artifacts import atomic_directory
from embedft.data.beir import is_beir, write_beir_into
from embedft.data.dataset import Dataset
from embedft.data.faults import Fault
from embedft.errors import DataError

MANIFEST = "manifest.yaml"
QUARANTINE = Path("quarantine") / "rows.jsonl"


def is_stored(path: Path) -> bool:
    """Whether embedft wrote this folder."""
    return (path / MANIFEST).is_file()


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
    if data.retrieval is None and not any(table.num_rows for table in data.splits.values()):
        raise DataError(f"{data.path}: no row is left.", hint="look at what was left out and why.")
    with atomic_directory(path, force=force, ours=lambda folder: is_stored(folder) or is_beir(folder)) as staged:
        if data.retrieval is not None:
            write_beir_into(data.retrieval, staged)
        for split, table in data.splits.items():
            with (staged / f"{split}.jsonl").open("w", encoding="utf-8") as file:
                file.writelines(_lines(table))
        left_out = [*data.faults, *dropped]
        if left_out:
            (staged / QUARANTINE).parent.mkdir()
            write_quarantine(left_out, staged / QUARANTINE)
        rows = {split: table.num_rows for split, table in data.splits.items()}
        manifest = {"kind": data.kind, "from": str(data.path), "by": made_by, "rows": rows, "sources": dict(data.files)}
        (staged / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def write_quarantine(faults: Iterable[Fault], path: Path) -> None:
    """One JSON object a row that was left out: file, line, reason, what was found, the row itself."""
    with path.open("w", encoding="utf-8") as file:
        for fault in faults:
            row = {
                "file": str(fault.path),
                "line": fault.line,
                "reason": fault.kind,
                "found": fault.found,
                "row": fault.raw.rstrip("\r\n"),
            }
            file.write(json.dumps(row) + "\n")


def _lines(table: pa.Table) -> Iterator[str]:
    for batch in table.to_batches(max_chunksize=4096):
        for row in batch.to_pylist():
            yield json.dumps(_plain(row), ensure_ascii=False) + "\n"


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as it is read again: no place, a single label as a text, no empty fields."""
    row.pop("file")
    row.pop("line")
    metadata = row.pop("metadata")
    if "labels" in row:
        labels = row.pop("labels")
        row["label"] = labels[0] if len(labels) == 1 else labels
    if "negatives" in row and not row["negatives"]:
        row.pop("negatives")
    if "id" in row:
        row = {"_id": row.pop("id"), **row}
    if metadata:
        row["metadata"] = json.loads(metadata)
    return row
