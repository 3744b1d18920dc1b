"""``embedft search``."""

from __future__ import annotations

import time
from pathlib import Path

import click

from embedft.cli.options import json_option


@click.command()
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument("query", required=False)
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="Hits a query.")
@click.option("--queries", type=click.Path(path_type=Path), help="One query a line, or JSONL with the field text.")
@click.option("--model", help="Encoder of the queries; by default the one that built the index.")
@json_option
def search(index_path: Path, query: str | None, k: int, queries: Path | None, model: str | None, as_json: bool) -> None:
    """Find the documents of INDEX that answer QUERY.

    With --queries and --json, one JSON object a line.
    """
    if (query is None) == (queries is None):
        raise click.UsageError("give either a query or --queries FILE.")
    from embedft.cli.output import print_hits, print_json
    from embedft.index import Index

    texts = [query] if query is not None else _read_queries(queries)  # type: ignore[arg-type]  # one of them is given
    opened = Index.open(index_path, model)
    start = time.perf_counter()
    answers = opened.search(texts, k)
    took_ms = round(1000 * (time.perf_counter() - start) / len(texts), 2)
    for text, hits in zip(texts, answers, strict=True):
        if as_json:
            print_json({"query": text, "hits": [hit.as_dict() for hit in hits], "took_ms": took_ms})
        else:
            print_hits(text, hits, k)


def _read_queries(path: Path) -> list[str]:
    from embedft.data.faults import FaultLog
    from embedft.data.rows import read_rows
    from embedft.errors import DataError

    if path.suffix == ".jsonl":
        log = FaultLog(path)
        texts = []
        for line, row in read_rows(path, log):
            if isinstance(row.get("text"), str) and row["text"].strip():
                texts.append(row["text"])
            else:
                log.add("text is missing or empty", line)
        log.check('rows like {"text": "..."}', max_bad=0)
        return texts
    try:
        texts = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text: {error}.", hint="convert it to UTF-8.") from error
    if not texts:
        raise DataError(f"{path}: holds no query.", hint="write one query a line.")
    return texts
