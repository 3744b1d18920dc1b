"""A confusion matrix as a heat map, of a few classes or of hundreds."""

from __future__ import annotations

from collections.abc import Sequence

from embedft.reports.html import Html, element, shortened, told

# Classes up to which each row and column has its name, and counts stand in the cells.
NAMED, COUNTED = 60, 16
# Pixels of the drawing's matrix; a cell is at most so large and at least so small.
SIDE, LARGEST, SMALLEST = 640, 38, 5
LETTER = 6.2
LONGEST = 24


def heat(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Html:
    """Rows are labels, columns predictions; a cell is as strong as its share of the row.

    Args:
        names: of the classes.
        matrix: texts, (classes, classes).
    """
    count = len(names)
    cell = max(min(SIDE / max(count, 1), LARGEST), SMALLEST)
    named = count <= NAMED
    left = (min(max(map(len, names)), LONGEST) * LETTER + 14) if named else 20.0
    side = cell * count
    width, height = left + side + 8, side + left + 8
    drawn = [f'<rect x="{left:.1f}" y="4" width="{side:.1f}" height="{side:.1f}" class="back"/>']
    for row, counts in enumerate(matrix):
        total = sum(counts)
        drawn += [
            _cell(names[row], names[column], found, total, (left + column * cell, 4 + row * cell), cell, row == column)
            for column, found in enumerate(counts)
            if found
        ]
    drawn += _labels(names, left, side, cell) if named else _sides(left, side)
    svg = Html(
        f'<svg width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
        f'aria-label="confusion of {count} classes; the tables below hold the same numbers">{"".join(drawn)}</svg>'
    )
    caption = (
        "rows: the label; columns: the prediction; strength: share of the label's texts. On the diagonal what is right"
    )
    if not named:
        caption += "; a pointer or the arrow keys tell the names"
    scroller = element("div", svg, class_="wide heat")
    return element("div", element("figure", scroller, element("figcaption", caption)), class_="plot")


def _cell(
    label: str, predicted: str, count: int, total: int, place: tuple[float, float], size: float, right: bool
) -> str:
    x, y = place
    share = count / max(total, 1)
    kind = "right" if right else "wrong"
    tip = (
        f"{label} taken for {predicted}: {count:,} of {total:,}"
        if not right
        else f"{label} right: {count:,} of {total:,}"
    )
    # A single mistake among many texts must be seen as well.
    strength = 0.3 + 0.7 * share**0.7
    gap = 0.5 if size < 10 else 1.0
    drawn = (
        f'<rect x="{x + gap / 2:.1f}" y="{y + gap / 2:.1f}" width="{size - gap:.1f}" height="{size - gap:.1f}" '
        f'class="cell {kind}" fill-opacity="{strength:.2f}" data-tip="{told(tip)}"/>'
    )
    if size >= SIDE / COUNTED * 0.5:
        strong = " on" if strength > 0.65 else ""
        drawn += (
            f'<text x="{x + size / 2:.1f}" y="{y + size / 2 + 4:.1f}" text-anchor="middle" class="count{strong}">'
            f"{count:,}</text>"
        )
    return drawn


def _labels(names: Sequence[str], left: float, side: float, cell: float) -> list[str]:
    drawn = []
    for place, name in enumerate(names):
        middle = (place + 0.5) * cell
        short = told(shortened(name, LONGEST))
        drawn.append(f'<text x="{left - 6:.1f}" y="{4 + middle + 4:.1f}" text-anchor="end">{short}</text>')
        x, y = left + middle, side + 14
        drawn.append(
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="end" transform="rotate(-60 {x:.1f} {y:.1f})">{short}</text>'
        )
    return drawn


def _sides(left: float, side: float) -> list[str]:
    middle = 4 + side / 2
    return [
        f'<text x="{left + side / 2:.1f}" y="{side + 20:.1f}" text-anchor="middle">prediction →</text>',
        f'<text x="12" y="{middle:.1f}" text-anchor="middle" transform="rotate(-90 12 {middle:.1f})">← label</text>',
    ]
