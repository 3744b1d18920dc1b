"""Errors of a similarity model: the worst pairs, and where cosines are too high or too low on the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.reports.forest import Estimate, forest
from embedft.reports.html import Html, own_text, shortened
from embedft.reports.page import Cell, folded, paragraph, table
from embedft.reports.run.examples import readings
from embedft.reports.run.figures import between, is_number, score, signed

SHORT = 240


def pairs(errors: dict[str, Any]) -> Iterator[str]:
    """Worst pairs, bias, negation."""
    yield from readings(errors)
    worst = errors.get("worst") or []
    if worst:
        yield "<h3>Worst pairs</h3>"
        yield paragraph("Their rank by cosine is farthest from their rank by score.")
        ranks = {"ranks too high": "ranks_too_high"}
        if any(is_number(pair.get("against_ranks_too_high")) for pair in worst):
            ranks["of the other model"] = "against_ranks_too_high"
        rows = [
            (
                own_text(shortened(pair.get("sentence1", ""), SHORT)),
                own_text(shortened(pair.get("sentence2", ""), SHORT)),
                Cell(score(pair.get("score"), 2), pair.get("score")),
                Cell(score(pair.get("cosine"), 2), pair.get("cosine")),
                *(Cell(signed(pair.get(name), 0), pair.get(name)) for name in ranks.values()),
            )
            for pair in worst
        ]
        head = ("sentence 1", "sentence 2", "score", "cosine", *ranks)
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
        rows.append(
            Estimate(
                f"{entry.get('label', '')} ({entry.get('pairs') or 0:,})", entry.get("residual"), low, high,
                f"{signed(entry.get('residual'))} ({between(low, high)})", "same", str(entry.get("by", "")),
            )
        )  # fmt: skip
    yield forest(
        rows,
        "share of all places that pairs stand too high, 95 % interval",
        ends=("← too little alike", "too much alike →"),
    )
    if any(is_number(entry.get("against")) for entry in bias):
        cells = [
            (
                entry.get("by"), entry.get("label"), entry.get("pairs"),
                *(Cell(signed(entry.get(name)), entry.get(name)) for name in ("against", "residual")),
            )
            for entry in bias
        ]  # fmt: skip
        head = ("by", "kind", "pairs", "other model", "this model")
        yield folded("Beside the other model", Html(table(head, cells, sortable=True)))


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
