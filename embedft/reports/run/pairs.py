"""Errors of a similarity model: the worst pairs, and where cosines are too high or too low on the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.reports.forest import Estimate, forest
from embedft.reports.html import own_text
from embedft.reports.page import Cell, paragraph, table
from embedft.reports.run.examples import readings
from embedft.reports.run.figures import between, is_number, score, shortened, signed

SHORT = 240


def pairs(errors: dict[str, Any]) -> Iterator[str]:
    """Worst pairs, bias, negation."""
    yield from readings(errors)
    worst = errors.get("worst") or []
    if worst:
        yield "<h3>Worst pairs</h3>"
        yield paragraph("Their rank by cosine is farthest from their rank by score.")
        rows = [
            (
                own_text(shortened(pair.get("sentence1", ""), SHORT)),
                own_text(shortened(pair.get("sentence2", ""), SHORT)),
                Cell(score(pair.get("score"), 2), pair.get("score")),
                Cell(score(pair.get("cosine"), 2), pair.get("cosine")),
                Cell(signed(pair.get("ranks_too_high"), 0), pair.get("ranks_too_high")),
            )
            for pair in worst
        ]
        head = ("sentence 1", "sentence 2", "score", "cosine", "ranks too high")
        yield table(head, rows, sortable=True, filtered="Filter the worst pairs")
    yield from _bias(errors.get("bias") or [])
    yield from _negation(errors.get("negation"))


def _bias(bias: list[dict[str, Any]]) -> Iterator[str]:
    if not bias:
        return
    yield "<h3>Bias</h3>"
    yield paragraph(
        "Pairs of a kind that the model finds more alike (right) or less alike (left) than their scores say."
    )
    rows = []
    for entry in bias:
        low, high = entry.get("ci_low"), entry.get("ci_high")
        kind = "worse" if is_number(low) and is_number(high) and (low > 0 or high < 0) else "same"
        rows.append(
            Estimate(
                f"{entry.get('label', '')} ({entry.get('pairs') or 0:,})", entry.get("residual"), low, high,
                f"{signed(entry.get('residual'))} ({between(low, high)})", kind, str(entry.get("by", "")),
            )
        )  # fmt: skip
    yield forest(
        rows,
        "share of all places that pairs stand too high, 95 % interval",
        ends=("← too little alike", "too much alike →"),
    )


def _negation(negation: dict[str, Any] | None) -> Iterator[str]:
    if not negation:
        return
    yield "<h3>Negation</h3>"
    if negation.get("reading"):
        yield paragraph(str(negation["reading"]))
    examples = negation.get("examples") or []
    if examples:
        names = list(dict.fromkeys(key for example in examples for key in example))
        rows = [[shortened(value, SHORT) if isinstance(value := example.get(name), str) else value for name in names]
                for example in examples]  # fmt: skip
        yield table(names, rows, sortable=True)
