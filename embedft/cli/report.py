"""``embedft report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from embedft.cli.options import force_option, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="The file.  [default: report.html in the run; needed for several]")  # fmt: skip
@click.option("--card", is_flag=True, help="Write the card of each run's model (model/README.md) again as well.")
@click.option("--baseline", metavar="NAME", help="Of several runs the one that the others are measured by.  [default: "
              "the first]")  # fmt: skip
@click.option("--allow-different", is_flag=True, help="Where data, splits or metrics differ: compare what is shared.")
@force_option
@json_option
def report(
    runs: tuple[Path, ...],
    output: Path | None,
    card: bool,
    baseline: str | None,
    allow_different: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Write the page of a run or of an evaluation, or one page that compares several.

    A RUN is the directory of embedft train -o or of embedft evaluate -o. The page is one file that needs no network.

    \b
    embedft report RUN
    embedft report RUN_A RUN_B RUN_C -o comparison.html
    """
    from embedft.artifacts import write_bytes
    from embedft.cli.output import print_json
    from embedft.reports.card import run_with_model, write_card
    from embedft.reports.run import REPORT, evidence, read_run_record, run_page, sentence

    if len(runs) > 1 and output is None:
        raise click.UsageError("several runs go into one page: name its file with -o.")
    if len(runs) == 1 and (baseline or allow_different):
        raise click.UsageError("--baseline and --allow-different are for several runs.")
    own = runs[0] / REPORT
    if output is not None and (len(runs) > 1 or output.resolve() != own.resolve()):
        _require_page(output, force=force)
    for run in runs if card else ():
        run_with_model(run)
    if len(runs) == 1:
        record = read_run_record(runs[0])
        text, told = run_page(record), " ".join(filter(None, (sentence(record), evidence(record))))
    else:
        text, told = _several(runs, baseline, allow_different=allow_different)
    path = output if output is not None else own
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode("utf-8", "replace"))
    cards = [str(write_card(run)) for run in runs] if card else []
    if as_json:
        print_json(
            {"report": str(path), "bytes": path.stat().st_size, "verdict": told, **({"cards": cards} if card else {})}
        )
        return
    click.echo(told)
    for written in (str(path), *cards):
        click.echo(f"written: {written}")


def _several(runs: Sequence[Path], baseline: str | None, *, allow_different: bool) -> tuple[str, str]:
    """The page, and what it says first."""
    from embedft.cli.compare import distinct_names
    from embedft.evaluation.records import read_record
    from embedft.evaluation.several import compare_several
    from embedft.reports.run import read_run_record
    from embedft.reports.several import headline, several_page

    names = distinct_names([str(run) for run in runs])
    # What is damaged is refused here; what the page shows beside the scores may be missing.
    evaluations = [read_record(run).evaluation for run in runs]
    found = compare_several(names, evaluations, baseline=baseline, allow_different=allow_different)
    return several_page(found, [read_run_record(run) for run in runs]), headline(found)


def _require_page(output: Path, *, force: bool) -> None:
    """Raise ArtifactError if a page may not be written there."""
    from embedft.cli.places import require_result

    require_result(output, "page", force=force, ours=_is_page)


def _is_page(path: Path) -> bool:
    """Whether a file is a page of ours, or empty."""
    from embedft.reports import PAGE_BEGIN

    begin = PAGE_BEGIN.encode()
    with path.open("rb") as file:
        return file.read(len(begin)) in (b"", begin)
