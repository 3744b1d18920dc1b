"""What was forgotten: a general set, or one of the user's own, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.reports.forest import Estimate, forest
from embedft.reports.page import paragraph, table
from embedft.reports.run.figures import (
    KINDS,
    base_name,
    between,
    guard_name,
    is_number,
    plural,
    score,
    signed,
    with_chance,
)


def guard(found: dict[str, Any], anchor: dict[str, Any]) -> Iterator[str]:
    """The reading, the difference with its interval, and the sweep over shares of the new weights if there was one."""
    metric = str(found.get("metric", "spearman"))
    if found:
        if found.get("reading"):
            yield paragraph(str(found["reading"]))
        low, high = found.get("ci_low"), found.get("ci_high")
        value = found.get("difference")
        count, unit = found.get("count", found.get("pairs")), str(found.get("unit", "pairs"))
        judged = f" on {plural(int(count), unit)} of {base_name(str(found.get('data', '')))}" if count else ""
        if is_number(value):
            shown = f"{signed(value)} ({between(low, high)})"
            kind = KINDS.get(str(found.get("verdict")), "same")
            told = f"{score(found.get('before'))} before, {score(found.get('after'))} after"
            yield forest(
                [Estimate(f"{metric}, {guard_name(found)}", value, low, high, shown, kind)],
                f"difference in {metric}{judged}: {told}; {with_chance(found.get('p_value'))}",
                ends=("← forgotten", "gained →"),
            )
    if anchor.get("curve"):
        yield "<h3>Weights between old and new</h3>"
        rows = [
            (point.get("share"), round(point["dev"], 4), round(point["general"], 4),
             "kept" if point.get("share") == anchor.get("share") else "")
            for point in anchor["curve"]
        ]  # fmt: skip
        head = ("share of the new weights", f"{anchor.get('metric', '')} on dev", "what must be kept, Spearman", "")
        yield table(head, rows)
