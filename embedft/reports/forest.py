"""Values with their intervals below each other on one axis, at any width of the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from embedft.reports.html import Html, element
from embedft.reports.plots import Axis, tick

# Per cent of the track that stay free on each side.
MARGIN = 3.0


class Estimate(NamedTuple):
    """A value that may be chance.

    Attributes:
        label: what it is of.
        value: the estimate; None where there is none.
        low, high: its interval; None where there is none.
        shown: what stands on the right.
        kind: better, worse, same, or nothing.
        group: heading that it stands below; consecutive ones with the same share it.
    """

    label: str
    value: float | None
    low: float | None
    high: float | None
    shown: str
    kind: str = ""
    group: str = ""


def forest(
    rows: Sequence[Estimate], caption: str, *, zero: float | None = 0.0, ends: tuple[str, str] = ("", "")
) -> Html:
    """A dot and a line for each estimate.

    Args:
        rows: from top to bottom.
        caption: what the axis is.
        zero: where a dashed line stands: no difference; None: nowhere.
        ends: what the left and the right side of that line mean.
    """
    rows = [row._replace(value=_finite(row.value), low=_finite(row.low), high=_finite(row.high)) for row in rows]
    known = [value for row in rows for value in (row.value, row.low, row.high) if value is not None]
    axis = Axis([*known, *([zero] if zero is not None else [])], MARGIN, 100 - MARGIN)
    parts: list[Html] = []
    group = ""
    for row in rows:
        if row.group != group:
            group = row.group
            parts.append(element("div", group, class_="group"))
        parts.append(
            element(
                "div",
                element("span", row.label, class_="label", dir="auto"),
                _track(row, axis, zero),
                element("span", row.shown, class_="value"),
                class_=f"estimate {row.kind}".strip(),
            )
        )
    parts.append(_scale(axis, ends))
    return element("figure", element("div", parts, class_="forest"), element("figcaption", caption))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _track(row: Estimate, axis: Axis, zero: float | None) -> Html:
    drawn = ['<line x1="0" x2="100%" y1="50%" y2="50%" class="faint"/>']
    if zero is not None:
        drawn.append(f'<line x1="{axis(zero):.2f}%" x2="{axis(zero):.2f}%" y1="0" y2="100%" class="zero"/>')
    if row.low is not None and row.high is not None:
        low, high = axis(row.low), axis(row.high)
        drawn.append(f'<line x1="{low:.2f}%" x2="{high:.2f}%" y1="50%" y2="50%" class="interval"/>')
        for end in (low, high):
            drawn.append(f'<line x1="{end:.2f}%" x2="{end:.2f}%" y1="30%" y2="70%" class="interval"/>')
    if row.value is not None:
        drawn.append(f'<circle cx="{axis(row.value):.2f}%" cy="50%" r="4.5" class="dot"/>')
    return Html(f'<svg class="track" aria-hidden="true">{"".join(drawn)}</svg>')


def _scale(axis: Axis, ends: tuple[str, str]) -> Html:
    """Figures below the tracks, and what the sides mean."""
    drawn = [
        f'<text x="{axis(value):.2f}%" y="14" text-anchor="middle">{tick(value)}</text>'
        f'<line x1="{axis(value):.2f}%" x2="{axis(value):.2f}%" y1="0" y2="4"/>'
        for value in axis.ticks()
    ]
    svg = Html(f'<svg class="track scale" aria-hidden="true">{"".join(drawn)}</svg>')
    told = element("span", element("span", ends[0]), element("span", ends[1]), class_="ends") if any(ends) else None
    return element(
        "div", element("span", class_="label"), element("span", svg, told, class_="under"), class_="estimate"
    )
