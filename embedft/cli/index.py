"""``embedft index``: build an index and change it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from embedft.cli.dataset import max_bad_option
from embedft.cli.inspecting import info, path_argument, rollback, verify, versions
from embedft.cli.options import force_option, json_option, precision_option

if TYPE_CHECKING:
    import pyarrow as pa

    from embedft.index.writing import Change

logger = logging.getLogger("embedft")
# Documents that a map of vectors is fitted on.
MAPPED_SAMPLE = 10_000


class Bytes(click.ParamType[int]):
    """A number of bytes: 500MB, 2GB, 1073741824."""

    name = "size"
    units: ClassVar = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        import re

        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?\s*", str(value), re.I)
        if found is None:
            self.fail(f"{value!r} is no size; write 500MB or 2GB.", param, ctx)
        size = float(found[1]) * self.units[found[2].upper()]
        if math.isinf(size):
            self.fail(f"{str(value)[:40]!r}... is no size; write 500MB or 2GB.", param, ctx)
        return int(size)


class Milliseconds(click.ParamType[float]):
    """A time in milliseconds: 5ms, 0.5s, 5."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The time in milliseconds."""
        import re

        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s)?\s*", str(value), re.I)
        if found is None or float(found[1]) == 0 or math.isinf(float(found[1])):
            self.fail(f"{str(value)[:40]!r} is no time; write 5ms or 0.5s.", param, ctx)
        return float(found[1]) * (1000 if (found[2] or "").lower() == "s" else 1)


@click.group()
def index() -> None:
    """Build the index that search reads, change it, and look at it."""


for command in (info, verify, versions, rollback):
    index.add_command(command)


