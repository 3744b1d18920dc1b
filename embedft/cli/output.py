"""Results on standard output: rich tables for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Column, Table

    from embedft.evaluation import Comparison, Evaluation
    from embedft.index import Hit
    from embedft.index.lexical import Passage

VERDICT_STYLES = {"better": "bold green", "worse": "bold red", "no difference": "yellow"}
# A terminal would follow the control codes of a text (C0, DEL and C1): move, clear, send.
CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), "\ufffd") | dict.fromkeys(map(ord, "\t\n\r\f\v"), " ")
# Columns of running text where no terminal bounds it.
WIDE = 106
UNBOUNDED = 1_000_000
LEAST_FOLDED = 8


def print_json(value: Any) -> None:
    """One JSON object on one line; null where a number is none or infinite."""
    ascii_only = not str(sys.stdout.encoding).lower().startswith("utf")
    try:
        shown = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
    except ValueError:
        # Few answers have such a number, and most commands start faster without the evaluation.
        from embedft.artifacts import without_nan

        shown = json.dumps(without_nan(value), ensure_ascii=ascii_only, allow_nan=False)
    click.echo(shown)


def without_controls(text: str) -> str:
    """``text`` of the same length on one line, with a space or U+FFFD for each control code."""
    return text.translate(CONTROLS)


def console() -> Console:
    """Standard output; where it is not a terminal, wide enough for running text (`print_table` widens it further)."""
    from rich.console import Console

    # A text of the user's may hold what rich takes for the name of an emoji.
    plain: dict[str, Any] = {"highlight": False, "emoji": False}
    out = Console(**plain)
    return out if out.is_terminal else Console(**plain, width=max(out.width, WIDE))


def fits(out: Console, table: Table) -> bool:
    """Whether a table can be printed without cutting a number; where it is narrow, its columns get widths for that.

    A column that folds gives way down to its least width, or to `LEAST_FOLDED`, another one down to its longest word,
    and one that does not wrap never. Where ``out`` is no terminal, it becomes as wide as the table.
    """
    options = out.options.update(max_width=UNBOUNDED)
    whole = out.measure(table, options=options).maximum
    if not out.is_terminal:
        out.width = max(out.width, whole)
    if whole <= out.width:
        return True
    ranges = [_range(out, column) for column in table.columns]
    given = sum(most - least for least, most in ranges)
    spare = out.width - (whole - given)
    if spare < 0:
        return False
    for column, (least, most) in zip(table.columns, ranges, strict=True):
        column.width = least + (most - least) * spare // given
    return True


def _range(out: Console, column: Column) -> tuple[int, int]:
    """The least and the most width that a column of a table has use for."""
    options = out.options.update(max_width=UNBOUNDED)
    sizes = [out.measure(cell, options=options) for cell in (column.header, *column.cells)]
    most = max(size.maximum for size in sizes)
    if column.no_wrap:
        return most, most
    if column.overflow == "fold":
        return min(most, column.min_width or LEAST_FOLDED), most
    return max(size.minimum for size in sizes), most


def print_table(out: Console, table: Table) -> None:
    """Print a table whole; where the terminal is too narrow for it, each row as lines of ``heading: cell``."""
    if fits(out, table):
        out.print(table)
        return
    if table.title:
        out.print(table.title, soft_wrap=True)
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for column, cell in zip(table.columns, row, strict=True):
            if cell:
                out.print(f"{column.header}: " if column.header else "", cell, sep="", soft_wrap=True)
        out.print()


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
    print_table(out, table)
    if evaluation.count == 1:
        out.print("One alone says nothing of others: there is no interval.")


def print_comparison(evaluation: Evaluation, against: Evaluation, comparison: dict[str, Comparison]) -> None:
    """One row a metric: both scores, the difference with its interval, the p-value, wins/losses/ties, the verdict.

    Below it stands what the verdicts stand on.
    """
    from embedft.evaluation.comparison import rule_text

    out = console()
    whole = _comparison_table(evaluation, against, comparison, counts=True)
    table = whole if fits(out, whole) else _comparison_table(evaluation, against, comparison, counts=False)
    out.print(
        f"{evaluation.model} (after) against {against.model} (before): {_judged_on(evaluation)}",
        soft_wrap=True,
        markup=False,
    )
    print_table(out, table)
    if len(comparison) > 1:
        out.print(rule_text(comparison, shown="before"), soft_wrap=True, markup=False)


def _comparison_table(
    evaluation: Evaluation, against: Evaluation, comparison: dict[str, Comparison], *, counts: bool
) -> Table:
    """With wins, losses and ties, or without them and the lines around the cells, for a narrow terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from embedft.evaluation.comparison import p_text

    table = Table() if counts else Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    for heading in ("before", "after", "difference, 95 % interval", "p", *(["win/loss/tie"] if counts else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for name, value in comparison.items():
        table.add_row(
            name,
            f"{against.metrics[name]:.4f}",
            f"{evaluation.metrics[name]:.4f}",
            f"{value.difference:+.3f}  {value.ci_low:+.3f} .. {value.ci_high:+.3f}",
            p_text(value.p_value),
            *([_counts(name, value)] if counts else []),
            f"[{VERDICT_STYLES[value.verdict]}]{value.verdict}[/]",
        )
    return table


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
    print_table(console(), table)


def print_hits(query: str, hits: list[Hit], passages: list[Passage], k: int, *, filtered: bool, documents: int) -> None:
    """Rank, score, id, title, and the passage of each hit that holds most of the query's words, these set off."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"[bold]{escape(without_controls(query))}[/]", show_lines=False)
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("id", overflow="fold", max_width=40)
    table.add_column("text")
    for rank, (hit, passage) in enumerate(zip(hits, passages, strict=True), start=1):
        # One sign for each: the spans stay where they are.
        shown = Text(without_controls(passage.text))
        for start, end in passage.spans:
            shown.stylize("bold yellow", start, end)
        for cut, before in ((passage.start > 0, True), (passage.end < len(hit.text), False)):
            if cut:
                shown = Text.assemble("... ", shown) if before else Text.assemble(shown, " ...")
        if hit.title:
            shown = Text.assemble((without_controls(hit.title), "bold"), "  ", shown)
        table.add_row(str(rank), f"{hit.score:.3f}", escape(without_controls(hit.id)), shown)
    out = console()
    out.print(table)
    if len(hits) < k:
        why = "pass the filter" if filtered else "are in the index"
        out.print(
            f"({len(hits)} hits: no more documents {why})"
            if filtered or len(hits) >= documents
            else f"({len(hits)} hits)"
        )
