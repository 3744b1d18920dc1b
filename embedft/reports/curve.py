"""The page of ``embedft plan --find-lr``."""

from __future__ import annotations

import math
from collections.abc import Iterator

from embedft.reports.page import page, table
from embedft.reports.plots import curves
from embedft.training.planning.lr_finder import Sweep


def curve_page(sweep: Sweep) -> str:
    """HTML: the rate that is suggested, the curve of the loss, and its points."""
    return page("Learning rates", _body(sweep))


def _body(sweep: Sweep) -> Iterator[str]:
    yield f'<p class="verdict">{sweep.verdict}</p>'
    lines = [
        ("loss of each batch", [(math.log10(point.rate), point.loss) for point in sweep.points]),
        ("the same batch before training", [(math.log10(point.rate), point.untrained) for point in sweep.points]),
        ("smoothed", [(math.log10(point.rate), point.smoothed) for point in sweep.points]),
    ]
    rate = sweep.suggested
    if rate is not None:
        level = min(sweep.points, key=lambda point: abs(point.rate - rate)).smoothed
        lines.append((f"suggested: {rate:.2g}", [(math.log10(rate), level)]))
    yield curves(lines, "loss over the power of ten of the learning rate; smoothed, with the suggested rate", strong=2)
    rows = [
        (f"{point.rate:.3g}", point.loss, point.untrained, point.smoothed, "" if point.spread is None else point.spread)
        for point in sweep.points
    ]
    yield "<h2>Points</h2>"
    yield table(("learning rate", "loss", "before training", "smoothed", "spread"), rows)
