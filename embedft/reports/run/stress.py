"""What noise does to the score: typos, case, negation, a prompt that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.reports.forest import Estimate, forest
from embedft.reports.html import Html, own_text, shortened
from embedft.reports.page import Cell, folded, paragraph, table
from embedft.reports.run.examples import readings
from embedft.reports.run.figures import KINDS, between, chance, is_number, score, signed

SHORT = 160


def stress(found: dict[str, Any]) -> Iterator[str]:
    """A dot for each edit with the interval of its drop, and the table with an example of each."""
    metric, rows = str(found.get("metric", "")), found.get("rows") or []
    yield from readings({"reading": found.get("reading")})
    estimates = [_estimate(row) for row in rows if is_number(row.get("drop"))]
    if estimates:
        yield forest(
            estimates, f"change of {metric} by each edit, 95 % interval", ends=("← the edit costs", "it helps →")
        )
    compared = any(row.get("against") for row in rows)
    cells = [
        (
            _label(row),
            Cell(f"{row['changed']:.0%}" if is_number(row.get("changed")) else "", row.get("changed")),
            Cell(score(row.get("score")), row.get("score")),
            Cell(signed(_change(row)), _change(row)),
            between(*_ends(row)),
            Cell(chance(_p_value(row)), _p_value(row)),
            str(row.get("verdict") or ""),
            *([_other(row.get("against") or {})] if compared else []),
            _example(row.get("example") or {}),
        )
        for row in rows
    ]
    head = ["edit", "texts changed", metric, "change", "95 % interval", "p", "verdict"]
    head += [*(["other model's change"] if compared else []), "examples"]
    yield folded("As a table, with examples", Html(table(head, cells, sortable=True)))
    left_out = [f"{entry.get('stress')} ({entry.get('reason')})" for entry in found.get("left_out") or []]
    if left_out:
        yield paragraph(f"Left out: {'; '.join(left_out)}.", kind="small")


def _estimate(row: dict[str, Any]) -> Estimate:
    low, high = _ends(row)
    kind = KINDS.get(str(row.get("verdict")), "same")
    shown = f"{signed(_change(row))} ({between(low, high)})"
    return Estimate(_label(row), _change(row), low, high, shown, kind, str(row.get("family") or ""))


def _change(row: dict[str, Any]) -> float | None:
    """The drop as a change: what is lost stands on the left."""
    drop: Any = row.get("drop")
    return 0.0 - drop if is_number(drop) else None


def _ends(row: dict[str, Any]) -> tuple[float | None, float | None]:
    low, high = row.get("ci_low"), row.get("ci_high")
    return (0.0 - high, 0.0 - low) if is_number(low) and is_number(high) else (None, None)


def _other(row: dict[str, Any]) -> Cell:
    """What the edit does to the other model."""
    low, high = _ends(row)
    return Cell(f"{signed(_change(row))} ({between(low, high)})" if row else "", _change(row))


def _label(row: dict[str, Any]) -> str:
    if row.get("label"):
        return str(row["label"])
    strength = row.get("strength")
    return f"{row.get('stress', '')}, {strength:g}" if is_number(strength) else str(row.get("stress", ""))


def _p_value(row: dict[str, Any]) -> Any:
    """After Holm's correction, where there is one."""
    return row.get("p_adjusted", row.get("p_value"))


def _example(example: dict[str, Any]) -> Html | str:
    if not example:
        return ""
    before, after = (own_text(shortened(example.get(name, ""), SHORT)) for name in ("before", "after"))
    return Html(f"{before} → {after}")
