"""The frame of a page, its tables and its plots as inline SVG."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6b7b; --line: #d8dee5; --back: #fff; --bar: #2f6f9f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ee; --soft: #9aa8b6; --line: #35404c; --back: #14191f; --bar: #6fb1e0; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); max-width: 62rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; } h2 { margin-top: 2.5rem; } h3 { margin-bottom: .3rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--soft); }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.example { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
.plots { display: flex; flex-wrap: wrap; gap: 1.5rem; } figure { margin: 0; }
figcaption { color: var(--soft); font-size: .85rem; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } svg rect { fill: var(--bar); }
svg line { stroke: var(--line); } svg { display: block; max-width: 100%; }
.wide { overflow-x: auto; } p.verdict { font-size: 1.1rem; }
"""
PAGE_BEGIN = '<!doctype html>\n<html lang="en"><head><meta name="generator" content="embedft">'
WIDTH, HEIGHT, FOOT = 340, 130, 18
LABEL_WIDTH, ROW = 150, 18


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document."""
    return (
        f'{PAGE_BEGIN}<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], caption: str = "") -> str:
    """A table; numbers stand on the right, a last column named ``examples`` is set small."""
    rows = [list(row) for row in rows]
    numeric = [bool(rows) and all(isinstance(row[place], int | float) for row in rows) for place in range(len(head))]

    def cell(place: int, value: Any) -> str:
        if numeric[place]:
            return f'<td class="number">{number(value)}</td>'
        kind = ' class="example"' if head[place] == "examples" else ""
        return f"<td{kind}>{escape(str(value))}</td>"

    def heading(place: int, name: str) -> str:
        kind = ' class="number"' if numeric[place] else ""
        return f'<th scope="col"{kind}>{escape(name)}</th>'

    top = "".join(heading(place, name) for place, name in enumerate(head))
    body = "".join(f"<tr>{''.join(cell(place, value) for place, value in enumerate(row))}</tr>\n" for row in rows)
    shown = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{shown}<thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>'


def number(value: float) -> str:
    """``1,234`` or ``0.123``."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def histogram(counts: Sequence[int], low: float, high: float, caption: str) -> str:
    """Bars over a range."""
    most = max([*counts, 1])
    step = WIDTH / max(len(counts), 1)
    bars = "".join(
        f'<rect x="{place * step + 0.5:.1f}" y="{HEIGHT * (1 - count / most):.1f}" width="{max(step - 1, 1):.1f}" '
        f'height="{HEIGHT * count / most:.1f}"><title>{count:,}</title></rect>'
        for place, count in enumerate(counts)
    )
    axis = f'<line x1="0" y1="{HEIGHT}" x2="{WIDTH}" y2="{HEIGHT}"/>'
    ends = (
        f'<text x="0" y="{HEIGHT + 14}">{number(low)}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 14}" text-anchor="end">{number(high)}</text>'
    )
    return figure(bars + axis + ends, WIDTH, HEIGHT + FOOT, caption)


def bars(values: Mapping[str, float], caption: str, most: int = 20) -> str:
    """A horizontal bar a name, the ``most`` largest ones."""
    shown = sorted(values.items(), key=lambda item: -item[1])[:most]
    top = max([value for _, value in shown] or [1])
    parts = []
    for place, (name, value) in enumerate(shown):
        y = place * ROW
        short = name if len(name) <= 24 else name[:23] + "…"
        length = (WIDTH - LABEL_WIDTH - 50) * value / max(top, 1e-9)
        parts.append(
            f'<text x="{LABEL_WIDTH - 6}" y="{y + 12}" text-anchor="end">'
            f"<title>{escape(name)}</title>{escape(short)}</text>"
            f'<rect x="{LABEL_WIDTH}" y="{y + 2}" width="{max(length, 0.5):.1f}" height="{ROW - 5}"/>'
            f'<text x="{LABEL_WIDTH + length + 4:.1f}" y="{y + 12}">{number(value)}</text>'
        )
    more = f", the {most} most frequent of {len(values)}" if len(values) > most else ""
    return figure("".join(parts), WIDTH, max(len(shown), 1) * ROW + 4, caption + more)


def figure(inner: str, width: int, height: int, caption: str) -> str:
    """A drawing with its caption below."""
    return (
        f'<figure><svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(caption)}">{inner}</svg><figcaption>{escape(caption)}</figcaption></figure>'
    )
