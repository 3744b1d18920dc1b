"""Errors of a classifier: what is taken for what, how sure it is, and labels that may be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.reports.heat import heat
from embedft.reports.html import Html, element, own_text, shortened
from embedft.reports.page import Cell, folded, paragraph, table
from embedft.reports.reliability import reliability
from embedft.reports.run.examples import readings
from embedft.reports.run.figures import plural, score

SHORT = 240
# Texts that one of the two models alone got right.
APART = {
    "lost": ("Lost", "Texts that the other model alone labels right."),
    "won": ("Won", "Texts that only this model labels right."),
}
# Rows of the table of mistaken classes at most.
PAIRS = 500


def classes(errors: dict[str, Any], metrics: dict[str, Any]) -> Iterator[str]:
    """Confusion, classes, calibration, mistakes, doubtful labels.

    Args:
        errors: of ``analysis.json``; may be empty.
        metrics: of ``metrics.json``, for what is missing there.
    """
    yield from readings(errors)
    confusion = metrics.get("confusion") or {}
    names = errors.get("classes") or confusion.get("classes") or []
    matrix = errors.get("confusion") or confusion.get("matrix")
    yield from _confusion(names, matrix, str(errors.get("confusion_why") or ""))
    yield from _confused(names, matrix, errors.get("confused") or confusion.get("confused") or [])
    yield from _per_class(errors.get("per_class") or metrics.get("per_class") or [])
    yield from _calibration({**(metrics.get("calibration") or {}), **(errors.get("calibration") or {})})
    counts = errors.get("counts") or {}
    for name, (title, about) in APART.items():
        yield from _apart(errors.get(name) or [], f"{title}: {{}}", about, counts.get(name))
    yield from _mistakes(errors.get("mistakes") or [], counts.get("mistakes"))
    yield from _doubtful(errors.get("label_errors") or [])


def _confusion(names: list[str], matrix: list[list[int]] | None, why: str) -> Iterator[str]:
    """The matrix, or ``why`` the analysis made none: what it leaves out is not drawn from the metrics either."""
    if why:
        yield "<h3>Confusion</h3>"
        yield paragraph(f"No matrix is drawn: {why}.")
    elif names and matrix and len(names) == len(matrix):
        yield "<h3>Confusion</h3>"
        yield heat(names, matrix)


def _confused(names: list[str], matrix: list[list[int]] | None, known: list[dict[str, Any]]) -> Iterator[str]:
    """Every pair of classes that was mistaken, or those that were counted."""
    if matrix:
        totals = [sum(row) for row in matrix]
        found = [
            (names[row], names[column], count, Cell(f"{count / totals[row]:.0%}", count / totals[row]))
            for row, counts in enumerate(matrix)
            for column, count in enumerate(counts)
            if count and row != column
        ]
        found.sort(key=lambda entry: -entry[2])
        head: tuple[str, ...] = ("label", "taken for", "texts", "of the label's")
    else:
        found = [(pair.get("label"), pair.get("predicted"), pair.get("texts")) for pair in known]  # type: ignore[misc]
        head = ("label", "taken for", "texts")
    if not found:
        return
    shown = found[:PAIRS]
    more = f" ({len(found):,}, the {PAIRS} most frequent shown)" if len(found) > PAIRS else f" ({len(found):,})"
    yield folded(
        f"Classes taken for others{more}", Html(table(head, shown, sortable=True, filtered="Filter by class")),
        opened=len(found) <= 12,
    )  # fmt: skip


def _per_class(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    known = [
        (title, name)
        for title, name in (("F1 of the other model", "against_f1"), ("training texts", "training_texts"))
        if any(row.get(name) is not None for row in rows)
    ]
    head = ("class", "texts", "predicted", "precision", "recall", "F1", *(title for title, _ in known))
    cells = [
        (
            row.get("class"),
            row.get("texts"),
            row.get("predicted"),
            *(Cell(score(row.get(name)), row.get(name)) for name in ("precision", "recall", "f1")),
            *(_known(row.get(name)) for _, name in known),
        )
        for row in rows
    ]
    yield folded(
        f"Each of the {plural(len(rows), 'classes')}, the smallest F1 first",
        Html(table(head, cells, sortable=True, filtered="Filter by class")),
        opened=len(rows) <= 12,
    )


def _calibration(calibration: dict[str, Any]) -> Iterator[str]:
    bins = calibration.get("bins") or []
    if not bins:
        return
    yield "<h3>How sure it is</h3>"
    yield reliability(bins, calibration.get("ece"), calibration.get("ece_uncalibrated"))


def _known(value: Any) -> Cell:
    return Cell(f"{value:,}" if isinstance(value, int) else score(value), value)


def _apart(rows: list[dict[str, Any]], title: str, about: str, count: int | None) -> Iterator[str]:
    if not rows:
        return
    yield element("h3", title.format(f"{count or len(rows):,}"))
    yield paragraph(about, f" {len(rows)} of them are shown." if (count or 0) > len(rows) else "")
    cells = [
        (
            own_text(shortened(row.get("text", ""), SHORT)),
            _label(row.get("label")),
            _label(row.get("against")),
            _label(row.get("predicted")),
            Cell(score(row.get("probability"), 2), row.get("probability")),
        )
        for row in rows
    ]
    yield table(
        ("text", "label", "other model", "this model", "probability"),
        cells,
        sortable=True,
        filtered="Filter these texts",
    )


def _mistakes(mistakes: list[dict[str, Any]], count: int | None) -> Iterator[str]:
    if not mistakes:
        return
    yield f"<h3>Mistakes: {count or len(mistakes):,}</h3>"
    yield paragraph(
        "The surest first", f"; {len(mistakes)} of them are shown." if (count or 0) > len(mistakes) else "."
    )
    cards = []
    for mistake in mistakes:
        near = [
            element(
                "li",
                element("span", f"{entry.get('label', '')}, cosine {score(entry.get('cosine'))}", class_="rank"),
                own_text(entry.get("text", ""), name="span"),
            )
            for entry in mistake.get("nearest") or []
        ]
        summary = (
            own_text(mistake.get("text", ""), name="span", class_="query"),
            element(
                "span",
                own_text(_label(mistake.get("label"))), " taken for ", own_text(_label(mistake.get("predicted"))),
                f", {score(mistake.get('probability'), 2)}",
                class_="scores worse",
            ),
        )  # fmt: skip
        inner = element("ul", near) if near else element("p", "No training text is kept.", class_="small")
        cards.append(folded(summary, element("p", "Nearest training texts", class_="figure-title"), inner, kind="card"))
    yield element("div", cards, class_="cards", data_filter="Filter the mistakes")


def _doubtful(rows: list[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "<h3>Doubtful labels</h3>"
    yield paragraph(
        "The model is sure of another class: the label may be wrong, or the model is wrong and sure of it, which looks "
        "the same. Read these before you train again."
    )
    cells = [
        (
            own_text(shortened(row.get("text", ""), SHORT)),
            _label(row.get("label")),
            _label(row.get("predicted")),
            Cell(score(row.get("probability"), 2), row.get("probability")),
            str(row.get("why") or ""),
        )
        for row in rows
    ]
    head = ("text", "label", "predicted", "probability", "why")
    yield table(head, cells, sortable=True, filtered="Filter these texts")


def _label(label: Any) -> str:
    return ", ".join(map(str, label)) if isinstance(label, list) else str(label)
