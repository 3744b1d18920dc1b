"""What it was trained and judged on: counts, leakage, faults, checksums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from embedft.reports.html import Html, element
from embedft.reports.page import Cell, folded, paragraph, table
from embedft.reports.run.figures import plural
from embedft.reports.run.record import RunRecord


def data(record: RunRecord) -> Iterator[str]:
    """Rows a split, leakage between them, faults that were met, sha256 of each file."""
    manifest = record.run.get("data") or {}
    judged = record.metrics.get("data_sha256")
    yield paragraph(
        f"{str(manifest.get('kind', '')).capitalize()} " if manifest.get("kind") else "",
        element("code", str(manifest.get("path") or record.metrics.get("data", ""))),
        ". ",
        f"Judged on split {record.metrics.get('split', '')}.",
    )
    counts = manifest.get("rows") or _counts(manifest)
    if counts:
        rows = [(name, count) for name, count in counts.items() if isinstance(count, int)]
        yield table(("part", "rows"), rows)
    if record.run:
        yield "<h3>Leakage</h3>"
        yield from _leakage(record.run.get("leakage") or [], int(record.run.get("leakage_dropped") or 0))
    faults = _flat(manifest.get("faults") or {})
    if faults:
        yield "<h3>Faults of the files</h3>"
        yield table(("kind", "rows"), faults)
    files = [(name, Cell(element("code", digest), digest)) for name, digest in (manifest.get("files") or {}).items()]
    if judged:
        files.append(("what was judged", Cell(element("code", str(judged)), str(judged))))
    if files:
        yield folded("Checksums (SHA-256)", Html(table(("file", "sha256"), files)))


def _counts(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Counts of a manifest that names its parts itself: documents, queries, judgments of each split."""
    return {name: count for name, count in _flat(manifest) if name not in ("path", "kind", "files", "faults")}


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, int]]:
    """(dotted name, number) of the numbers in nested values."""
    found: list[tuple[str, int]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name} ")
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append((f"{prefix}{name}", value))
    return found


def _leakage(leaks: list[dict[str, Any]], dropped: int) -> Iterator[str]:
    if dropped:
        yield paragraph(f"{plural(dropped, 'rows')} of train that stand in another split too were left out.")
    if not leaks:
        yield paragraph(f"None {'is left' if dropped else 'was found'} between train and the other splits.")
        return
    rows = [
        (
            leak.get("kind"), leak.get("split"), leak.get("count"),
            Cell(f"{leak.get('share', 0):.1%}", leak.get("share")),
            "tells a judged answer" if leak.get("severe") else "common, harmless",
            " / ".join(leak.get("examples") or []),
        )
        for leak in leaks
    ]  # fmt: skip
    yield table(("kind", "split", "rows", "share", "what it means", "examples"), rows)
