"""``embedft data pairs``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.asking import Asking, asking_options
from embedft.cli.dataset import max_bad_option
from embedft.cli.options import force_option, json_option, names_in, precision_option, require_use

if TYPE_CHECKING:
    import numpy as np

    from embedft.data.derive import Derived, Document, PairReport
    from embedft.encoder import Encoder

DEFAULT = "title,heading,first,faq"
QUESTIONS = "questions"


@click.command()
@click.argument("documents", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="New folder of pairs.")
@click.option(
    "--strategies",
    default=DEFAULT,
    show_default=True,
    help="Any of title, heading, first, cloze, docstring, faq, link, questions, with commas.",
)
@click.option(
    "--questions", type=click.IntRange(1), default=3, show_default=True, help="A document, of an --endpoint's model."
)
@click.option("--model", default="bundled", show_default=True, help="Encoder of the round trip.")
@click.option(
    "--top-k",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    help="A pair stays if the encoder finds its document among so many; 0 keeps all.",
)
@click.option("--chunk-tokens", type=click.IntRange(16), help="Cut documents into parts of at most so many tokens.")
@asking_options
@max_bad_option
@precision_option
@force_option
@json_option
def pairs(
    documents: Path,
    output: Path,
    strategies: str,
    questions: int,
    model: str,
    top_k: int,
    chunk_tokens: int | None,
    asking: Asking,
    max_bad: float,
    precision: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Make training pairs out of documents without labels.

    DOCUMENTS is a corpus (BEIR folder, JSONL, CSV, ...), a file, a folder of PDF, HTML, Markdown, reStructuredText,
    text and Python files, or a pattern such as 'docs/**/*.md'; what is hidden below a folder is not read. Each strategy
    reads queries out of the documents themselves; `questions` are written by a language model behind --endpoint. Then
    near duplicates go, and the pairs whose document the encoder does not find (round trip).

    \b
    embedft data pairs docs/ -o PAIRS
    embedft data pairs docs/ -o PAIRS --strategies title,questions \\
        --endpoint http://localhost:8000/v1 --endpoint-model NAME
    embedft train --task retrieval --data PAIRS -o RUN
    """
    from embedft.artifacts import atomic_directory, require_free
    from embedft.cli.output import print_json
    from embedft.data.corpus import read_documents
    from embedft.data.derive import NAMES, as_rows, derive, drop_repeated, require_strategies, round_trip
    from embedft.data.extract import chunked
    from embedft.data.store import is_stored, write_manifest
    from embedft.encoder import Encoder
    from embedft.errors import DataError

    require_free(output, force=force, ours=is_stored)
    names = names_in("--strategies", strategies)
    require_strategies(names, (*NAMES, QUESTIONS))
    require_use(QUESTIONS in names, ("questions", *Asking.__dataclass_fields__), f"--strategies {QUESTIONS}")
    write = _writer(asking, output, questions, progress=not as_json) if QUESTIONS in names else None
    found = read_documents(documents, max_bad=max_bad)
    encoder = Encoder.load(model, precision=precision) if top_k or chunk_tokens else None
    if encoder and chunk_tokens:
        found = chunked(found, encoder.count_tokens, chunk_tokens)
    made, report = derive(found, [name for name in names if name != QUESTIONS])
    if write:
        made += write(found, report)
    made = drop_repeated(made, report)
    ranks = _ranks(made, found, encoder if top_k else None, show_progress=not as_json)
    kept = round_trip(made, ranks, report, top_k=max(top_k, 1))
    if not kept:
        raise DataError(
            f"{documents}: {len(found)} documents gave no pair by {strategies}.",
            hint=f"try other --strategies{', or a larger --top-k' if top_k else ''}.",
        )
    with atomic_directory(output, force=force, ours=is_stored) as staged:
        with (staged / "train.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in as_rows(kept))
        summary = {"documents": len(found), "pairs": len(kept), **report.as_dict()}
        write_manifest(staged, {"kind": "pairs", "from": str(documents), **summary})
    if as_json:
        print_json({"output": str(output), **summary})
        return
    _print(output, len(found), report)


def _writer(
    asking: Asking, output: Path, count: int, *, progress: bool
) -> Callable[[list[Document], PairReport], list[Derived]]:
    from embedft.data import written

    endpoint = asking.open(output)
    prompt = asking.prompt_or(written.QUESTIONS)

    def write(documents: list[Document], report: PairReport) -> list[Derived]:
        made = written.questions(documents, endpoint, report, count=count, prompt=prompt, show_progress=progress)
        if endpoint.said():
            click.echo(f"of {len(documents)} documents: {endpoint.said()}", err=True)
        return made

    return write


def _ranks(
    made: list[Derived], documents: list[Document], encoder: Encoder | None, *, show_progress: bool
) -> np.ndarray:
    """Rank of each pair's document for its query; all 1 without an encoder."""
    import numpy as np

    from embedft.data.retrieval import document_text
    from embedft.index.exact import rank_of

    if encoder is None or not made:
        return np.ones(len(made), np.int64)
    texts = [document_text(document.title, document.text) for document in documents]
    row_of = {document.id: row for row, document in enumerate(documents)}
    vectors = encoder.encode_documents(texts, show_progress=show_progress)
    queries = encoder.encode_queries([pair.anchor for pair in made], show_progress=show_progress)
    return rank_of(queries, vectors, np.array([row_of[pair.document] for pair in made]))


def _print(output: Path, documents: int, report: PairReport) -> None:
    from rich.table import Table

    from embedft.cli.output import console, print_table

    table = Table("strategy")
    for heading in ("made", *report.dropped, "kept"):
        table.add_column(heading, justify="right")
    for name, count in report.made.items():
        gone = [f"{counts[name]:,}" for counts in report.dropped.values()]
        table.add_row(name, f"{count:,}", *gone, f"{report.kept[name]:,}")
    out = console()
    print_table(out, table)
    out.print(f"{output}: {report.kept.total():,} pairs out of {documents:,} documents", markup=False)
