"""What the numbers of a geometry mean, in sentences that claim no more than they show.

What is usual was measured with the bundled encoder and all-MiniLM-L6-v2 (384 dimensions), beside an untrained encoder
of the same size; there is no test by which a model passes.

                            texts            trained                         untrained
    anisotropy              many subjects    0.02 to 0.08                    0.36
                            one subject      0.18 to 0.48                    0.55
    effective dimensions    many subjects    120 to 200 of 384               132
                            one subject      97 to 139 of 384
    first component                          0.03 to 0.09, 0.19 of 48 texts  0.08, 0.32
    hubness                                  0.3 to 4.2                      0.0 to 3.5

A hubness of 12.5 was the bundled encoder's on medquad, whose answers follow a few patterns; all-MiniLM-L6-v2 has 3.3
there, and finds more (nDCG@10 0.74 against 0.62).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SPREAD_OUT, NARROW = 0.15, 0.6
# Shares of the dimensions that there can be, and of the variance.
FEW_DIMENSIONS, ONE_DIRECTION = 0.1, 0.25
HUBS = 5.0
# Smaller differences of alignment and uniformity are not told, however sure: two decimals do not show them.
SMALL = 0.01
FEWER = 0.75


def reading(own: dict[str, Any], against: dict[str, Any] | None, difference: dict[str, Any] | None = None) -> list[str]:
    """Sentences about one model, and about what it has beside another.

    Args:
        own: numbers of `geometry`.
        against: of another model on the same texts, or None.
        difference: between the two, with intervals: only what lies beyond them is told.
    """
    if own["effective_dimensions"] is None:
        return [f"All {own['texts']:,} texts have the same vector: the model has collapsed, or the texts are equal."]
    sentences = [_cone(own), _dimensions(own), *_hubs(own, against)]
    if against is not None and difference is not None and against["effective_dimensions"] is not None:
        sentences += _beside(own, against, difference)
    return sentences


def _cone(own: dict[str, Any]) -> str:
    mean = own["anisotropy"]
    said = f"Two of these {own['texts']:,} texts have a cosine of {mean:.2f} on average"
    if mean < SPREAD_OUT:
        return f"{said}: the vectors point all round."
    if mean < NARROW:
        return f"{said}: usual where all texts are about one subject, and a narrow cone where they are not."
    return f"{said}: a narrow cone, in which cosines hardly differ; the model has collapsed, or the texts are alike."


def _dimensions(own: dict[str, Any]) -> str:
    found, possible = own["effective_dimensions"], max(min(own["dim"], own["texts"] - 1), 1)
    said = f"They vary in {found:.0f} effective dimensions of {own['dim']}"
    if possible < own["dim"]:
        said += f" ({possible} are possible with so few texts)"
    if own["first_component"] > ONE_DIRECTION:
        return f"{said}, and {100 * own['first_component']:.0f} % of the variance lies along one direction."
    if found < FEW_DIMENSIONS * possible:
        return f"{said}: few, so shorter vectors would do, or the model has collapsed in part."
    return f"{said}."


def _hubs(own: dict[str, Any], other: dict[str, Any] | None) -> Iterator[str]:
    if own["hubness"] is None or own["hubness"] <= HUBS:
        return
    beside = f"below {HUBS:.0f} is usual"
    if other is not None and other["hubness"] is not None:
        beside += f"; {other['hubness']:.1f} with the other model"
    yield (f"Some texts are near neighbours of unusually many others (hubness {own['hubness']:.1f}; {beside}).")


def _beside(own: dict[str, Any], other: dict[str, Any], difference: dict[str, Any]) -> Iterator[str]:
    apart, alike = _sign(difference, "alignment"), _sign(difference, "uniformity")
    uniform = f"uniformity {_both(own, other, difference, 'uniformity')}"
    where = {1: "farther apart", -1: "closer together"}
    if apart:
        # A higher uniformity is a closer crowd.
        others = {apart: "and so do all texts", -apart: f"while all texts lie {where[-apart]}"}
        rest = others.get(-alike, "which is not shown of all texts")
        aligned = f"alignment {_both(own, other, difference, 'alignment')}"
        yield f"Texts that belong together lie {where[apart]} than with the other model, {rest} ({aligned}; {uniform})."
    elif alike:
        yield f"All texts lie {where[-alike]} than with the other model ({uniform})."
    if own["effective_dimensions"] < FEWER * other["effective_dimensions"]:
        yield (
            f"They vary in fewer dimensions than with the other model, {own['effective_dimensions']:.0f} instead of "
            f"{other['effective_dimensions']:.0f}: what it was not trained on may be told apart less well."
        )


def _sign(difference: dict[str, Any], name: str) -> int:
    """1 or -1 where the interval of a difference lies on that side of 0 and two decimals show it, else 0."""
    ends = difference[f"{name}_ci"]
    if ends is None or abs(difference[name]) < SMALL:
        return 0
    return int(ends[0] > 0) - int(ends[1] < 0)


def _both(own: dict[str, Any], other: dict[str, Any], difference: dict[str, Any], name: str) -> str:
    said = f"{own[name]:.2f} instead of {other[name]:.2f}"
    ends = difference[f"{name}_ci"]
    return said if ends is None else f"{said}, a difference of {ends[0]:+.2f} to {ends[1]:+.2f}"
