"""``embedft mine``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from embedft.cli.dataset import by_role, columns_option, max_bad_option, require_new
from embedft.cli.options import force_option, gathered, json_option, precision_option

if TYPE_CHECKING:
    import pyarrow as pa

    from embedft.config import HardNegativesConfig
    from embedft.training.mining.mine import MiningReport, Suspect

# What a file that embedft wrote begins with; --force replaces no other.
JSONL_BEGIN, PARQUET_BEGIN = '{"anchor": ', "PAR1"
PARQUET = ".parquet"
SNIPPET = 160


class OrNone(click.ParamType[Any]):
    """A number, or ``none`` to leave the limit out."""

    def __init__(self, number: click.ParamType[Any]) -> None:
        self.number = number
        self.name = f"{number.name}|none"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The number, or None."""
        return None if str(value).strip().lower() == "none" else self.number.convert(value, param, ctx)


@dataclass(frozen=True)
class Limits:
    """The values of the options that say which documents become negatives."""

    num_negatives: int
    range_min: int
    range_max: int | None
    max_score: float | None
    min_score: float | None
    absolute_margin: float | None
    relative_margin: float | None
    sampling_strategy: str
    near_duplicates: float | None
    guide: str | None
    cross_encoder: str | None

    def config(self, data: Path) -> HardNegativesConfig:
        """The same as settings.

        Raises:
            ConfigError: a value is out of its range.
        """
        from embedft.config import HardNegativesConfig, validate_config

        values = asdict(self)
        validate_config(
            {"data": {"path": str(data)}, "training": {"hard_negatives": values}}, source="the command line"
        )
        return HardNegativesConfig(**values)


LIMITS = (
    click.option("--num-negatives", type=click.IntRange(1), default=1, show_default=True, help="A pair, at most."),
    click.option(
        "--range-min", type=click.IntRange(0), default=0, show_default=True, help="Skip so many of the nearest."
    ),
    click.option(
        "--range-max",
        type=OrNone(click.IntRange(1)),
        default="100",
        show_default=True,
        help="Rank up to which negatives are taken.",
    ),
    click.option("--max-score", type=float, help="Similarity to the anchor, at most."),
    click.option("--min-score", type=float, help="Similarity to the anchor, at least."),
    click.option("--absolute-margin", type=float, help="How much less similar than the positive, at least."),
    click.option(
        "--relative-margin",
        type=OrNone(click.FLOAT),
        default="0.05",
        show_default=True,
        help="The same as a share of the positive's similarity.",
    ),
    click.option(
        "--sampling-strategy",
        type=click.Choice(["top", "random"]),
        default="top",
        show_default=True,
        help="Of those left: the nearest, or any.",
    ),
    click.option(
        "--near-duplicates",
        type=OrNone(click.FloatRange(0, 1)),
        default="0.9",
        show_default=True,
        help="Never a text as alike to a known positive as this (Jaccard index).",
    ),
    click.option("--guide", metavar="MODEL", help="Encoder whose scores decide about margins and limits."),
    click.option("--cross-encoder", metavar="MODEL", help="Cross-encoder whose scores decide about them."),
)


@click.command()
@click.argument("model")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="BEIR folder, or pairs.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="New file: .jsonl or .parquet.")
@click.option("--split", default="train", show_default=True, help="Whose pairs get negatives.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["triplets", "tuples"]),
    default="tuples",
    show_default=True,
    help="A row for each negative, or a row for each pair with all its negatives.",
)
@gathered("limits", Limits, LIMITS)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of --sampling-strategy random.")
@click.option(
    "--audit", type=click.IntRange(0), default=5, show_default=True, help="Show so many likely false negatives."
)
@columns_option
@max_bad_option
@precision_option
@force_option
@json_option
def mine(
    model: str,
    data: Path,
    output: Path,
    split: str,
    form: str,
    limits: Limits,
    seed: int,
    audit: int,
    columns: str | None,
    max_bad: float,
    precision: Any,
    force: bool,
    as_json: bool,
) -> None:
    """Find hard negatives for training pairs: documents that MODEL takes for relevant and that are not.

    Searches the corpus (of pairs: their positives) exactly, and takes the nearest documents that margins, limits and
    ranks leave. Known positives, near duplicates of them and the anchor itself are never taken. Where fewer are left
    than asked for, a pair keeps what it has, and the report says how many are short. Options mean what they mean in
    sentence-transformers' mine_hard_negatives. Look at the audit: a negative as similar as the positive is often
    relevant, and harms.

    \b
    embedft mine bundled --data DATA -o mined.jsonl --num-negatives 3
    embedft train --task retrieval --data mined.jsonl -o RUN
    """
    from embedft.artifacts import atomic_file, disk_errors
    from embedft.cli.output import print_json
    from embedft.data import read_retrieval
    from embedft.encoder import Encoder
    from embedft.training.mining.mine import mine_negatives, require_found
    from embedft.training.mining.negatives import check_negatives

    config = limits.config(data)
    check_negatives(config)
    require_new(output, _begin(output), force=force, apart_from=[data])
    dataset = read_retrieval(data, columns=by_role(columns), max_bad=max_bad)
    rows = dataset.training_pairs(split)
    mined = mine_negatives(
        Encoder.load(model, precision=precision), dataset, rows, config, seed=seed, show_progress=not as_json
    )
    require_found(mined, data)
    with disk_errors(output.parent), atomic_file(output) as file:
        written = _write(mined.rows, form, file, parquet=output.suffix == PARQUET)
    suspects = mined.audit(audit)
    if as_json:
        audited = [suspect.as_dict() for suspect in suspects]
        print_json({"output": str(output), "written": written, **mined.report.as_dict(), "audit": audited})
        return
    _print(mined.report, suspects)
    click.echo(f"{output}: {written:,} {form}")


