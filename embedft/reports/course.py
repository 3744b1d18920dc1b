"""The course of a number over the steps of a training."""

from __future__ import annotations

from collections.abc import Sequence

from embedft.reports.html import Html, told
from embedft.reports.page import figure
from embedft.reports.plots import FOOT, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, grid

# Points from which on the running mean is drawn over the values, and the share of them that it spans.
MANY, SPAN = 24, 12
# Points of a line at most: more cannot be told apart at this width.
DRAWN = 400
# Pixels between two names that can both be read.
LETTERS = 12
Points = Sequence[tuple[float, float]]


def course(
    lines: Sequence[tuple[str, Points]],
    title: str,
    caption: str,
    *,
    level: tuple[str, float] | None = None,
    mark: tuple[str, float] | None = None,
    reach: float | None = None,
) -> Html:
    """A figure with a line for each named series of (step, value), the first one set off.

    Args:
        lines: of the same unit; noisy ones of many steps also get their running mean.
        title: above it.
        caption: what is drawn.
        level: name and height of a dashed line.
        mark: name and step of an upright line.
        reach: last step of the axis, so that figures beside each other have one.
    """
    values = [y for _, series in lines for _, y in series] + ([level[1]] if level else [])
    steps = [x for _, series in lines for x, _ in series]
    across = Axis([*steps, *([0.0, reach] if reach is not None else [])], LEFT + 4, WIDTH - RIGHT)
    up = Axis(values, HEIGHT - FOOT - 4, TOP + 4)
    drawn = [grid(across, up)]
    taken: list[float] = []
    for place, (name, series) in enumerate(lines):
        kind = f"series-{place}"
        noisy = len(series) >= MANY and len(lines) == 1
        drawn.append(_line(series, name, across, up, f"{kind} faint" if noisy else kind))
        if noisy:
            drawn.append(_line(running_mean(series), f"{name}, running mean", across, up, kind))
        if len(lines) > 1:
            y = up(series[-1][1]) - 5
            # Below the line where another name stands already.
            y += 16 if any(abs(y - other) < LETTERS for other in taken) else 0
            taken.append(y)
            drawn.append(_text(across(series[-1][0]), y, name, "end"))
    if level is not None:
        y = up(level[1])
        drawn.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="zero"/>')
        drawn.append(_text(LEFT + 4, y - 4 if y > TOP + 16 else y + 12, level[0], "start"))
    if mark is not None:
        x = across(mark[1])
        drawn.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - FOOT}" class="mark"/>')
        anchor, shift = ("end", -4) if x > WIDTH / 2 else ("start", 4)
        crowded = level is not None and up(level[1]) < TOP + 24
        drawn.append(_text(x + shift, HEIGHT - FOOT - 6 if crowded else TOP + 6, mark[0], anchor))
    return figure("".join(drawn), WIDTH, HEIGHT, caption, title=title)


def running_mean(series: Points) -> list[tuple[float, float]]:
    """The mean of the values around each step, over a twelfth of the series."""
    reach = max(len(series) // SPAN // 2, 1)
    found = []
    for place, (x, _) in enumerate(series):
        near = [y for _, y in series[max(place - reach, 0) : place + reach + 1]]
        found.append((x, sum(near) / len(near)))
    return found


def thinned(series: Points) -> list[tuple[float, float]]:
    """The series, or, of a long one, the lowest and the highest value of each stretch: peaks stay."""
    if len(series) <= DRAWN:
        return list(series)
    size = -(-len(series) * 2 // DRAWN)
    found: list[tuple[float, float]] = []
    for start in range(0, len(series), size):
        stretch = series[start : start + size]
        found += sorted({min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])})
    return found


def _line(series: Points, name: str, across: Axis, up: Axis, kind: str) -> str:
    if len(series) == 1:
        x, y = series[0]
        return f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5" class="dot {kind}"/>'
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in thinned(series))
    dots = ""
    if len(series) < MANY:
        dots = "".join(
            f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="2.5" class="dot {kind}"><title>step {x:g}: {y:.4g}'
            "</title></circle>"
            for x, y in series
        )
    return f'<polyline points="{path}" class="line {kind}"><title>{told(name)}</title></polyline>{dots}'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="strong">{told(text)}</text>'
