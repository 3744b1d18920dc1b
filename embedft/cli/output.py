"""Results on standard output: rich tables for people, JSON for scripts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

    from embedft.evaluation import Comparison, Evaluation
    from embedft.index import Hit
    from embedft.index.lexical import Passage

VERDICT_STYLES = {"better": "bold green", "worse": "bold red", "no difference": "yellow"}
LINE_BREAKS = dict.fromkeys(map(ord, "\t\n\r\f\v"), " ")
# Columns that the whole comparison needs; a narrower terminal gets it without wins, losses and ties.
WIDE = 106


def print_json(value: Any) -> None:
    """One JSON object on one line; null where a number is none or infinite."""
    try:
        shown = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:
        # Few answers have such a number, and most commands start faster without the evaluation.
        from embedft.evaluation.evaluation import without_nan

        shown = json.dumps(without_nan(value), ensure_ascii=False, allow_nan=False)
    click.echo(shown)


def console() -> Console:
    """Standard output; wide enough for every table where it is not a terminal."""
    from rich.console import Console

    # A text of the user's may hold what rich takes for the name of an emoji.
    plain: dict[str, Any] = {"highlight": False, "emoji": False}
    out = Console(**plain)
    return out if out.is_terminal else Console(**plain, width=max(out.width, WIDE))


def print_evaluation(evaluation: Evaluation, intervals: Mapping[str, Sequence[float | None]]) -> None:
    """One row a metric: its value and, where it has one, the interval."""
    from rich.table import Table

    table = Table("metric")
    for heading in ("score", "95 % interval"):
        table.add_column(heading, justify="right")
    for name, value in evaluation.metrics.items():
        ends = [end for end in intervals.get(name, ()) if end is not None]
        table.add_row(name, f"{value:.4f}", " .. ".join(f"{end:.3f}" for end in ends))
    out = console()
    out.print(f"{evaluation.model}: {_judged_on(evaluation)}", soft_wrap=True, markup=False)
    out.print(table)
    if evaluation.count == 1:
        out.print("One alone says nothing of others: there is no interval.")


def print_comparison(evaluation: Evaluation, against: Evaluation, comparison: dict[str, Comparison]) -> None:
    """One row a metric: both scores, the difference with its interval, the p-value, wins/losses/ties, the verdict.

    Below it stands what the verdicts stand on.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from embedft.evaluation.comparison import p_text, rule_text

    out = console()
    wide = out.width >= WIDE
    table = Table() if wide else Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    headings = ["before", "after", "difference, 95 % interval", "p", *(["win/loss/tie"] if wide else [])]
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for name, value in comparison.items():
        table.add_row(
            name,
            f"{against.metrics[name]:.4f}",
            f"{evaluation.metrics[name]:.4f}",
            f"{value.difference:+.3f}  {value.ci_low:+.3f} .. {value.ci_high:+.3f}",
            p_text(value.p_value),
            *([_counts(name, value)] if wide else []),
            f"[{VERDICT_STYLES[value.verdict]}]{value.verdict}[/]",
        )
    out.print(
        f"{evaluation.model} (after) against {against.model} (before): {_judged_on(evaluation)}",
        soft_wrap=True,
        markup=False,
    )
    out.print(table)
    if len(comparison) > 1:
        out.print(rule_text(comparison, shown="before"), soft_wrap=True, markup=False)


def _counts(name: str, value: Comparison) -> str:
    from embedft.evaluation.comparison import has_own_wins

    return f"{value.wins}/{value.losses}/{value.ties}" if has_own_wins(name, value.tests) else "-"


def _judged_on(evaluation: Evaluation) -> str:
    from embedft.evaluation.significance import number_of

    return f"{evaluation.data}, split {evaluation.split}, {number_of(evaluation.count, evaluation.unit)}"


def print_anchor(anchor: dict[str, Any]) -> None:
    """One row a share of the new weights, with its scores; the one that is kept is marked."""
    from rich.table import Table

    table = Table("share of the new weights", f"{anchor['metric']} on dev", "general set, Spearman", "")
    for point in anchor["curve"]:
        kept = "kept" if point["share"] == anchor["share"] else ""
        table.add_row(f"{point['share']:g}", f"{point['dev']:.4f}", f"{point['general']:.4f}", kept)
    console().print(table)


def print_hits(query: str, hits: list[Hit], passages: list[Passage], k: int, *, filtered: bool, documents: int) -> None:
    """Rank, score, id, title, and the passage of each hit that holds most of the query's words, these set off."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"[bold]{escape(query)}[/]", show_lines=False)
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold", max_width=40)
    table.add_column("text")
    for rank, (hit, passage) in enumerate(zip(hits, passages, strict=True), start=1):
        # One space for each: the spans stay where they are.
        shown = Text(passage.text.translate(LINE_BREAKS))
        for start, end in passage.spans:
            shown.stylize("bold yellow", start, end)
        for cut, before in ((passage.start > 0, True), (passage.end < len(hit.text), False)):
            if cut:
                shown = Text.assemble("... ", shown) if before else Text.assemble(shown, " ...")
        if hit.title:
            shown = Text.assemble((hit.title, "bold"), "  ", shown)
        table.add_row(str(rank), f"{hit.score:.3f}", escape(hit.id), shown)
    out = console()
    out.print(table)
    if len(hits) < k:
        why = "pass the filter" if filtered else "are in the index"
        out.print(
            f"({len(hits)} hits: no more documents {why})"
            if filtered or len(hits) >= documents
            else f"({len(hits)} hits)"
        )
