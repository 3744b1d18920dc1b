"""Plots of numbers against numbers as inline SVG: curves and points, with axes that people can read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from embedft.reports.html import shortened
from embedft.reports.page import figure, number

WIDTH, HEIGHT = 340, 150
LEFT, RIGHT, TOP, FOOT = 46, 10, 8, 20
TICKS = 4
Points = Sequence[tuple[float, float]]


class Axis:
    """Numbers, or their logarithms, onto pixels.

    Args:
        values: what must fit on it.
        start, end: pixels of the smallest and of the largest value.
        log: even steps are even factors; all values are above 0.
    """

    def __init__(self, values: Sequence[float], start: float, end: float, *, log: bool = False) -> None:
        self.low, self.high = min(values, default=0.0), max(values, default=1.0)
        self.log = log and self.low > 0
        if self.high - self.low <= 1e-8 * abs(self.high):
            spread = abs(self.low) * 0.1 or 1.0
            self.low, self.high = (self.low / 2, self.high * 2) if self.log else (self.low - spread, self.high + spread)
        self.start, self.end = start, end

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        scaled: Callable[[float], float] = math.log if self.log else float
        low, high = scaled(self.low), scaled(self.high)
        return self.start + (self.end - self.start) * (scaled(value) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values on it: powers of ten and what lies between, or multiples of 1, 2 or 5."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            factors = (1, 2, 5) if last - first <= 2 else (1,)
            found = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        else:
            rough = (self.high - self.low) / TICKS
            power = 10.0 ** math.floor(math.log10(rough))
            step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
            first = math.ceil(self.low / step - 1e-9)
            found = [place * step for place in range(first, first + 2 * TICKS + 2)]
        slack = 1e-9 * (self.low if self.log else self.high - self.low)
        rounded = [float(f"{value:.12g}") for value in found]
        return [value for value in rounded if self.low - slack <= value <= self.high + slack]


def curves(lines: Sequence[tuple[str, Points]], caption: str, *, strong: int | None = None) -> str:
    """A line for each named series of (x, y), the one at ``strong`` set off; a series of one point is a dot."""
    points = [point for _, series in lines for point in series]
    across, up = _axes([x for x, _ in points], [y for _, y in points])
    drawn = [grid(across, up)]
    order = [place for place in range(len(lines)) if place != strong] + ([] if strong is None else [strong])
    for place in order:
        name, series = lines[place]
        main = place == strong or len(lines) == 1
        kind = "main" if main else "other"
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in series)
        if len(series) > 1:
            drawn.append(f'<polyline points="{path}" class="line {kind}"><title>{escape(name)}</title></polyline>')
        elif series:
            drawn.append(_dot(across(series[0][0]), up(series[0][1]), name, kind=kind))
    return figure("".join(drawn), WIDTH, HEIGHT, caption)


def history(values: Sequence[tuple[float, float, str, bool]], best: Points, caption: str) -> str:
    """Points (x, y, what to say when pointed at, whether it is whole) and a line of the best so far."""
    across, up = _axes([x for x, *_ in values] + [x for x, _ in best], [y for _, y, *_ in values])
    stairs = _stairs(best)
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in stairs)
    line = f'<polyline points="{path}" class="line main"/>' if stairs else ""
    dots = "".join(_dot(across(x), up(y), said, kind=_dot_kind(whole)) for x, y, said, whole in values)
    return figure(grid(across, up) + line + dots, WIDTH, HEIGHT, caption)


def points(
    values: Sequence[tuple[Any, float, str, bool]], caption: str, *, log: bool = False, order: Sequence[str] = ()
) -> str:
    """Points (x, y, what to say when pointed at, whether it is whole).

    Args:
        values: x is a number, or a name if there is an ``order``.
        caption: what stands below.
        log: x in its logarithm.
        order: names that stand along x; others that occur follow.
    """
    heights = [y for _, y, *_ in values]
    if order:
        names = list(dict.fromkeys([*order, *(str(x) for x, *_ in values)]))
        across, up = _axes([-0.5, len(names) - 0.5], heights)
        places = [across(names.index(str(x))) for x, *_ in values]
        scale = grid(None, up) + "".join(
            f'<text x="{across(place):.1f}" y="{HEIGHT - FOOT + 14}" text-anchor="middle"><title>{escape(name)}</title>'
            f"{escape(shortened(name, 36 // len(names)))}</text>"
            for place, name in enumerate(names)
        )
    else:
        across, up = _axes([x for x, *_ in values], heights, log=log)
        places = [across(x) for x, *_ in values]
        scale = grid(across, up)
    dots = "".join(
        _dot(place, up(y), said, kind=_dot_kind(whole))
        for place, (_, y, said, whole) in zip(places, values, strict=True)
    )
    return figure(scale + dots, WIDTH, HEIGHT, caption)


def _axes(wide: Sequence[float], high: Sequence[float], *, log: bool = False) -> tuple[Axis, Axis]:
    return Axis(wide, LEFT + 4, WIDTH - RIGHT, log=log), Axis(high, HEIGHT - FOOT - 4, TOP)


def grid(across: Axis | None, up: Axis, *, width: int = WIDTH, height: int = HEIGHT, foot: int = FOOT) -> str:
    """Lines and figures at the ticks."""
    bottom, right = height - foot, width - RIGHT
    drawn = [f'<line x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/>']
    for value in up.ticks():
        y = up(value)
        drawn.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="faint"/>')
        drawn.append(f'<text x="{LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{tick(value)}</text>')
    for value in across.ticks() if across else ():
        x = across(value) if across else 0.0
        drawn.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{tick(value)}</text>')
    return "".join(drawn)


def tick(value: float) -> str:
    """A figure at an axis."""
    if 0 < abs(value) < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-") if abs(value) < 1e-4 else f"{value * 1e4:.3g}e-4"
    return f"{value:g}" if abs(value) < 1e5 else number(value)


def _dot(x: float, y: float, said: str, *, kind: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" class="dot {kind}"><title>{escape(said)}</title></circle>'


def _dot_kind(whole: bool) -> str:
    return "main" if whole else "hollow"


def _stairs(series: Points) -> list[tuple[float, float]]:
    """A step function through points: it keeps a value until the next one."""
    found: list[tuple[float, float]] = []
    for x, y in series:
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return found