def _begin(output: Path) -> str:
    """How a file of this ending begins.

    Raises:
        ConfigError: there is no such format.
    """
    from embedft.errors import ConfigError

    if output.suffix not in (".jsonl", PARQUET):
        raise ConfigError(f"-o {output}: has no ending that tells its format.", hint="use .jsonl or .parquet.")
    return PARQUET_BEGIN if output.suffix == PARQUET else JSONL_BEGIN


def _write(rows: pa.Table, form: str, file: BinaryIO, *, parquet: bool) -> int:
    """Write the rows, and give their number."""
    made = _triplets(rows) if form == "triplets" else _tuples(rows)
    if not parquet:
        written = 0
        for row in made:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            written += 1
        return written
    import pyarrow as pa
    import pyarrow.parquet as pq

    most = max(map(len, rows["negatives"].to_pylist()))
    negatives = ["negative"] if form == "triplets" else _numbered(most)
    schema = pa.schema([(name, pa.string()) for name in ("anchor", "positive", *negatives)])
    table = pa.Table.from_pylist(list(made), schema=schema)
    pq.write_table(table, file)
    return int(table.num_rows)


def _triplets(rows: pa.Table) -> Iterator[dict[str, str]]:
    """A row for each negative; a pair without any stays a pair."""
    for row in _each(rows):
        pair = {"anchor": row["anchor"], "positive": row["positive"]}
        yield from ({**pair, "negative": text} for text in row["negatives"])
        if not row["negatives"]:
            yield pair


def _tuples(rows: pa.Table) -> Iterator[dict[str, str]]:
    """A row for each pair with all its negatives."""
    for row in _each(rows):
        numbered = zip(_numbered(len(row["negatives"])), row["negatives"], strict=True)
        yield {"anchor": row["anchor"], "positive": row["positive"], **dict(numbered)}


def _each(rows: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in rows.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def _numbered(count: int) -> list[str]:
    return [f"negative_{number}" for number in range(1, count + 1)]


def _print(report: MiningReport, suspects: list[Suspect]) -> None:
    from rich.table import Table

    from embedft.cli.output import console

    out = console()
    found = Table("mined")
    found.add_column("count", justify="right")
    for name, count in (
        ("pairs", report.rows),
        ("anchors, documents", f"{report.anchors:,}, {report.documents:,}"),
        ("negatives found, of those asked for", f"{report.found:,} of {report.asked:,}"),
        ("pairs with fewer than asked for", report.short_rows),
        ("pairs with none", report.empty_rows),
        ("candidates", report.candidates),
        *((f"  rejected: {reason}", count) for reason, count in report.rejected.items()),
    ):
        found.add_row(name, count if isinstance(count, str) else f"{count:,}")
    out.print(found)
    scores = Table("score")
    for quantile in report.scores["negative"]:
        scores.add_column(quantile, justify="right")
    for name, values in report.scores.items():
        scores.add_row(name, *(f"{value:.3f}" for value in values.values()))
    out.print(scores)
    _print_suspects(suspects)


def _print_suspects(suspects: list[Suspect]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from embedft.cli.output import console

    if not suspects:
        return
    table = Table("", "score", "text", title="likely false negatives", title_justify="left")
    for suspect in suspects:
        table.add_row("anchor", "", escape(_short(suspect.anchor)))
        table.add_row("positive", f"{suspect.positive_score:.3f}", escape(_short(suspect.positive)))
        table.add_row("negative", f"{suspect.negative_score:.3f}", escape(_short(suspect.negative)), end_section=True)
    console().print(table)


def _short(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= SNIPPET else joined[: SNIPPET - 3] + "..."
