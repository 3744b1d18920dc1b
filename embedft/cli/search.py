"""``embedft search``."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.options import json_option, precision_option

if TYPE_CHECKING:
    from embedft.index import Index

# What MMR trades off where no number is given, as in LangChain and most vector stores.
TRADE_OFF = 0.5


@click.command()
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument("query", required=False)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits a query.")
@click.option(
    "--queries", type=click.Path(path_type=Path), help="A text file with one a line, or rows (JSONL, CSV) with text."
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    help="Such as lang=en, year>=2020, lang=en,de; several must all hold. Fields of the metadata, id, title.",
)
@click.option("--hybrid", is_flag=True, help="Rank by vectors and by words (BM25), and fuse both.")
@click.option("--mmr", is_flag=True, help="Hits that differ from one another, by maximal marginal relevance.")
@click.option(
    "--mmr-trade-off",
    type=click.FloatRange(0, 1),
    help=f"For --mmr, which it implies: 1 is relevance alone, 0 difference alone; by default {TRADE_OFF}.",
)
@click.option("--passages", is_flag=True, help="With --json: the passage of each hit too, and where its words stand.")
@click.option("--exact", is_flag=True, help="Search every vector, whatever the kind of index.")
@click.option("--model", help="Encoder of the queries; by default the one that built the index.")
@precision_option
@json_option
def search(
    index_path: Path,
    query: str | None,
    k: int,
    queries: Path | None,
    filters: tuple[str, ...],
    hybrid: bool,
    mmr: bool,
    mmr_trade_off: float | None,
    passages: bool,
    exact: bool,
    model: str | None,
    precision: Any,
    as_json: bool,
) -> None:
    """Find the documents of INDEX that answer QUERY.

    With --json, one JSON object a query: its hits with id, score, title, text and metadata, with --hybrid also bm25 and
    fused, with --passages also the passage with most of the query's words: its text, where in the hit's text it starts
    and ends, and the spans of the words within it. With neither a query nor --queries, it asks for queries until an
    empty line.

    \b
    embedft search INDEX "how do ferns reproduce" --filter lang=en --filter "year>=2020"
    """
    if query is not None and queries is not None:
        raise click.UsageError("give either a query or --queries FILE.")
    if passages and not as_json:
        raise click.UsageError("--passages goes with --json; without it they are shown as they are.")
    from embedft.index import Index

    opened = Index.open(index_path, model, precision=precision)
    if mmr and mmr_trade_off is None:
        mmr_trade_off = TRADE_OFF
    how = {"filter": list(filters), "hybrid": hybrid, "mmr_trade_off": mmr_trade_off, "exact": exact}
    shown = {"as_json": as_json, "passages": passages}
    if queries is not None:
        _answer(opened, queries_of_file(queries), k, how, **shown)
    elif query is not None:
        _answer(opened, [query], k, how, **shown)
    else:
        _ask(opened, k, how, **shown)


def _answer(opened: Index, texts: list[str], k: int, how: dict[str, Any], *, as_json: bool, passages: bool) -> None:
    from embedft.cli.output import print_hits, print_json
    from embedft.index.lexical import highlight

    for text in texts:
        require_text(text, "query", hint="say what to look for.")
    # Loading the model is no part of searching.
    _ = opened.encoder
    start = time.perf_counter()
    answers = opened.search(texts, k, **how)
    took_ms = round(1000 * (time.perf_counter() - start) / len(texts), 2)
    for text, hits in zip(texts, answers, strict=True):
        if as_json and not passages:
            print_json({"query": text, "hits": [hit.as_dict() for hit in hits], "took_ms": took_ms})
            continue
        found = [highlight(hit.text, text, words=opened.words) for hit in hits]
        if as_json:
            told = [{**hit.as_dict(), "passage": asdict(part)} for hit, part in zip(hits, found, strict=True)]
            print_json({"query": text, "hits": told, "took_ms": took_ms})
        else:
            print_hits(text, hits, found, k, filtered=bool(how["filter"]), documents=len(opened))


def _ask(opened: Index, k: int, how: dict[str, Any], *, as_json: bool, passages: bool) -> None:
    """Queries as they are typed, until an empty line or the end of the input."""
    from embedft.errors import DataError, EmbedftError

    shown = sys.stdin.isatty()
    if shown:
        click.echo(f"{len(opened)} documents; a query a line, an empty line ends.", err=True)
    while True:
        if shown:
            click.echo("> ", nl=False, err=True)
        try:
            line = sys.stdin.readline()
        except UnicodeDecodeError as error:
            raise DataError(f"the query is not UTF-8 text: {error}.", hint="convert it to UTF-8.") from error
        if not line.strip():
            return
        try:
            _answer(opened, [line.strip()], k, how, as_json=as_json, passages=passages)
        except EmbedftError as error:
            # The next query may be a better one; what is wrong with the options is wrong with every query.
            if not shown:
                raise
            click.echo(f"error: {error}", err=True)


def require_text(text: str, what: str, *, hint: str) -> None:
    """Raise DataError, with ``hint``, for a text, called ``what``, that says nothing, or that is no UTF-8."""
    from embedft.errors import DataError

    if not text.strip():
        raise DataError(f"the {what} is empty.", hint=hint)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        # From a command line of another encoding, or half a surrogate pair in JSON.
        raise DataError(f"the {what} is not UTF-8 text: {error}.", hint="convert it to UTF-8.") from error


def queries_of_file(path: Path) -> list[str]:
    """The queries of a file: one a line, or rows (JSONL, CSV and the like, told by the ending) with the field text.

    Raises:
        DataError: there is no such file, or it holds something else, or nothing.
    """
    from embedft.data.faults import FaultLog
    from embedft.data.rows import FORMATS, read_rows, row_format

    if row_format(path) in FORMATS:
        log = FaultLog(path)
        texts = []
        for line, row in read_rows(path, log):
            if isinstance(row.get("text"), str) and row["text"].strip():
                texts.append(row["text"])
            else:
                log.add("text is missing or empty", line)
        log.check('rows like {"text": "..."}', max_bad=0)
        return texts
    return lines_of_file(path, "query")


def lines_of_file(path: Path, what: str) -> list[str]:
    """The lines of a file that say something, one ``what`` each.

    Raises:
        DataError: there is no such file, it is no text, or it holds nothing.
    """
    from embedft.errors import DataError

    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.", hint="check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: {error}.", hint="convert it to UTF-8.") from error
    if not lines:
        raise DataError(f"{path}: holds no {what}.", hint=f"write one {what} a line.")
    return lines
