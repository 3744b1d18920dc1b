"""The page of a run or of an evaluation: the verdict first, then what it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from embedft.artifacts import write_bytes
from embedft.errors import ArtifactError
from embedft.evaluation.analysis import ANALYSIS
from embedft.reports.html import Html, element, own_text
from embedft.reports.page import Section, page, paragraph
from embedft.reports.run.classes import classes
from embedft.reports.run.comparison import comparison
from embedft.reports.run.data import data
from embedft.reports.run.examples import examples
from embedft.reports.run.figures import base_name, single
from embedft.reports.run.geometry import geometry
from embedft.reports.run.guard import guard
from embedft.reports.run.ladder import ladder
from embedft.reports.run.pairs import pairs
from embedft.reports.run.queries import SOURCE, queries
from embedft.reports.run.record import RunRecord, read_run_record
from embedft.reports.run.reproduce import configuration, environment, reproduce
from embedft.reports.run.rows import Rows, read_rows
from embedft.reports.run.slices import slices
from embedft.reports.run.stress import stress
from embedft.reports.run.training import training
from embedft.reports.run.verdict import evidence, sentence, verdict

__all__ = ["REPORT", "RunRecord", "evidence", "read_run_record", "run_page", "sentence", "write_report"]

REPORT = "report.html"
# Parts of an evaluation that a page can have -> how they are asked for.
ASKED = {
    "errors": "error analysis",
    "guard": "what was forgotten",
    "ladder": "cost against quality (evaluation.ladder: true, embedft evaluate --ladder)",
    "stress": "stress (evaluation.stress: true, embedft evaluate --stress)",
    "geometry": "geometry",
}


def write_report(folder: Path) -> Path:
    """The file of the report, written into the folder of a run or of ``embedft evaluate -o``, atomically.

    Raises:
        ArtifactError: the folder holds neither, or a file in it is damaged.
    """
    path = folder / REPORT
    write_bytes(path, run_page(read_run_record(folder)).encode("utf-8", "replace"))
    return path


def run_page(record: RunRecord) -> str:
    """HTML: verdict, comparison, training, each query, errors, slices, stress, cost, geometry, data, settings."""
    rows = read_rows(record)
    sections = list(_sections(record, rows))
    missing = _missing(record, rows)
    if missing:
        sections.append(Section("missing", "Not in this report", [missing]))
    return page(
        f"{'Run' if record.run else 'Evaluation'} {record.name}",
        [_subtitle(record), element("div", Html("\n".join(verdict(record))), class_="top", id="verdict")],
        sections=sections,
        data={SOURCE: rows.as_json()} if rows else None,
    )


def _subtitle(record: RunRecord) -> Html:
    model = base_name(str(record.metrics.get("model", "")))
    parts = [own_text(model), f" · {record.task} · ", own_text(base_name(str(record.metrics.get("data", ""))))]
    return paragraph(*parts, f", split {record.metrics.get('split', '')}", kind="subtitle")


def _sections(record: RunRecord, rows: Rows | None) -> Iterator[Section]:
    """The parts that there is something to say about."""
    yield Section("comparison", "Comparison" if record.comparison else "Scores", comparison(record))
    if record.part("guard") or record.run.get("anchor"):
        yield Section("forgetting", "Forgetting", guard(record.part("guard"), record.run.get("anchor") or {}))
    if record.log:
        yield Section("training", "Training", training(record))
    if rows is not None:
        noun = single(record.unit)
        yield Section("one-by-one", f"{noun.capitalize()} by {noun}", queries(rows))
    yield from _analysis(record)
    yield Section("data", "Data", data(record))
    if record.run:
        yield Section("configuration", "Configuration", configuration(record))
        yield Section("environment", "Environment", environment(record))
    yield Section("reproduce", "How to reproduce", reproduce(record))


def _analysis(record: RunRecord) -> list[Section]:
    """The parts of the analysis, drawn.

    Raises:
        ArtifactError: a part of ``analysis.json`` has another shape than those that are written.
    """
    try:
        return [section._replace(body=list(section.body)) for section in _looked_into(record)]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{record.folder / ANALYSIS}: is damaged, or of another version: {type(error).__name__}: {error}.",
            hint="remove it, or make it anew: embedft evaluate MODEL --data DATA -o FOLDER.",
        ) from error


def _looked_into(record: RunRecord) -> Iterator[Section]:
    errors = list(_errors(record))
    if errors:
        yield Section("errors", "Errors", errors)
    found = record.part("errors")
    if found.get("slices"):
        metric = str(found.get("slice_metric", found.get("metric", record.metric)))
        yield Section("slices", "Slices", slices(found["slices"], metric, record.unit, record.sides))
    if record.part("stress"):
        yield Section("stress", "Under stress", stress(record.part("stress")))
    if record.part("ladder"):
        yield Section("ladder", "Cost and quality", ladder(record.part("ladder")))
    if record.part("geometry"):
        yield Section("geometry", "Geometry", geometry(record.part("geometry")))


def _errors(record: RunRecord) -> Iterable[str]:
    errors = record.part("errors")
    if record.task == "classification":
        return classes(errors, record.metrics)
    if record.task == "similarity":
        return pairs(errors or record.metrics)
    return examples(errors)


def _missing(record: RunRecord, rows: Rows | None) -> Html | None:
    """What a page could show and this one does not, in a sentence; None if nothing is missing."""
    names = [told for name, told in ASKED.items() if not record.part(name)]
    if rows is None:
        names.insert(0, f"the scores of each of the {record.unit} (per_query.parquet)")
    if record.run and not record.log:
        names.append("the course of the training (train_log.jsonl)")
    if not record.run:
        names.append("settings and surroundings (an evaluation does not keep them)")
    return paragraph(f"Was not computed or not kept: {', '.join(names)}.") if names else None
