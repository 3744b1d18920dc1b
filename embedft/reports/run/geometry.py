"""How the vectors lie: figures of both models side by side, and a map of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from embedft.evaluation.geometry.projection import OTHERS
from embedft.reports.cloud import Cloud, Dot, cloud
from embedft.reports.html import Html, breakable, element, shortened
from embedft.reports.page import Cell, folded, paragraph, table
from embedft.reports.run.figures import between, is_number, score

MEANINGS = {
    "anisotropy": "mean cosine of two texts drawn at random; 0: they point everywhere",
    "uniformity": "log of the mean Gaussian potential (Wang and Isola 2020); lower: more evenly spread",
    "alignment": "mean squared distance of what belongs together; lower: nearer",
    "effective_dimensions": "directions that carry the variance",
    "participation_ratio": "another count of these directions",
    "rankme": "another count of these directions, by entropy (Garrido et al. 2023)",
    "first_component": "share of the variance along one direction",
    "hubness": "skewness of how often a text is among the nearest of others; 0: evenly",
    "dim": "dimensions of the vectors",
    "texts": "texts that were measured",
}
# Points of the map at most, characters of a text that is pointed at, groups that have a colour of their own.
POINTS, TIP, COLOURED = 2000, 120, 7
LISTED = 200


def geometry(found: dict[str, Any]) -> Iterator[str]:
    """Readings, the map, the figures."""
    reading = found.get("reading") or []
    for sentence in [reading] if isinstance(reading, str) else reading:
        yield paragraph(str(sentence))
    yield from _map(found.get("map") or {})
    yield from _figures(found.get("model") or {}, found.get("against") or {})


def _figures(model: dict[str, Any], against: dict[str, Any]) -> Iterator[str]:
    names = [name for name in model if is_number(model[name])]
    if not names:
        return
    head = ["", "this model", *(["other model"] if against else []), "meaning"]
    rows = [
        [
            name.replace("_", " "),
            *(_with_interval(side, name) for side in (model, against) if side),
            MEANINGS.get(name, ""),
        ]
        for name in names
    ]
    yield table(head, rows)


def _value(value: Any) -> Cell:
    return Cell(f"{value:,}" if isinstance(value, int) else score(value), value if is_number(value) else None)


def _with_interval(side: dict[str, Any], name: str) -> Cell:
    """A figure, with its 95 % interval where it has one."""
    value, ends = _value(side.get(name)), side.get(f"{name}_ci")
    return value._replace(shown=f"{value.shown} ({between(*ends)})") if ends else value


def _map(found: dict[str, Any]) -> Iterator[str]:
    points = [point for point in found.get("points") or [] if is_number(point.get("x")) and is_number(point.get("y"))]
    if not points:
        return
    points = points[:: -(-len(points) // POINTS)]
    groups = _groups(points)
    dots = [
        Dot(
            float(point["x"]), float(point["y"]),
            f"{point.get('group')}: {shortened(point.get('text', ''), TIP)}" if point.get("group") is not None
            else shortened(point.get("text", ""), TIP),
            f"series-{groups.get(str(point.get('group')), 7)} see-through", 3.0,
        )
        for point in points
    ]  # fmt: skip
    explained = [share for share in found.get("explained") or [] if is_number(share)]
    told = f"; the two directions carry {sum(explained):.0%} of the variance" if explained else ""
    yield '<div class="plots">'
    yield cloud(
        dots, f"{len(points):,} texts in two dimensions ({str(found.get('method', '')).upper()}){told}; "
        "near in the map need not be near in truth",
        Cloud(title="Map", axes=False),
    )  # fmt: skip
    if len(groups) > 1:
        named = [*list(groups)[:COLOURED], *([OTHERS] if len(groups) > COLOURED else [])]
        yield element(
            "ul",
            [
                element("li", element("span", class_=f"swatch series-{place}"), element("span", breakable(name)))
                for place, name in enumerate(named)
            ],
            class_="legend",
            aria_label="colours of the map",
        )
    yield "</div>"
    rows = [
        (str(point.get("group", "")), shortened(point.get("text", ""), TIP), _value(point["x"]), _value(point["y"]))
        for point in points[:: -(-len(points) // LISTED)]
    ]
    title = f"The map as a table ({len(rows)} of {len(points):,} texts)"
    inner = table(("group", "text", "x", "y"), rows, sortable=True, filtered="Filter the texts of the map")
    yield folded(title, Html(inner))


def _groups(points: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Group -> number of its colour, by frequency; those after `COLOURED`, and those that had none, share one."""
    counts: dict[str, int] = {}
    for point in points:
        group = str(point.get("group"))
        counts[group] = counts.get(group, 0) + 1
    order = sorted(counts, key=lambda group: (group == OTHERS, -counts[group]))
    return {group: min(place, COLOURED) for place, group in enumerate(order)}
