"""The page of ``embedft data check``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.data.check import NOT_LOOKED_FOR, Report
from embedft.reports.page import bars, histogram, page, table


def data_page(report: Report) -> str:
    """HTML: what is wrong first, then each split with its lengths, labels, scripts and scores."""
    return page(f"Data check: {report.path}", _body(report))


def _body(report: Report) -> Iterator[str]:
    share = f" ({report.bad / report.rows:.1%})" if report.rows else ""
    leaks = sum(leak.count for leak in report.leakage or () if leak.severe)
    leakage = "leakage was not looked for" if report.leakage is None else f"{leaks:,} judged rows leak"
    yield (
        f'<p class="verdict">{report.kind}: {report.rows:,} rows, {report.bad:,} bad{share}; '
        f"{leakage}.{f' Scores on {report.scale}.' if report.scale else ''}</p>"
    )
    yield "<h2>Rows left out</h2>"
    yield _faults(report, left_out=True) or "<p>None.</p>"
    yield "<h2>Rows that stay, but should be looked at</h2>"
    yield _faults(report, left_out=False) or "<p>None.</p>"
    yield "<h2>Leakage</h2>"
    if report.leakage:
        rows = [
            (leak.kind, leak.split, leak.count, f"{leak.share:.1%}", " / ".join(leak.examples))
            for leak in report.leakage
        ]
        yield table(("kind", "judged split", "rows", "share", "examples"), rows)
    else:
        yield f"<p>Not looked for: {NOT_LOOKED_FOR}.</p>" if report.leakage is None else "<p>None was found.</p>"
    for name, described in report.splits.items():
        yield f"<h2>{name}: {described['rows']:,} rows</h2>"
        yield from _split(described)


def _faults(report: Report, *, left_out: bool) -> str:
    rows = [
        (finding.kind, finding.file, finding.count, " / ".join(finding.examples[:3]))
        for finding in report.faults
        if finding.left_out == left_out
    ]
    return table(("kind", "where", "rows", "examples"), rows) if rows else ""


def _split(described: dict[str, Any]) -> Iterator[str]:
    columns = described.get("columns", {})
    if columns:
        head = ("column", "texts", "empty", "unit", "median", "95th percentile", "longest", "cut", "scripts")
        yield table(head, [_column_row(name, column) for name, column in columns.items()])
    if "duplicates" in described:
        counted = ", ".join(f"{count:,} {kind}" for kind, count in described["duplicates"].items())
        yield f"<p>Repeated rows: {counted}.</p>"
    if "needed_by_no_query" in described:
        yield f"<p>{described['needed_by_no_query']:,} documents answer no judged query.</p>"
    if "queries" in described:
        positive = described["queries_with_a_positive"]
        yield f"<p>{described['queries']:,} queries, {positive:,} with a relevant document.</p>"
    yield '<div class="plots">'
    for name, column in columns.items():
        edges = column["histogram"]["edges"]
        yield histogram(column["histogram"]["counts"], edges[0], edges[-1], f"{name}: {column['unit']} a text")
    if "scores" in described:
        yield histogram(described["scores"]["counts"], 0, 1, "scores, from 0 to 1")
    if "labels" in described:
        yield bars(described["labels"], "rows a label")
    yield "</div>"


def _column_row(name: str, column: dict[str, Any]) -> tuple[Any, ...]:
    lengths = column["lengths"]
    cut = "" if column["truncated"] is None else f"{column['truncated']:.1%}"
    scripts = ", ".join(f"{script.lower()} {share:.0%}" for script, share in column["scripts"].items())
    return (
        *(name, column["texts"], column["empty"], column["unit"]),
        *(lengths["median"], lengths["p95"], lengths["max"], cut, scripts),
    )
