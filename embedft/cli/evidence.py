"""What analyses found, as rich tables for people."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedft.cli.output import VERDICT_STYLES, console, fits, print_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from embedft.evaluation.several import Several

logger = logging.getLogger("embedft")

# Columns of an interval, as it stands below a score.
INTERVAL = len("0.000-1.000")


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
    print_table(out, table)
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
    print_table(out, table)
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
    print_table(out, table)
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
    """Systems by metrics, then the differences from the baseline, and what this many queries could show.

    On a narrow terminal each score takes a row of its own, and each system has its own table of differences.
    """
    from rich.markup import escape

    from embedft.evaluation.tables import difference_rows, heading_of

    out = console()
    out.print(heading_of(several), soft_wrap=True, markup=False)
    scores = _score_table(several)
    print_table(out, scores if fits(out, scores) else _score_rows(several))
    out.print(several.legend, soft_wrap=True, markup=False)
    rows = difference_rows(several)
    tables = [_difference_table(rows)]
    if not fits(out, tables[0]):
        names = [several.names[system] for system in several.others]
        tables = [_difference_table([row for row in rows if row[0] == name], of=name) for name in names]
    for table in tables:
        print_table(out, table)
    out.print(several.reading(several.metrics[0]), soft_wrap=True, markup=False)
    for each in several.differs:
        out.print(f"[bold yellow]note:[/] {escape(each)}.", soft_wrap=True)


def _score_table(several: Several) -> Table:
    """A row a system, a column a metric: each score over its interval."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("system", overflow="fold")
    for metric in several.metrics:
        # Of many systems the letters take lines of their own, and the scores do not give way to them.
        table.add_column(metric, justify="right", overflow="fold", min_width=max(len(metric), INTERVAL))
    for system in several.as_dict()["systems"]:
        found = [system["metrics"][metric] for metric in several.metrics]
        cells = [f"{_score(one)}\n[dim]{_interval(one)}[/]" if _interval(one) else _score(one) for one in found]
        table.add_row(system["letter"], escape(system["name"]), *cells)
    return table


def _score_rows(several: Several) -> Table:
    """The same with a row for each score."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("system", overflow="fold")
    table.add_column("metric", no_wrap=True)
    table.add_column("score", overflow="fold")
    table.add_column("95 % interval", no_wrap=True)
    for system in several.as_dict()["systems"]:
        for metric in several.metrics:
            found = system["metrics"][metric]
            table.add_row(system["letter"], escape(system["name"]), metric, _score(found), _interval(found))
    return table


def _difference_table(rows: Sequence[Sequence[str]], *, of: str | None = None) -> Table:
    """The differences from the baseline of all systems, or ``of`` one, which the title names."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    from embedft.evaluation.tables import DIFFERENCE_HEAD

    title = f"{escape(of)}, from the baseline" if of is not None else None
    table = Table(box=SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")
    system, metric, *numbers, verdict = DIFFERENCE_HEAD
    if of is None:
        table.add_column(system, overflow="fold")
    table.add_column(metric, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=name != "effect size")
    table.add_column(verdict)
    for row in rows:
        name, *cells, found = map(escape, row)
        table.add_row(*([name] if of is None else []), *cells, _verdict(found))
    return table


def _score(found: dict[str, Any]) -> str:
    """A score, bold if it is the best, with the letters of those that it is better than."""
    from embedft.evaluation.tables import superscript

    if found["score"] is None:
        return "-"
    shown = f"{found['score']:.4f}"
    return (f"[bold]{shown}[/]" if found["best"] else shown) + superscript(found["better_than"])


def _interval(found: dict[str, Any]) -> str:
    return "" if found["ci_low"] is None else f"{found['ci_low']:.3f}-{found['ci_high']:.3f}"
