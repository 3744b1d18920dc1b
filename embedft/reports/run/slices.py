"""Where the score comes from: slices by property of the query or text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from embedft.reports.forest import Estimate, forest
from embedft.reports.html import Html
from embedft.reports.page import Cell, folded, paragraph, table
from embedft.reports.run.figures import between, is_number, score, signed


def slices(rows: Sequence[dict[str, Any]], metric: str, unit: str, sides: tuple[str, str]) -> Iterator[str]:
    """Scores of each slice with intervals, differences beside them where there is another model, and the table.

    Args:
        rows: of ``errors`` in ``analysis.json``; ``why`` of one says what its score suffers from, or why it has none.
        metric: that was sliced.
        unit: what was judged, in the plural.
        sides: what the other model and this one are called.
    """
    compared = [row for row in rows if is_number(row.get("difference"))]
    if compared:
        yield paragraph(
            f"Difference in {metric} for parts of the {unit}. No slice is tested by itself, so none is called better "
            "or worse: of many intervals one in twenty misses zero by chance. What stands out in a test of all of "
            "them is said under Errors."
        )
        before, after = sides
        yield forest(
            [_difference(row, unit) for row in compared], f"difference in {metric}, 95 % interval",
            ends=(f"← {before} is better", f"{after} is better →"),
        )  # fmt: skip
    scored = [_score(row, unit) for row in rows if is_number(row.get("score"))]
    if scored:
        yield folded(
            f"{metric} of each slice", forest(scored, f"{metric}, 95 % interval", zero=None), opened=not compared
        )
    yield folded("As a table", Html(_table(rows, unit, sides)))


def _difference(row: dict[str, Any], unit: str) -> Estimate:
    low, high = row.get("difference_ci_low"), row.get("difference_ci_high")
    return Estimate(
        _label(row, unit), row["difference"], low, high, f"{signed(row['difference'])} ({between(low, high)})", "same",
        str(row.get("by", "")),
    )  # fmt: skip


def _score(row: dict[str, Any], unit: str) -> Estimate:
    low, high = row.get("ci_low"), row.get("ci_high")
    shown = f"{score(row['score'])} ({between(low, high, sign=False)})"
    return Estimate(_label(row, unit), row["score"], low, high, shown, "", str(row.get("by", "")))


def _label(row: dict[str, Any], unit: str) -> str:
    why = f" · {row['why']}" if row.get("why") else ""
    return f"{row.get('label', '')} · {int(row.get('count') or 0):,} {unit}{why}"


def _table(rows: Sequence[dict[str, Any]], unit: str, sides: tuple[str, str]) -> str:
    before, after = sides
    noted = any(row.get("why") for row in rows)
    head = ("by", "slice", unit, after, "95 % interval", before, "difference", "its 95 % interval")
    cells = [
        (
            row.get("by"),
            row.get("label"),
            row.get("count"),
            Cell(score(row.get("score")), _key(row.get("score"))),
            between(row.get("ci_low"), row.get("ci_high"), sign=False),
            Cell(score(row.get("against")), _key(row.get("against"))),
            Cell(signed(row.get("difference")), _key(row.get("difference"))),
            between(row.get("difference_ci_low"), row.get("difference_ci_high")),
            *((row.get("why"),) if noted else ()),
        )
        for row in rows
    ]
    return table((*head, "note") if noted else head, cells, sortable=True, filtered="Filter slices")


def _key(value: Any) -> float | None:
    return float(value) if is_number(value) else None
