"""``embedft data``: look at data, mend it, split it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from embedft.cli.dataset import Reading, output_option, print_sizes, reading_options, require_new
from embedft.cli.options import force_option, json_option

if TYPE_CHECKING:
    from embedft.data.check import Report
    from embedft.data.dataset import Dataset
    from embedft.data.mislabelled import Suspect


# Doubted labels on the screen; the file has all.
SHOWN = 10
threshold_option = click.option(
    "--threshold",
    type=click.FloatRange(0.5, 1),
    default=0.85,
    show_default=True,
    help="Jaccard index from which two texts are near duplicates.",
)


@click.group()
def data() -> None:
    """Look at data, mend it, split it without leakage.

    PATH is a BEIR folder; a file of JSONL, JSON, CSV, TSV, Parquet, Arrow or CoNLL (text files may be .gz or .zst); a
    folder of such files, one a split; a glob; a folder written by datasets; a name on the hub; or - for standard input.
    """


@data.command()
@click.option(
    "--against",
    help="Other data, for example of a test: what of it stands in PATH? Read by --columns where it has them.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Also write the report as an HTML page.")
@click.option("--quarantine", type=click.Path(path_type=Path), help="Write the bad rows to this file, with reasons.")
@click.option("--model", default="bundled", show_default=True, help="Whose tokens are counted.")
@click.option("--max-length", type=click.IntRange(8), help="Tokens a text is cut at.  [default: the model's]")
@reading_options
@threshold_option
@force_option
@json_option
def check(
    against: str | None,
    output: Path | None,
    quarantine: Path | None,
    model: str,
    max_length: int | None,
    reading: Reading,
    threshold: float,
    force: bool,
    as_json: bool,
) -> None:
    """Say what a data set holds, what is wrong with it, and what leaks.

    \b
    embedft data check DATA
    embedft data check train.jsonl --against test.jsonl -o report.html
    """
    from embedft.artifacts import write_bytes
    from embedft.cli.output import print_json
    from embedft.data.check import check as check_data
    from embedft.data.faults import is_too_bad, percent_of
    from embedft.data.store import QUARANTINE_BEGIN, write_quarantine
    from embedft.encoder import Encoder
    from embedft.errors import DataError
    from embedft.reports import PAGE_BEGIN, data_page

    apart_from = [*reading.paths, against]
    if output is not None:
        require_new(output, PAGE_BEGIN, force=force, apart_from=[*apart_from, quarantine])
    if quarantine is not None:
        require_new(quarantine, QUARANTINE_BEGIN, force=force, apart_from=apart_from)
    found = reading.read(most=1.0)
    other = reading.read_other(against) if against else None
    encoder = Encoder.load(model, precision="float32")
    report = check_data(
        found,
        against=other,
        count_tokens=encoder.count_tokens,
        max_length=max_length or encoder.max_length,
        threshold=threshold,
        show_progress=not as_json,
    )
    if output is not None:
        write_bytes(output, data_page(report).encode())
    if quarantine is not None:
        write_quarantine(found.faults, quarantine)
    if as_json:
        print_json(report.as_dict())
    else:
        _print(report)
    for name, rows in found.rows.items():
        bad = found.bad[name]
        if not is_too_bad(bad, rows, reading.max_bad):
            continue
        most = max(percent_of(found.bad[each], count) for each, count in found.rows.items() if count)
        raise DataError(
            f"{name}: {bad} of {rows} rows are bad, more than the allowed {reading.max_bad:.0%}.",
            hint=f"mend them, or leave them out: embedft data clean PATH -o OUT --max-bad {most}%.",
        )


@data.command()
@output_option
@click.option("--lower", is_flag=True, help="Lower-case all texts.")
@click.option("--punctuation", is_flag=True, help="Take punctuation out.")
@click.option("--keep-html", is_flag=True, help="Leave tags and entities.")
@click.option("--min-chars", type=click.IntRange(1), help="Leave out rows with a shorter text.")
@click.option("--max-chars", type=click.IntRange(1), help="Leave out rows with a longer text.")
@click.option("--duplicates", type=click.Choice(["keep", "exact", "near"]), default="exact", show_default=True)
@click.option("--conflicts", type=click.Choice(["keep", "drop", "majority"]), default="keep", show_default=True)
@click.option("--mend-labels", is_flag=True, help="Replace labels that are probably typos.")
@click.option("--leakage", type=click.Choice(["keep", "drop"]), default="keep", show_default=True)
@click.option(
    "--label-errors", type=click.Path(path_type=Path), help="Write the rows whose labels are doubted to this file."
)
@click.option("--model", default="bundled", show_default=True, help="Encoder behind --label-errors.")
@reading_options
@threshold_option
@force_option
@json_option
def clean(
    output: Path,
    lower: bool,
    punctuation: bool,
    keep_html: bool,
    min_chars: int | None,
    max_chars: int | None,
    duplicates: Any,
    conflicts: Any,
    mend_labels: bool,
    leakage: Any,
    label_errors: Path | None,
    model: str,
    reading: Reading,
    threshold: float,
    force: bool,
    as_json: bool,
) -> None:
    """Mend texts, leave out bad and repeated rows, and write what is left.

    Double-encoded text, HTML, control and invisible characters, letters (NFC) and white space are mended; what was left
    out stands with its reason in OUT/quarantine/rows.jsonl. --label-errors ranks the labels that are probably wrong;
    they stay, for you to look at.

    \b
    embedft data clean DATA -o CLEAN --duplicates near --conflicts majority
    """
    from embedft.artifacts import require_free
    from embedft.cli.output import print_json
    from embedft.data.clean import CleanConfig
    from embedft.data.clean import clean as clean_data
    from embedft.data.mislabelled import SUSPECTS_BEGIN, write_suspects
    from embedft.data.store import is_stored, write_dataset

    steps = [step for step in CleanConfig.steps if not (keep_html and step in ("entities", "tags"))]
    steps += ["lower"] * lower + ["punctuation"] * punctuation
    config = CleanConfig(tuple(steps), min_chars, max_chars, duplicates, threshold, conflicts, mend_labels, leakage)
    require_free(output, force=force, ours=is_stored)
    if label_errors is not None:
        require_new(label_errors, SUSPECTS_BEGIN, force=force, apart_from=[*reading.paths, output])
    found = reading.read()
    cleaned, changes = clean_data(found, config)
    suspects = _suspects(cleaned, model, show_progress=not as_json) if label_errors is not None else []
    write_dataset(cleaned, output, made_by="embedft data clean", force=force, dropped=changes.dropped)
    summary = {"output": str(output), "rows": cleaned.sizes(), "bad_rows": len(found.faults), **changes.as_dict()}
    if label_errors is not None:
        write_suspects(suspects, label_errors)
        summary["label_errors"] = len(suspects)
    if as_json:
        print_json(summary)
        return
    _table("texts changed by", changes.texts, changes.examples)
    _table("rows left out", {"bad": len(found.faults), **changes.as_dict()["left_out"]}, {})
    _table("labels mended", changes.labels, {})
    if label_errors is not None:
        _print_suspects(suspects, label_errors)
    print_sizes(output, cleaned)


@data.command()
@output_option
@click.option("--ratios", default="80,10,10", show_default=True, help="Of train, dev, test; two are train, test.")
@click.option("--group", help="Column; rows with one value stay together.")
@click.option("--time", help="Column; earlier rows go to train.")
@click.option("--shots", type=click.IntRange(1), help="So many rows of each class to train, all others to test.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@reading_options
@threshold_option
@force_option
@json_option
def split(
    output: Path,
    ratios: str,
    group: str | None,
    time: str | None,
    shots: int | None,
    seed: int,
    reading: Reading,
    threshold: float,
    force: bool,
    as_json: bool,
) -> None:
    """Divide a data set so that no text and no near duplicate stands on two sides.

    \b
    embedft data split all.jsonl -o DATA --ratios 80,10,10
    """
    from embedft.artifacts import require_free
    from embedft.cli.output import print_json
    from embedft.data.faults import report
    from embedft.data.split import SplitConfig, parse_ratios
    from embedft.data.split import split as split_data
    from embedft.data.store import is_stored, write_dataset

    config = SplitConfig(parse_ratios(ratios), group, time, shots, threshold, seed)
    require_free(output, force=force, ours=is_stored)
    found = reading.read()
    report(found.faults)
    divided = split_data(found, config)
    write_dataset(divided, output, made_by="embedft data split", force=force)
    if as_json:
        print_json({"output": str(output), "rows": divided.sizes(), "bad_rows": len(found.faults)})
        return
    print_sizes(output, divided)


def _suspects(found: Dataset, model: str, *, show_progress: bool) -> list[Suspect]:
    from embedft.data.mislabelled import mislabelled, require_labels
    from embedft.encoder import Encoder

    require_labels(found)
    texts = [text for table in found.splits.values() for text in table["text"].to_pylist()]
    return mislabelled(found, Encoder.load(model).encode_documents(texts, show_progress=show_progress))


def _print_suspects(suspects: list[Suspect], path: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from embedft.cli.output import console

    shown = Table("line", "text", "given", "suggested", title="labels to look at", title_justify="left")
    shown.add_column("confidence", justify="right")
    for suspect in suspects[:SHOWN]:
        cells = [suspect.text, ", ".join(suspect.given), ", ".join(suspect.suggested)]
        where = f"{Path(suspect.file).name}:{suspect.line}"
        shown.add_row(where, *map(escape, cells), f"{suspect.confidence:.3f}")
    if suspects:
        console().print(shown)
    console().print(f"{path}: {len(suspects):,} labels to look at", markup=False)


def _table(title: str, counts: Any, examples: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    from embedft.cli.output import console

    rows = {name: count for name, count in counts.items() if count}
    if not rows:
        return
    shown = Table(title, title_justify="left")
    shown.add_column("count", justify="right")
    if examples:
        shown.add_column("for example")
    for name, count in sorted(rows.items(), key=lambda item: -item[1]):
        shown.add_row(escape(name), f"{count:,}", *([escape(examples.get(name, ""))] if examples else []))
    console().print(shown)


def _print(report: Report) -> None:
    """Splits, faults, leakage."""
    from rich.markup import escape
    from rich.table import Table

    from embedft.cli.output import console
    from embedft.data.check import NOT_LOOKED_FOR

    out = console()
    scale = f", scores on {report.scale}" if report.scale else ""
    found = f"{report.path}: {report.kind}, {report.rows:,} rows, {report.bad:,} bad{scale}"
    out.print(found, markup=False, soft_wrap=True)
    splits = Table("split", "column")
    for heading in ("texts", "median", "95 %", "longest", "cut"):
        splits.add_column(heading, justify="right")
    for name, described in report.splits.items():
        for column, values in described.get("columns", {}).items():
            lengths = values["lengths"]
            cells = [f"{lengths[key]:,.0f}" for key in ("median", "p95", "max")]
            cut = f"{values['truncated']:.1%}" if values["truncated"] is not None else ""
            splits.add_row(escape(name), column, f"{values['texts']:,}", *cells, cut)
    out.print(splits)
    faults = Table("rows left out" if any(f.left_out for f in report.faults) else "to look at", "where")
    faults.add_column("count", justify="right")
    faults.add_column("for example (line: what)", overflow="fold")
    left_out = True
    for finding in report.faults:
        if left_out and not finding.left_out and faults.row_count:
            faults.add_section()
            faults.add_row("[bold]kept, to look at[/]", "", "", "")
        left_out = finding.left_out
        example = finding.examples[0] if finding.examples else ""
        faults.add_row(escape(finding.kind), escape(finding.file), f"{finding.count:,}", escape(example))
    if report.faults:
        out.print(faults)
    leaks = Table("leakage", "judged split")
    leaks.add_column("rows", justify="right")
    leaks.add_column("share", justify="right")
    leaks.add_column("for example", overflow="fold")
    for leak in report.leakage or ():
        leaks.add_row(leak.kind, escape(leak.split), f"{leak.count:,}", f"{leak.share:.1%}", escape(leak.examples[0]))
    if report.leakage is None:
        out.print(f"leakage was not looked for: {NOT_LOOKED_FOR}", soft_wrap=True)
    else:
        out.print(leaks if report.leakage else "no leakage was found")
