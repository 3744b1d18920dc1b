"""What analyses found, as rich tables for people."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedft.cli.output import VERDICT_STYLES, console

if TYPE_CHECKING:
    from rich.console import Console

    from embedft.evaluation.several import Several

logger = logging.getLogger("embedft")

# Columns that a table of systems takes with lines around its cells.
NAMES_WIDTH, METRIC_WIDTH = 25, 16
LEAST_NAME = 8


def write_pages(folder: Path, *, card: bool = False) -> None:
    """Write ``report.html`` into a run or an evaluation and, with ``card``, the model's card into the run.

    Whatever goes wrong is told in the log and ends nothing: the scores that they show stand already.
    """
    from embedft.reports.run import write_report

    _try("report", write_report, folder)
    if card:
        from embedft.reports.card import write_card

        _try("model card", write_card, folder)


def _try(name: str, write: Callable[[Path], object], folder: Path) -> None:
    from embedft.errors import EmbedftError

    try:
        write(folder)
    except EmbedftError as error:
        logger.warning("%s: left out: %s", name, error.message)
    except OSError as error:
        logger.warning("%s: left out: it cannot be written: %s. 'embedft report %s' tries again.", name, error, folder)
    except Exception as error:  # a fault of ours, which must not end a training that has succeeded
        logger.warning(
            "%s: left out, by a fault of embedft (%s: %s); the scores stand. Please report it.",
            name, type(error).__name__, error,
        )  # fmt: skip
        logger.debug("where it happened:", exc_info=True)


def print_analysis(analysis: dict[str, Any]) -> None:
    """A table of each part that there is: ladder, guard, stress; with what they say in sentences."""
    printers = {"ladder": _print_ladder, "guard": _print_guard, "stress": _print_stress}
    for name, found in analysis.items():
        if found is not None:
            printers[name](console(), found)


def _print_ladder(out: Console, ladder: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("dimensions", "storage", title=_ladder_title(ladder), title_justify="left")
    for heading in ("score, 95 % interval", "kept", "MB a million", "queries a second"):
        table.add_column(heading, justify="right")
    for row in ladder["rows"]:
        chosen = row == ladder["cheapest"]
        cells = (
            str(row["dim"]), row["storage"], f"{row['score']:.4f}  {_ends(row)}", _shown(row["share"], "{:.1%}"),
            f"{row['mb_per_million']:,.0f}", _shown(row["qps"], "{:,.0f}"),
        )  # fmt: skip
        table.add_row(*(f"[bold]{cell}[/]" if chosen else cell for cell in cells))
    out.print(table)
    _say(out, ladder["reading"])


def _ladder_title(ladder: dict[str, Any]) -> str:
    title = f"Cost against {ladder['metric']}"
    if ladder["rows"] and ladder["rows"][0]["qps"] is not None:
        title += f"; queries a second of {ladder['documents']:,} documents, {ladder['batch']} at a time"
    return title


def _print_guard(out: Console, guard: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table("", title="Forgetting", title_justify="left")
    for heading in (guard["unit"], "before", "after", "difference, 95 % interval", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_row(
        f"{guard['metric']} on {escape(str(guard['data']))}", f"{guard['count']:,}", f"{guard['before']:.4f}",
        f"{guard['after']:.4f}", f"{guard['difference']:+.4f}  {_ends(guard, sign='+')}", _chance(guard["p_value"]),
        _verdict(guard["verdict"]),
    )  # fmt: skip
    out.print(table)
    _say(out, guard["reading"])


def _print_stress(out: Console, stress: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    other = stress["against"]
    title = f"Stress: {stress['metric']} {stress['score']:.4f} without it"
    title += f", {other['score']:.4f} of {escape(other['model'])}" if other else ""
    table = Table("stress", title=title, title_justify="left")
    for heading in ("score", *(["of the other"] if other else []), "lost, 95 % interval", "p (Holm)", "changed"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for row in stress["rows"]:
        beside = [f"{row['against']['score']:.4f}" if row.get("against") else "-"] if other else []
        table.add_row(
            row["label"], f"{row['score']:.4f}", *beside, f"{row['drop']:+.4f}  {_ends(row, sign='+')}",
            _chance(row["p_adjusted"]), f"{row['changed']:.0%}", _verdict(row["verdict"]),
        )  # fmt: skip
    out.print(table)
    for left in stress["left_out"]:
        out.print(f"[dim]{left['stress']}: not tried: {escape(left['reason'])}[/]", soft_wrap=True)
    _say(out, stress["reading"])


def _ends(row: dict[str, Any], *, sign: str = "") -> str:
    low, high = row["ci_low"], row["ci_high"]
    return "" if low is None or high is None else f"{low:{sign}.3f} .. {high:{sign}.3f}"


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)


def _chance(p_value: float | None) -> str:
    from embedft.evaluation.comparison import p_text

    return "-" if p_value is None else p_text(p_value)


def _verdict(verdict: str) -> str:
    style = VERDICT_STYLES.get(verdict)
    return f"[{style}]{verdict}[/]" if style else verdict


def _say(out: Console, reading: str | Sequence[str]) -> None:
    for sentence in [reading] if isinstance(reading, str) else reading:
        out.print(sentence, soft_wrap=True, markup=False)


def print_several(several: Several) -> None:
    """Systems by metrics, then the differences from the baseline, and what this many queries could show."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from embedft.evaluation.tables import DIFFERENCE_HEAD, difference_rows, heading_of

    out = console()
    out.print(heading_of(several), soft_wrap=True, markup=False)
    systems = several.as_dict()["systems"]
    roomy = out.width >= NAMES_WIDTH + METRIC_WIDTH * len(several.metrics)
    table = Table() if roomy else Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("system", overflow="fold", min_width=min(LEAST_NAME, max(map(len, several.names))))
    for metric in several.metrics:
        # Of many systems the letters take lines of their own, and neither names nor scores give way to them.
        table.add_column(metric, justify="right", overflow="fold", min_width=max(len(metric), len("0.000-1.000")))
    for system in systems:
        cells = [_cell(system["metrics"][metric]) for metric in several.metrics]
        table.add_row(system["letter"], escape(system["name"]), *cells)
    out.print(table)
    out.print(several.legend, soft_wrap=True, markup=False)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(DIFFERENCE_HEAD):
        last = place == len(DIFFERENCE_HEAD) - 1
        table.add_column(name, justify="left" if place < 2 or last else "right", no_wrap=place > 0, overflow="fold")
    for row in difference_rows(several):
        *cells, verdict = map(escape, row)
        table.add_row(*cells, _verdict(verdict))
    out.print(table)
    out.print(several.reading(several.metrics[0]), soft_wrap=True, markup=False)
    for each in several.differs:
        out.print(f"[bold yellow]note:[/] {escape(each)}.", soft_wrap=True)


def _cell(found: dict[str, object]) -> str:
    """The score, bold if it is the best, with the letters of those that it is better than, over its interval."""
    from embedft.evaluation.tables import superscript

    if found["score"] is None:
        return "-"
    shown = f"{found['score']:.4f}"
    shown = f"[bold]{shown}[/]" if found["best"] else shown
    letters = found["better_than"]
    shown += superscript(letters) if isinstance(letters, list) else ""
    if found["ci_low"] is None:
        return shown
    return f"{shown}\n[dim]{found['ci_low']:.3f}-{found['ci_high']:.3f}[/]"
