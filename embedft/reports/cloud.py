"""Dots on two axes, which a pointer or the arrow keys go through where scripts run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from embedft.reports.html import Html, element, told
from embedft.reports.page import figure
from embedft.reports.plots import LEFT, RIGHT, TOP, Axis, grid

WIDTH, HEIGHT, FOOT = 420, 300, 34


class Dot(NamedTuple):
    """One dot.

    Attributes:
        x, y: where.
        tip: what is said when it is pointed at.
        kind: classes: better, worse, same, series-0 .. series-7, main.
        radius: in pixels.
        low, high: interval of y, if there is one.
        label: stands beside it.
        rows: numbers of the rows of the page's table that it stands for, instead of a tip.
    """

    x: float
    y: float
    tip: str = ""
    kind: str = "main"
    radius: float = 3.5
    low: float | None = None
    high: float | None = None
    label: str = ""
    rows: Sequence[int] = ()


class Cloud(NamedTuple):
    """How dots are laid out.

    Attributes:
        title: above the figure.
        names: of the axes.
        log: x in its logarithm.
        diagonal: both axes alike, with a line where x = y.
        axes: whether the figures of the axes mean something.
        reach: values that the upright axis must hold as well, so that figures side by side have one scale.
        joined: (class, dots) that a line goes through.
    """

    title: str = ""
    names: tuple[str, str] = ("", "")
    log: bool = False
    diagonal: bool = False
    axes: bool = True
    reach: Sequence[float] = ()
    joined: Sequence[tuple[str, Sequence[Dot]]] = ()


def cloud(dots: Sequence[Dot], caption: str, layout: Cloud = Cloud()) -> Html:  # noqa: B008 - a tuple
    """A figure of dots, those that lie behind first, with a caption."""
    wide = [dot.x for dot in dots]
    high = [value for dot in dots for value in (dot.y, dot.low, dot.high) if value is not None]
    high += layout.reach
    if layout.diagonal:
        wide = high = [*wide, *high]
    left = LEFT if layout.axes else RIGHT
    across = Axis(wide, left + 8, WIDTH - RIGHT - 6, log=layout.log)
    up = Axis(high, HEIGHT - FOOT - 8, TOP + 6)
    drawn = [grid(across, up, width=WIDTH, height=HEIGHT, foot=FOOT)] if layout.axes else []
    if layout.diagonal:
        ends = (across.low, across.high)
        drawn.append(
            f'<line x1="{across(ends[0]):.1f}" y1="{up(ends[0]):.1f}" x2="{across(ends[1]):.1f}" '
            f'y2="{up(ends[1]):.1f}" class="zero"/>'
        )
    for kind, series in layout.joined:
        path = " ".join(f"{across(dot.x):.1f},{up(dot.y):.1f}" for dot in series)
        drawn.append(f'<polyline points="{path}" class="line {kind}"/>')
    drawn += [_dot(dot, across, up) for dot in dots]
    drawn += _names(layout.names, left)
    plot = figure("".join(drawn), WIDTH, HEIGHT, caption, title=layout.title)
    return element("div", plot, class_="plot")


def _dot(dot: Dot, across: Axis, up: Axis) -> str:
    x, y = across(dot.x), up(dot.y)
    parts = []
    if dot.low is not None and dot.high is not None:
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{up(dot.low):.1f}" y2="{up(dot.high):.1f}" '
            f'class="interval {dot.kind}{"" if "chosen" in dot.kind else " faint"}"/>'
        )
    said = f' data-tip="{told(dot.tip)}"' if dot.tip else ""
    said += f' data-rows="{" ".join(map(str, dot.rows))}"' if dot.rows else ""
    parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{dot.radius:g}" class="dot {dot.kind}"{said}/>')
    if dot.label:
        right = x > WIDTH * 0.7
        anchor, shift = ("end", -dot.radius - 4) if right else ("start", dot.radius + 4)
        parts.append(
            f'<text x="{x + shift:.1f}" y="{y - dot.radius - 3:.1f}" text-anchor="{anchor}" class="strong">'
            f"{told(dot.label)}</text>"
        )
    return "".join(parts)


def _names(names: tuple[str, str], left: int) -> list[str]:
    drawn = []
    if names[0]:
        drawn.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">{told(names[0])} →</text>')
    if names[1]:
        drawn.append(f'<text x="{left + 4}" y="{TOP + 3}" text-anchor="start">↑ {told(names[1])}</text>')
    return drawn
