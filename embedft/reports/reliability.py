"""How sure a classifier is against how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embedft.reports.cloud import FOOT, HEIGHT, WIDTH
from embedft.reports.html import Html, element, told
from embedft.reports.page import figure
from embedft.reports.plots import LEFT, RIGHT, TOP, Axis, grid


def reliability(bins: Sequence[dict[str, Any]], calibrated: Any, uncalibrated: Any) -> Html:
    """The diagram: a bar a bin of confidence, as high as the share that is right; on the line it is honest.

    Args:
        bins: of `embedft.evaluation.calibration.reliability`: low, high, count, confidence, accuracy.
        calibrated: expected calibration error, None if unknown.
        uncalibrated: the same without the temperature.
    """
    across, up = Axis([0.0, 1.0], LEFT + 8, WIDTH - RIGHT - 6), Axis([0.0, 1.0], HEIGHT - FOOT, TOP + 6)
    total = sum(int(entry.get("count") or 0) for entry in bins)
    drawn = [grid(across, up, width=WIDTH, height=HEIGHT, foot=FOOT)]
    for entry in bins:
        count, right = int(entry.get("count") or 0), entry.get("accuracy")
        if not count or right is None:
            continue
        low, high = across(float(entry["low"])), across(float(entry["high"]))
        tip = (
            f"sure by {entry['low']:.2f} to {entry['high']:.2f}: {count:,} texts, {right:.0%} right, "
            f"mean confidence {float(entry.get('confidence') or 0):.2f}"
        )
        drawn.append(
            f'<rect x="{low + 1:.1f}" y="{up(right):.1f}" width="{max(high - low - 2, 1):.1f}" '
            f'height="{up(0) - up(right):.1f}" class="bar" fill-opacity="{0.25 + 0.75 * (count / total) ** 0.5:.2f}" '
            f'data-tip="{told(tip)}"/>'
        )
        if entry.get("confidence") is not None:
            x = across(float(entry["confidence"]))
            drawn.append(f'<circle cx="{x:.1f}" cy="{up(right):.1f}" r="3" class="dot main"/>')
    drawn.append(
        f'<line x1="{across(0):.1f}" y1="{up(0):.1f}" x2="{across(1):.1f}" y2="{up(1):.1f}" class="zero"/>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 4}" text-anchor="end">confidence →</text>'
        f'<text x="{LEFT + 12}" y="{TOP + 3}">↑ share that is right</text>'
    )
    said = "below the line it is too sure; strong bars hold most texts"
    if calibrated is not None:
        said += f". Expected calibration error {calibrated:.3f}"
        if uncalibrated is not None:
            said += f", without calibration {uncalibrated:.3f}"
    return element("div", figure("".join(drawn), WIDTH, HEIGHT, said, title="Confidence and accuracy"), class_="plot")