@index.command()
@click.argument("corpus", type=click.Path(path_type=Path))
@click.option("--model", required=True, help="Encoder: folder, hub name, or 'bundled'.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Directory of the index.")
@click.option("--recall", type=float, default=0.95, show_default=True, help="Least share of exact search's hits.")
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Hits that recall is measured for.")
@click.option("--memory", type=Bytes(), help="Most memory that the approximate index may hold, such as 500MB.")
@click.option("--latency", type=Milliseconds(), help="Longest time of one query on this machine, such as 5ms.")
@click.option(
    "--kind",
    default="auto",
    show_default=True,
    help="flat, hnsw, hnsw-fp16, hnsw-sq8, ivf-sq8, ivf-pq, ivf-rabitq, binary, truncated; auto: by size and limits.",
)
@click.option(
    "--queries",
    type=click.Path(path_type=Path),
    help="Held-out queries to tune on: a text file with one a line, or rows (JSONL, CSV) with text.",
)
@click.option(
    "--language", default="english", show_default=True, help="Of the words of hybrid search; none to leave them."
)
@click.option("--no-lexical", is_flag=True, help="Keep no words: no hybrid search.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of samples and training.")
@click.option("--keep", type=click.IntRange(1), default=2, show_default=True, help="Versions that stay on the disk.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write the curve of recall and speed to an HTML file.")
@max_bad_option
@precision_option
@force_option
@json_option
def build(
    corpus: Path,
    model: str,
    output: Path,
    recall: float,
    k: int,
    memory: int | None,
    latency: float | None,
    kind: str,
    queries: Path | None,
    language: str,
    no_lexical: bool,
    seed: int,
    keep: int,
    plot: Path | None,
    max_bad: float,
    precision: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Embed the documents of CORPUS and write an index.

    CORPUS is a corpus (BEIR folder, JSONL, CSV, Parquet), a file, a folder of PDF, HTML, Markdown,
    reStructuredText, text and Python files, a pattern in quotes ('data/*.jsonl', 'docs/**/*.md'), or - for JSONL on
    standard input. A document is embedded up to the length that MODEL takes. A build that was stopped goes on when
    the same command is given again.

    The kind of index is chosen by size and limits, and its search is tuned on held-out queries until the lower 95 %
    bound of its recall meets --recall: those of --queries, or else sentences of the documents.

    \b
    embedft index build DATA/corpus.jsonl --model RUN/model -o INDEX
    embedft index build docs/ --model bundled -o INDEX --recall 0.98 --memory 500MB
    """
    from embedft.cli.inspecting import described, print_described, require_plot, write_plot
    from embedft.cli.output import print_json
    from embedft.cli.search import queries_of_file
    from embedft.encoder import Encoder
    from embedft.index import writing
    from embedft.index.settings import Settings
    from embedft.index.snapshot import Snapshot
    from embedft.index.storage import require_writable

    require_writable(output, force=force)
    if plot is not None:
        require_plot(plot, output, force=force)
    settings = Settings(
        kind=kind, recall=recall, k=k, memory=memory, latency_ms=latency, seed=seed, keep=keep,
        lexical=not no_lexical, language=None if language == "none" else language,
    )  # fmt: skip
    texts = queries_of_file(queries) if queries else None
    documents, left_out = _read(corpus, max_bad)
    encoder = Encoder.load(model, precision=precision)
    writing.build(output, documents, encoder, settings, queries=texts, force=force, show_progress=True)
    answer = {"index": str(output), "left_out": left_out, **described(output, Snapshot.open(output).version)}
    if plot is not None and answer["curve"] is None:
        logger.warning("%s: search is exact, so there is no curve: %s is not written.", output, plot)
    elif plot is not None:
        write_plot(plot, answer)
    if as_json:
        print_json(answer)
        return
    print_described(answer)
    click.echo(f'next: embedft search {output} "your query"')


@index.command()
@path_argument
@click.argument("corpus", type=click.Path(path_type=Path))
@click.option("--model", help="The encoder of the index, if it is not where it was.")
@max_bad_option
@precision_option
@json_option
def add(path: Path, corpus: Path, model: str | None, max_bad: float, precision: Any, as_json: bool) -> None:
    """Add the documents of CORPUS; those whose id is there already are replaced."""
    from embedft.index import Index

    documents, left_out = _read(corpus, max_bad)
    change = Index.open(path, model, precision=precision).add(documents, show_progress=True)
    _print_change(path, change, as_json, left_out=left_out)


@index.command()
@path_argument
@click.argument("ids", nargs=-1)
@click.option("--from", "file", type=click.Path(path_type=Path), help="A file with an id a line.")
@json_option
def delete(path: Path, ids: tuple[str, ...], file: Path | None, as_json: bool) -> None:
    """Delete documents by their IDS."""
    from embedft.cli.search import lines_of_file
    from embedft.errors import DataError
    from embedft.index import writing

    names = [*ids, *(lines_of_file(file, "id") if file else [])]
    if not names:
        raise click.UsageError("give ids, or a file of them with --from.")
    change = writing.delete(path, names)
    if not change.deleted:
        raise DataError(
            f"{path}: holds none of the {len(change.missing)} ids to delete ({_some(change.missing)}).",
            hint="check the ids: 'embedft search --json' shows those of the documents.",
        )
    _print_change(path, change, as_json)


@index.command()
@path_argument
@click.option("--model", help="The encoder of the index, if it is not where it was.")
@precision_option
@json_option
def compact(path: Path, model: str | None, precision: Any, as_json: bool) -> None:
    """Make one segment of what was built, added and deleted, and tune it again."""
    from embedft.index import Index

    opened = Index.open(path, model, precision=precision)
    _print_change(path, opened.compact(show_progress=True), as_json)


@index.command()
@path_argument
@click.option("--model", required=True, help="The new encoder: folder, hub name, or 'bundled'.")
@click.option("--map", "mapped", is_flag=True, help="Map the vectors instead of embedding every document again.")
@click.option("--sample", type=click.IntRange(1), help=f"With --map: documents to fit it on ({MAPPED_SAMPLE:,}).")
@precision_option
@json_option
def migrate(path: Path, model: str, mapped: bool, sample: int | None, precision: Any, as_json: bool) -> None:
    """Give INDEX to another model: embed every document again, or map their vectors.

    With --map, only a sample is embedded by the new model. A linear map is fitted on it, and what it keeps is measured
    on documents of the sample that it was not fitted on. A migration that was stopped goes on when it is called again.
    """
    from embedft.encoder import Encoder
    from embedft.index import migrating

    if sample is not None and not mapped:
        raise click.UsageError("--sample goes with --map: without it every document is embedded.")
    encoder = Encoder.load(model, precision=precision)
    change, kept = migrating.migrate(
        path,
        encoder,
        sample=(sample or MAPPED_SAMPLE) if mapped else None,
        show_progress=True,
    )
    _print_change(path, change, as_json, **({"mapped": kept.as_dict()} if kept else {}))
    if kept and not as_json:
        click.echo(
            f"mapped from {kept.sample} documents: of the {kept.k} nearest of {kept.judged} held-out ones, "
            f"{kept.recall:.3f} are kept ({kept.ci_low:.3f} .. {kept.ci_high:.3f}); mean cosine {kept.cosine:.3f}. "
            "Of the whole corpus nothing more is known."
        )


def _read(corpus: Path, max_bad: float) -> tuple[pa.Table, int]:
    from embedft.data import Fault, read_indexable
    from embedft.data.faults import report

    faults: list[Fault] = []
    documents = read_indexable(corpus, faults, max_bad)
    report(faults)
    return documents, len(faults)


def _print_change(path: Path, change: Change, as_json: bool, **further: Any) -> None:
    from dataclasses import asdict

    from embedft.cli.output import print_json

    if as_json:
        print_json({"index": str(path), **asdict(change), **further})
        return
    parts = [f"{getattr(change, name)} {name}" for name in ("added", "replaced", "deleted") if getattr(change, name)]
    click.echo(f"{path}: {', '.join([*parts, f'{change.documents} documents'])}")
    if change.missing:
        logger.warning("not there: %d ids (%s)", len(change.missing), _some(change.missing))


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:5]) + (", ..." if len(ids) > 5 else "")


@index.command()
@path_argument
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Labelled queries: BEIR folder, or pairs.")
@click.option("--split", default="dev", show_default=True, help="Which qrels; not those you judge by afterwards.")
@click.option("-k", type=click.IntRange(1), default=10, show_default=True, help="Cut-off of nDCG.")
@click.option("--model", help="The encoder of the index, if it is not where it was.")
@max_bad_option
@precision_option
@json_option
def fuse(
    path: Path, data: Path, split: str, k: int, model: str | None, max_bad: float, precision: Any, as_json: bool
) -> None:
    """Tune what vectors count against words in hybrid search, on labelled queries.

    Without it, hybrid search fuses the two rankings by their ranks alone.
    """
    from embedft.cli.output import print_json
    from embedft.data import read_retrieval
    from embedft.index import Index
    from embedft.index.fusing import tune_fusion

    found = read_retrieval(data, max_bad=max_bad)
    ids, texts = found.judged_queries(split)
    grades: dict[str, dict[str, int]] = {name: {} for name in ids}
    for row in found.split(split).to_pylist():
        if row["query_id"] in grades:
            grades[row["query_id"]][row["corpus_id"]] = row["grade"]
    encoder = Index.open(path, model, precision=precision).encoder
    fusion = tune_fusion(path, encoder, texts, list(grades.values()), k=k)
    if as_json:
        print_json({"index": str(path), "fusion": fusion})
        return
    click.echo(f"{path}: vectors count {fusion['weight']:g}, words {1 - fusion['weight']:g} ({len(texts)} queries)")
