"""The page of ``embedft index info --plot``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from embedft.reports.page import page, table
from embedft.reports.plots import curves


def curve_page(index: Mapping[str, Any]) -> str:
    """HTML: the recall that an approximate index has at each point that was measured, over its speed.

    Args:
        index: what ``embedft index info --json`` prints.
    """
    return page(f"Recall and speed: {index['index']}", _body(index))


def _body(index: Mapping[str, Any]) -> Iterator[str]:
    recall, chosen = index["recall"], index["point"]
    yield (
        f'<p class="verdict">{index["kind"]} of {index["documents"]:,} documents: recall@{recall["at"]} '
        f"{recall['value']:.3f}, at least {recall['ci_low']:.3f} (95 %, {recall['queries']} queries), "
        f"{chosen['qps']:,.0f} queries a second.</p>"
    )
    points = sorted(index["curve"], key=lambda point: -point["qps"])
    lines = [
        ("recall", [(math.log10(point["qps"]), point["recall"]) for point in points]),
        ("lower bound", [(math.log10(point["qps"]), point["ci_low"]) for point in points]),
        ("chosen", [(math.log10(chosen["qps"]), chosen["recall"])]),
    ]
    caption = f"recall@{recall['at']} over the power of ten of queries a second, with the lower 95 % bound"
    yield curves(lines, caption, strong=0)
    yield "<h2>Points</h2>"
    head = ("effort", "candidates per hit", "recall", "at least", "queries a second", "ms of one query", "")
    yield table(
        head,
        [
            (
                point["point"]["effort"], f"{point['point']['factor']:g}", point["recall"], point["ci_low"],
                f"{point['qps']:,.0f}", point["latency_ms"], "chosen" if point == chosen else "",
            )
            for point in points
        ],
    )  # fmt: skip
