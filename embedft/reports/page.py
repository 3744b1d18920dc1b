"""The frame of a page, its tables and its simplest plots; nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple

from embedft.reports.html import Html, breakable, element, join, shortened, told

PAGE_BEGIN = '<!doctype html>\n<html lang="en"><head><meta name="generator" content="embedft">'
WIDTH, HEIGHT, FOOT = 340, 130, 18
LABEL_WIDTH, ROW, LONGEST_NAME = 150, 18, 24
# Columns up to which a table is only as wide as it must be.
NARROW = 4
THEMES = (("", "as the system"), ("light", "light"), ("dark", "dark"))


class Section(NamedTuple):
    """A part of a page that the table of contents names.

    Attributes:
        name: its anchor, a word.
        title: its heading.
        body: what stands below.
    """

    name: str
    title: str
    body: Iterable[str]


class Cell(NamedTuple):
    """A cell of a table that is shown in another way than it is sorted.

    Attributes:
        shown: text or `Html`.
        value: what it is sorted by; a number stands on the right.
        kind: a class, for example ``better``.
    """

    shown: Any
    value: float | str | None = None
    kind: str = ""


def page(
    title: str,
    body: Iterable[str],
    *,
    sections: Sequence[Section] = (),
    data: Mapping[str, Any] | None = None,
) -> str:
    """A whole HTML document.

    A policy in it allows the page's own style and script by their hashes and nothing else: no request, no script that
    came in with a text.

    Args:
        title: heading and name of the window.
        body: what stands first.
        sections: what follows; with a table of contents if there are any.
        data: name -> JSON that the script reads.
    """
    style, script = asset("style.css"), asset("script.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    contents = [element("li", element("a", section.title, href=f"#{section.name}")) for section in sections]
    nav = element(
        "nav",
        element("details", element("summary", "Contents"), element("ol", contents), open=True),
        aria_label="contents",
    )
    parts = [
        element("section", element("h2", section.title, id=f"{section.name}-title"), Html("\n".join(section.body)),
                id=section.name, aria_labelledby=f"{section.name}-title")
        for section in sections
    ]  # fmt: skip
    blocks = [
        f'<script type="application/json" id="{escape(name)}">{json_block(value)}</script>'
        for name, value in (data or {}).items()
    ]
    return (
        f'{PAGE_BEGIN}<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{told(title)}</title><style>{style}</style></head>\n<body>\n"
        + ('<a class="skip" href="#content">To the content</a>\n' if contents else "")
        + f'<div class="{"layout" if contents else "plain"}">\n<header>'
        + element("h1", title)
        + _theme_switch()
        + f'</header>\n{nav if contents else ""}<main id="content">\n'
        + "\n".join([*body, *parts])
        + "\n</main></div>\n"
        + "\n".join(blocks)
        + f'<script id="behaviour">{script}</script>\n</body></html>\n'
    )


@cache
def asset(name: str) -> str:
    """A file that comes with the package."""
    return (files("embedft.reports") / "assets" / name).read_text(encoding="utf-8")


def json_block(value: Any) -> str:
    """Compact JSON that may stand in a script element: no text in it can end the element.

    Raises:
        ValueError: a number in it is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _theme_switch() -> Html:
    options = [element("option", shown, value=value) for value, shown in THEMES]
    return element("label", "Colours ", element("select", options, id="theme"), class_="theme scripted")


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str = "",
    *,
    sortable: bool = False,
    filtered: str = "",
) -> str:
    """A table; numbers stand on the right, a last column named ``examples`` is set small.

    Args:
        head: names of the columns.
        rows: cells: text, numbers, None for what is missing, `Html`, or `Cell`.
        caption: what stands above.
        sortable: by a click or a key on a heading, where scripts run.
        filtered: what the field asks for that hides rows without its words, where scripts run; none if empty.
    """
    rows = [[value if isinstance(value, Cell) else _plain(value) for value in row] for row in rows]
    numeric = [
        any(isinstance(row[place].value, int | float) for row in rows)
        and all(isinstance(row[place].value, int | float | None) for row in rows)
        for place in range(len(head))
    ]

    def cell(place: int, value: Cell) -> Html:
        kinds = [value.kind, "number" if numeric[place] else "example" if head[place] == "examples" else ""]
        key = value.value if value.value is not None and str(value.value) != str(value.shown) else None
        direction = None if numeric[place] or isinstance(value.shown, Html) else "auto"
        shown = value.shown if isinstance(value.shown, Html) else breakable(str(value.shown))
        return element("td", shown, class_=" ".join(filter(None, kinds)) or None, data_v=key, dir=direction)

    def heading(place: int, name: str) -> Html:
        return element("th", name, scope="col", class_="number" if numeric[place] else None)

    top = element("tr", [heading(place, name) for place, name in enumerate(head)])
    body = Html("\n").join(element("tr", [cell(place, value) for place, value in enumerate(row)]) for row in rows)
    whole = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", top),
        element("tbody", Html(body)),
        class_=" ".join(filter(None, ["sortable" if sortable else "", "narrow" if len(head) <= NARROW else ""]))
        or None,
        data_filter=filtered or None,
    )
    return element("div", whole, class_="wide")


def _plain(value: Any) -> Cell:
    if value is None:
        return Cell("")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(value, None if isinstance(value, Html) else str(value))
    return Cell(number(value), value) if math.isfinite(value) else Cell("")


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
        short = shortened(name, LONGEST_NAME)
        length = (WIDTH - LABEL_WIDTH - 50) * value / max(top, 1e-9)
        parts.append(
            f'<text x="{LABEL_WIDTH - 6}" y="{y + 12}" text-anchor="end">'
            f"<title>{told(name)}</title>{told(short)}</text>"
            f'<rect x="{LABEL_WIDTH}" y="{y + 2}" width="{max(length, 0.5):.1f}" height="{ROW - 5}"/>'
            f'<text x="{LABEL_WIDTH + length + 4:.1f}" y="{y + 12}">{number(value)}</text>'
        )
    more = f", the {most} most frequent of {len(values)}" if len(values) > most else ""
    return figure("".join(parts), WIDTH, max(len(shown), 1) * ROW + 4, caption + more)


def figure(inner: str, width: int, height: int, caption: str, *, title: str = "", kind: str = "") -> Html:
    """A drawing with its caption below, and its title above if it has one."""
    drawn = Html(
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{told(f"{title}: {caption}" if title else caption)}">{inner}</svg>'
    )
    heading = element("p", title, class_="figure-title") if title else None
    return element("figure", heading, drawn, element("figcaption", caption), class_=kind or None)


def paragraph(*parts: Any, kind: str = "") -> Html:
    """A paragraph of text and `Html`."""
    return element("p", *parts, class_=kind or None)


def folded(summary: Any, *inner: Any, opened: bool = False, kind: str = "") -> Html:
    """What opens by a click or a key."""
    return element("details", element("summary", summary), join(inner), open=opened, class_=kind or None)
