"""``embedft index``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from embedft.cli.options import force_option, json_option, precision_option


@click.group()
def index() -> None:
    """Build the index that search reads."""


@index.command()
@click.argument("corpus", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="Encoder: folder, hub name, or 'bundled'.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Directory of the index.")
@precision_option
@force_option
@json_option
def build(corpus: Path, model: str, output: Path, precision: Any, force: bool, as_json: bool) -> None:
    """Embed the documents of CORPUS and write an index.

    CORPUS is a JSONL file with the fields _id, title and text, or a folder that holds such a corpus.jsonl.

    \b
    embedft index build DATA/corpus.jsonl --model RUN/model -o INDEX
    """
    from embedft.cli.output import console, print_json
    from embedft.data import Fault, read_corpus
    from embedft.data.faults import report
    from embedft.encoder import Encoder
    from embedft.index import Index
    from embedft.index.store import require_writable

    require_writable(output, force=force)
    faults: list[Fault] = []
    documents = read_corpus(corpus / "corpus.jsonl" if corpus.is_dir() else corpus, faults)
    report(faults)
    encoder = Encoder.load(model, precision=precision)
    built = Index.build(documents, encoder, output, force=force, show_progress=True)
    if as_json:
        print_json(
            {
                "index": str(output),
                "documents": len(built),
                "left_out": len(faults),
                "dim": encoder.dim,
                "fingerprint": encoder.document_fingerprint,
                "factory": built.manifest["factory"],
            }
        )
        return
    out = console()
    out.print(f"{output}: {len(built)} documents, {encoder.dim} dimensions, exact search", markup=False)
    out.print(f'next: embedft search {output} "your query"', soft_wrap=True, markup=False)
