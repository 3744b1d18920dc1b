"""All metrics: differences with their intervals, or, of one model alone, scores with theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.evaluation.comparison import has_own_wins, rule_text
from embedft.evaluation.tally import LOWER_IS_BETTER
from embedft.reports.forest import Estimate, forest
from embedft.reports.html import Html, element, join, own_text
from embedft.reports.page import Cell, paragraph, table
from embedft.reports.run.figures import KINDS, MISSING, badge, base_name, between, chance, is_number, score, signed
from embedft.reports.run.record import RunRecord


def comparison(record: RunRecord) -> Iterator[str]:
    """The forest of differences and the table; without another model the scores."""
    if record.comparison:
        yield from _compared(record)
    else:
        yield from _alone(record)
    if told := record.macro_note:
        yield paragraph(told)


def _compared(record: RunRecord) -> Iterator[str]:
    before, after = record.sides
    yield paragraph(
        "Each line is the difference between ", own_text(base_name(str(record.metrics.get("model", "")))),
        f" ({after}) and ", own_text(base_name(record.against)), f" ({before}) on the same {record.unit}",
        ", with its 95 % interval.",
    )  # fmt: skip
    yield paragraph(
        rule_text(record.comparison),
        " “Better” and “worse” need that p and an interval beside the dashed line, not one of both alone.",
    )  # fmt: skip
    sides = (
        (f"← {before} is better", f"{after} is better →"),
        (f"← {after} is better", f"{before} is better →"),
    )
    # Where less is better a difference to the left is a gain: these have an axis of their own.
    for lower, ends in zip((False, True), sides, strict=True):
        rows = [
            _estimate(name, value) for name, value in record.comparison.items() if (name in LOWER_IS_BETTER) == lower
        ]
        if rows:
            yield forest(rows, f"difference, {after} less {before}" + (" (less is better)" if lower else ""), ends=ends)
    yield _table(record)
    tests = sorted({str(value["test"]) for value in record.comparison.values() if value.get("test")})
    yield paragraph(f"Test: {'; '.join(tests) or 'paired randomisation'}. Intervals: paired bootstrap.", kind="small")


def _estimate(name: str, value: dict[str, Any]) -> Estimate:
    shown = f"{signed(value.get('difference'))} ({between(value.get('ci_low'), value.get('ci_high'))})"
    low, high = value.get("ci_low"), value.get("ci_high")
    return Estimate(
        name, _number(value.get("difference")), _number(low), _number(high), shown,
        KINDS.get(str(value.get("verdict")), "same"),
    )  # fmt: skip


def _table(record: RunRecord) -> str:
    extra = [
        (title, key)
        for title, key in (("effect size", "effect_size"), ("detectable", "detectable"))
        if any(is_number(value.get(key)) for value in record.comparison.values())
    ]
    head = ["metric", "verdict", *record.sides, "difference", "95 % interval", "p", *(title for title, _ in extra)]
    head.append("won / lost / same")
    rows = []
    for name, value in record.comparison.items():
        rows.append(
            [
                Cell(name, name, "name"),
                Cell(badge(value.get("verdict")), str(value.get("verdict"))),
                Cell(score(record.before.get(name), 4), _number(record.before.get(name))),
                Cell(score(record.values.get(name), 4), _number(record.values.get(name))),
                Cell(signed(value.get("difference"), 4), _number(value.get("difference"))),
                Cell(between(value.get("ci_low"), value.get("ci_high")), None, "interval"),
                Cell(_chances(value), _number(value.get("p_adjusted", value.get("p_value")))),
                *(_extra(value.get(key), key) for _, key in extra),
                Cell(_counts(name, value), None, "interval"),
            ]
        )
    return table(head, rows, sortable=True)


def _counts(name: str, value: dict[str, Any]) -> str:
    if not has_own_wins(name, value.get("tests") or {}):
        return MISSING
    return "/".join(f"{int(value.get(count) or 0):,}" for count in ("wins", "losses", "ties"))


def _extra(value: Any, key: str) -> Cell:
    return Cell(signed(value, 2) if key == "effect_size" else score(value, 4), _number(value))


def _chances(value: dict[str, Any]) -> Html | str:
    """The p-value, and below it what Holm's correction made of it, where it did."""
    shown = chance(value.get("p_value"))
    if not is_number(value.get("p_adjusted")):
        return shown
    return join([shown, element("br"), element("small", f"Holm {chance(value['p_adjusted'])}")])


def _alone(record: RunRecord) -> Iterator[str]:
    intervals = record.metrics.get("intervals") or {}
    rows, estimates = [], []
    for name, value in record.values.items():
        low, high = intervals.get(name) or (None, None)
        rows.append([name, Cell(score(value, 4), _number(value)), Cell(between(low, high, sign=False), None)])
        shown = score(value) + (f" ({between(low, high, sign=False)})" if is_number(low) else "")
        estimates.append(Estimate(name, _number(value), _number(low), _number(high), shown))
    yield paragraph(
        "No other model was scored: ", Html("<code>--against BASE</code>"), " tells whether this one is better."
    )
    if any(row.low is not None for row in estimates):
        yield forest(estimates, "score, 95 % interval", zero=None)
    yield table(["metric", "score", "95 % interval"], rows, sortable=True)


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None
