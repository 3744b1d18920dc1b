"""``embedft demo``: the whole path, offline, on text that every machine has."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from embedft.cli.options import force_option, json_option

if TYPE_CHECKING:
    from rich.console import Console

    from embedft.data import RetrievalData
    from embedft.evaluation import RetrievalEvaluation
    from embedft.index import Index
    from embedft.training import TrainResult

# Sized so that the whole demo ends within minutes on 2 cores.
SETTINGS = {
    "training": {"epochs": 1, "batch_size": 32, "max_length": 128, "eval_every": 16},
    "model": {"max_length": 256},
    "evaluation": {"dev_documents": 600},
}
SHOWN_HITS = 3
# Tells a folder of the demo from one of the user's.
MARKER = ".embedft-demo"


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("embedft-demo"), show_default=True,
              help="Directory for data, run and index.")  # fmt: skip
@click.option("--model", default="bundled", show_default=True, help="Encoder to start from.")
@force_option
@json_option
def demo(output: Path, model: str, force: bool, as_json: bool) -> None:
    """Fine-tune the bundled encoder on the documentation of the installed packages.

    Queries are the summary sentences of functions and classes, documents the rest of their docstrings. No network is
    used. Takes some minutes on 2 cores.
    """
    from rich.markup import escape

    from embedft.artifacts import require_free
    from embedft.cli.evidence import write_pages
    from embedft.cli.output import console, print_comparison, print_json
    from embedft.config import validate_config
    from embedft.data import write_beir
    from embedft.data.docstrings import docstring_data
    from embedft.encoder import Encoder
    from embedft.index import Index
    from embedft.training import train

    start = time.monotonic()
    require_free(output, force=force, ours=lambda path: (path / MARKER).is_file())
    # A model that is not there leaves no folder.
    Encoder.load(model)
    output.mkdir(parents=True, exist_ok=True)
    (output / MARKER).write_text("Made by 'embedft demo', which replaces data, run and index here with --force.\n")
    out = console()
    if not as_json:
        out.print("[bold]1. data:[/] reading the documentation of the installed packages")
    data = docstring_data()
    write_beir(data, output / "data", force=force)
    if not as_json:
        sizes = ", ".join(f"{split} {qrels.num_rows}" for split, qrels in data.qrels.items())
        out.print(f"   {data.corpus.num_rows} documents; queries: {sizes}; split by submodule")
        out.print(f"[bold]2. training[/] {escape(model)} on the train queries, judged on the test queries it never saw")
    values = {**SETTINGS, "data": {"path": output / "data"}, "model": {"name": model, **SETTINGS["model"]}}
    result = train(validate_config(values, source="demo"), output / "run", force=force, show_progress=True)
    write_pages(output / "run", card=True)
    encoder = Encoder.load(output / "run" / "model")
    index = Index.build(data.corpus, encoder, output / "index", force=force, show_progress=True)
    if as_json:
        print_json({**result.as_dict(), "index": str(index.path)})
        return
    print_comparison(result.evaluation, result.against, result.comparison)
    comparison = result.comparison[result.metric]
    out.print(
        f"[bold]3. verdict:[/] {comparison.verdict} ({result.metric} {result.against.metrics[result.metric]:.3f} -> "
        f"{result.evaluation.metrics[result.metric]:.3f}, p {'<' if comparison.p_value < 0.01 else '='} "
        f"{max(comparison.p_value, 0.01):.2f}, leakage: {sum(leak.severe for leak in result.leakage)} kinds found)"
    )
    out.print(
        "[bold]4. searches[/] of test queries, before and after: the largest gain, one at random, the largest loss"
    )
    for query_row in _examples(result):
        _show(out, data, result, index, query_row)
    _next_steps(out, output, time.monotonic() - start)


def _examples(result: TrainResult) -> list[int]:
    """Rows of the query that gained most, of one drawn at random, and of the one that lost most."""
    import numpy as np

    after, before = _scores(result)
    gains = after.per_query[result.metric] - before.per_query[result.metric]
    chance = int(np.random.default_rng(0).integers(len(gains)))
    return list(dict.fromkeys([int(gains.argmax()), chance, int(gains.argmin())]))


def _scores(result: TrainResult) -> tuple[RetrievalEvaluation, RetrievalEvaluation]:
    """What a retrieval run was judged by."""
    return cast("RetrievalEvaluation", result.evaluation), cast("RetrievalEvaluation", result.against)


def _show(out: Console, data: RetrievalData, result: TrainResult, index: Index, row: int) -> None:
    from rich.markup import escape
    from rich.table import Table

    tuned, base = _scores(result)
    query_id = tuned.query_ids[row]
    query = dict(zip(data.queries["id"].to_pylist(), data.queries["text"].to_pylist(), strict=True))[query_id]
    ranking = base.ranking
    before = [ranking.document_ids[document] for document in ranking.rows[row][:SHOWN_HITS]]
    after = [hit.id for hit in index.search([query], SHOWN_HITS)[0]]
    table = Table(title=f"[bold]{escape(query)}[/]", title_justify="left", expand=True)
    table.add_column("rank", width=4)
    for heading in ("before", "after"):
        table.add_column(heading, ratio=1, overflow="fold")
    for rank, pair in enumerate(zip(before, after, strict=True), start=1):
        table.add_row(str(rank), *(_name(document, document == query_id) for document in pair))
    out.print(table)


def _name(document: str, answer: bool) -> str:
    """``scipy: _continuous_distns.nct_gen`` of a qualified name; the right answer is marked."""
    package, *rest = document.split(".")
    name = f"{package}: {'.'.join(rest[-2:])}"
    return f"[bold green]{name} (answer)[/]" if answer else name


def _next_steps(out: Console, output: Path, seconds: float) -> None:
    out.print(
        f"\ndone in {seconds / 60:.1f} minutes. In {output}: data (BEIR format), run (model, report.html), index.",
        markup=False,
    )
    out.print("Now with your own data (corpus.jsonl, queries.jsonl, qrels/train.tsv, qrels/test.tsv):")
    for command in (
        "embedft train --task retrieval --data YOUR_DATA --model bundled -o RUN",
        "embedft index build YOUR_DATA/corpus.jsonl --model RUN/model -o INDEX",
        'embedft search INDEX "your query"',
    ):
        out.print(f"   [bold]{command}[/]", soft_wrap=True)
