"""Cost against quality: dimensions and kinds of storage, the cheapest that keeps enough marked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.reports.cloud import Cloud, Dot, cloud
from embedft.reports.html import Html, element
from embedft.reports.page import Cell, paragraph, table
from embedft.reports.run.figures import between, is_number, score

# Marks rungs whose dimension was not among those of a Matryoshka training.
UNTRAINED = "*"


def ladder(found: dict[str, Any]) -> Iterator[str]:
    """The reading, the figure with a line for each kind of storage, and the table."""
    rows = [row for row in found.get("rows") or [] if is_number(row.get("score"))]
    if found.get("reading"):
        yield paragraph(str(found["reading"]))
    if not rows:
        return
    metric, cheapest = str(found.get("metric", "score")), found.get("cheapest") or {}
    kinds = list(dict.fromkeys(str(row.get("storage")) for row in rows))
    yield '<div class="plots">'
    yield _figure([row for row in rows if is_number(row.get("mb_per_million"))], kinds, metric, cheapest)
    yield element(
        "ul",
        [element("li", element("span", class_=f"swatch series-{place % 8}"), kind) for place, kind in enumerate(kinds)],
        class_="legend",
        aria_label="colours of the figure",
    )
    yield "</div>"
    speeds = any(is_number(row.get("qps")) for row in rows)
    head = ["dimensions", "storage", metric, "95 % interval", "of the full score", "MB a million"]
    head += (["queries/s"] if speeds else []) + [""]
    cells = [
        [
            Cell(f"{row.get('dim')}{UNTRAINED if _untrained(row) else ''}", row.get("dim")),
            Cell(row.get("storage"), str(row.get("storage")), "name"),
            Cell(score(row["score"], 4), row["score"]),
            between(row.get("ci_low"), row.get("ci_high"), sign=False),
            Cell(f"{row['share']:.1%}" if is_number(row.get("share")) else "", row.get("share")),
            Cell(_whole(row.get("mb_per_million")), row.get("mb_per_million")),
            *([Cell(_whole(row.get("qps")), row.get("qps"))] if speeds else []),
            "cheapest that keeps enough" if _same(row, cheapest) else "",
        ]
        for row in rows
    ]
    yield table(head, cells, sortable=True)
    if speeds and is_number(found.get("documents")):
        batch = f", {found['batch']} queries at a time" if is_number(found.get("batch")) else ""
        yield paragraph(f"Queries a second: among {found['documents']:,} documents{batch}.", kind="small")
    if any(map(_untrained, rows)):
        yield paragraph(f"{UNTRAINED} The vectors were not trained to be cut to this size.", kind="small")


def _figure(rows: list[dict[str, Any]], kinds: list[str], metric: str, cheapest: dict[str, Any]) -> Html:
    lines, dots = [], []
    for place, kind in enumerate(kinds):
        series = [_dot(row, place, cheapest) for row in rows if str(row.get("storage")) == kind]
        series.sort(key=lambda dot: dot.x)
        lines.append((f"series-{place % 8} faint", series))
        dots += series
    dots.sort(key=lambda dot: bool(dot.label))
    return cloud(
        dots,
        f"{metric} with 95 % intervals over the memory of a million documents"
        + ("; the ring marks the cheapest that keeps enough" if cheapest else ""),
        Cloud(title="Cost and quality", names=("MB a million documents, logarithmic", metric), log=True, joined=lines),
    )


def _dot(row: dict[str, Any], place: int, cheapest: dict[str, Any]) -> Dot:
    chosen = _same(row, cheapest)
    tip = (
        f"{row.get('dim')} x {row.get('storage')}: {score(row['score'])} "
        f"({between(row.get('ci_low'), row.get('ci_high'), sign=False)}), {_whole(row['mb_per_million'])} MB"
    )
    if is_number(row.get("qps")):
        tip += f", {_whole(row['qps'])} queries a second"
    low, high = (float(row[name]) if is_number(row.get(name)) else None for name in ("ci_low", "ci_high"))
    return Dot(
        float(row["mb_per_million"]), float(row["score"]), tip, f"series-{place % 8}{' chosen' if chosen else ''}",
        6.5 if chosen else 3.5, low, high, f"{row.get('dim')} x {row.get('storage')}" if chosen else "",
    )  # fmt: skip


def _same(row: dict[str, Any], cheapest: dict[str, Any]) -> bool:
    return bool(cheapest) and (row.get("dim"), row.get("storage")) == (cheapest.get("dim"), cheapest.get("storage"))


def _untrained(row: dict[str, Any]) -> bool:
    return row.get("matryoshka_trained") is False


def _whole(value: Any) -> str:
    return f"{value:,.0f}" if is_number(value) and value >= 10 else f"{value:.3g}" if is_number(value) else ""
