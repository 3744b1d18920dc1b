"""Each query, pair or text: one model against the other, who gained and who lost, and the table of all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from embedft.reports.cloud import Cloud, Dot, cloud
from embedft.reports.html import Html, element, shortened
from embedft.reports.page import figure, paragraph, table
from embedft.reports.plots import Axis, grid
from embedft.reports.run.figures import plural, score, signed
from embedft.reports.run.rows import Floats, Rows, View

# Cells of a scatter along each axis: rows that fall into one are one dot, as large as they are many.
CELLS = 90
SMALLEST, LARGEST = 3.0, 10.0
# Rows of the table that stands where no script runs, on each side.
SHOWN = 10
PROFILE_WIDTH, PROFILE_HEIGHT, PROFILE_FOOT = 420, 300, 34
SOURCE = "rows"


def queries(rows: Rows) -> Iterator[str]:
    """Figures, and the table that the script fills from the JSON named `SOURCE`."""
    view = rows.views[0]
    if rows.total > rows.count:
        which = "those that changed most" if rows.compared else "the first ones"
        yield paragraph(f"{rows.count:,} of {plural(rows.total, rows.unit)} are shown: {which}.")
    figures = list(_figures(rows, view))
    if figures:
        yield Html('<div class="plots">') + Html("\n").join(figures) + Html("</div>")
    yield element("div", class_="rows scripted", data_source=SOURCE)
    yield element("noscript", Html("".join(_static(rows, view))))


def _figures(rows: Rows, view: View) -> Iterator[Html]:
    columns, unit, (other, own) = view.columns, rows.unit, rows.sides
    if f"cosine {own}" in columns:
        reach = (*columns[f"cosine {other}"].tolist(), *columns[f"cosine {own}"].tolist())
        for name in rows.sides:
            dots = _dots(columns["score"], columns[f"cosine {name}"], np.zeros(rows.count))
            yield cloud(
                dots, f"cosine {name} over the given score; a dot is one pair or, larger, many",
                Cloud(title=name.capitalize(), names=("given score, 0 to 1", "cosine"), reach=(min(reach), max(reach))),
            )  # fmt: skip
    elif "cosine" in columns:
        dots = _dots(columns["score"], columns["cosine"], np.zeros(rows.count))
        yield cloud(dots, "cosine over the given score", Cloud(names=("given score, 0 to 1", "cosine")))
    elif f"right {own}" in columns:
        before, after = (
            np.where(columns[f"right {name}"] > 0, 1, -1) * columns[f"probability {name}"] for name in rows.sides
        )
        yield cloud(
            _dots(before, after, view.gains),
            f"how sure each answer was: above 0 a right one, below 0 a wrong one; top left {own} alone is right",
            Cloud(title=f"Sureness, {other} and {own}", names=rows.sides, diagonal=True),
        )
    elif other in columns:
        yield cloud(
            _dots(columns[other], columns[own], view.gains),
            f"a dot is one of the {unit} or, larger, many with the same scores; above the line {own} is better",
            Cloud(title=f"{view.name}, {other} and {own}", names=rows.sides, diagonal=True),
        )
    if view.gains.any() and f"right {own}" not in columns:
        yield _profile(view, unit)


def _dots(x: Floats, y: Floats, gains: Floats) -> list[Dot]:
    """Rows in the same place as one dot, the large ones behind."""
    known = np.isfinite(x) & np.isfinite(y)
    if not known.any():
        return []
    places = [np.round(CELLS * (side - side[known].min()) / max(np.ptp(side[known]), 1e-9)) for side in (x, y)]
    found: dict[tuple[float, float, float], list[int]] = defaultdict(list)
    for row in np.flatnonzero(known).tolist():
        found[places[0][row], places[1][row], float(np.sign(gains[row]))].append(row)
    most = max(map(len, found.values()))
    dots = []
    for (_, _, sign), members in sorted(found.items(), key=lambda entry: -len(entry[1])):
        radius = SMALLEST + (LARGEST - SMALLEST) * ((len(members) - 1) / max(most - 1, 9)) ** 0.5
        kind = "better" if sign > 0 else "worse" if sign < 0 else "main"
        centre = members[0] if len(members) == 1 else members
        dots.append(
            Dot(float(np.mean(x[centre])), float(np.mean(y[centre])), kind=kind, radius=round(radius, 1), rows=members)
        )
    return dots


def _profile(view: View, unit: str) -> Html:
    """The gains in order: how many became better or worse, and by how much."""
    gains = np.sort(view.gains)[::-1]
    across = Axis([0.0, float(len(gains))], 50, PROFILE_WIDTH - 16)
    up = Axis([*gains.tolist(), 0.0], PROFILE_HEIGHT - PROFILE_FOOT - 8, 14)
    drawn = [grid(across, up, width=PROFILE_WIDTH, height=PROFILE_HEIGHT, foot=PROFILE_FOOT)]
    for kind, side in (("better", np.maximum(gains, 0)), ("worse", np.minimum(gains, 0))):
        if not side.any():
            continue
        steps = np.unique(np.linspace(0, len(side) - 1, 300).astype(int)).tolist()
        edge = " ".join(f"{across(step):.1f},{up(side[step]):.1f} {across(step + 1):.1f},{up(side[step]):.1f}"
                        for step in steps)  # fmt: skip
        drawn.append(
            f'<polygon points="{across(0):.1f},{up(0):.1f} {edge} {across(len(side)):.1f},{up(0):.1f}" class="{kind}"/>'
        )
    drawn.append(f'<line x1="50" x2="{PROFILE_WIDTH - 16}" y1="{up(0):.1f}" y2="{up(0):.1f}" class="zero"/>')
    counts = [(int((gains > 0).sum()), "better"), (int((gains == 0).sum()), "same"), (int((gains < 0).sum()), "worse")]
    drawn.append(
        f'<text x="{PROFILE_WIDTH}" y="{PROFILE_HEIGHT - 4}" text-anchor="end">{unit} in order of the gain →</text>'
    )
    what = "ranks nearer to where the score puts it" if "score" in view.columns else f"gain in {view.name}"
    said = ", ".join(f"{count:,} {name}" for count, name in counts)
    return figure(
        "".join(drawn), PROFILE_WIDTH, PROFILE_HEIGHT, f"{what} of each of the {unit}, the largest first: {said}",
        title="Gains and losses in order",
        kind="large",
    )  # fmt: skip


def _static(rows: Rows, view: View) -> Iterator[str]:
    """The rows that changed most, for readers without scripts."""
    order = np.argsort(-view.gains, kind="stable")
    chosen = np.unique(np.concatenate([order[:SHOWN], order[-SHOWN:]]))
    chosen = chosen[np.argsort(-view.gains[chosen], kind="stable")].tolist()
    yield paragraph(
        f"The table of all {rows.count:,} {rows.unit} needs scripts; these are the {len(chosen)} that changed most."
        if rows.compared
        else f"The table of all {rows.count:,} {rows.unit} needs scripts; these are some of them."
    )
    head = [*rows.texts, *view.columns]
    yield table(
        head,
        [
            [
                *(shortened(values[row], 120) for values in rows.texts.values()),
                *(
                    signed(values[row]) if name == "difference" else score(values[row])
                    for name, values in view.columns.items()
                ),
            ]
            for row in chosen
        ],
    )
