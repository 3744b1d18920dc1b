"""The page of several runs beside each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from embedft.reports.course import course
from embedft.reports.forest import Estimate, forest
from embedft.reports.html import Html, element, own_text
from embedft.reports.page import Cell, Section, page, paragraph, table
from embedft.reports.run.figures import KINDS, between, chance, guard_name, is_number, plural, score, signed, single
from embedft.reports.run.queries import SOURCE
from embedft.reports.run.record import RunRecord
from embedft.reports.run.reproduce import dotted_settings
from embedft.reports.run.rows import Floats, Rows, View, limited, read_rows
from embedft.reports.run.training import dev_series

if TYPE_CHECKING:
    from embedft.evaluation.several import Several

# Column of the given scores of pairs, beside the cosine of each system.
GOLD = "given score"
# Systems up to which the title names them.
NAMED = 3


def several_page(several: Several, records: Sequence[RunRecord]) -> str:
    """HTML: which is best and whether that is shown, then scores, differences, trainings, costs, settings, rows.

    Args:
        several: the comparison of all pairs, of the systems in the order of ``records``.
        records: of the runs or evaluations.
    """
    names = list(several.names)
    rows = _rows(names, records, several.baseline)
    return page(
        f"{len(names)} systems compared" + (f": {', '.join(names)}" if len(names) <= NAMED else ""),
        [element("div", Html("\n".join(_verdict(several))), class_="top", id="verdict")],
        sections=list(_sections(several, names, records, rows)),
        data={SOURCE: rows.as_json()} if rows else None,
    )


def _sections(several: Several, names: list[str], records: Sequence[RunRecord], rows: Rows | None) -> Iterator[Section]:
    yield Section("scores", "Scores", _scores(several))
    yield Section("differences", f"Differences from {names[several.baseline]}", _differences(several))
    courses = [(name, found) for name, record in zip(names, records, strict=True) if (found := dev_series(record))]
    if courses:
        yield Section("training", "Training", _training(courses))
    costs = _costs(names, records)
    if costs:
        yield Section("costs", "What it cost elsewhere, and what it takes", costs)
    settings = _settings(names, records)
    if settings:
        yield Section("settings", "Settings that differ", settings)
    if rows is not None:
        noun = single(rows.unit)
        of_all = element("div", class_="rows scripted", data_source=SOURCE)
        yield Section("one-by-one", f"{noun.capitalize()} by {noun}", [*_won(several, rows), of_all])


def _verdict(several: Several) -> Iterator[str]:
    metric, first = several.metrics[0], several.evaluations[0]
    told = own_text(headline(several), name="span")
    yield element("div", element("p", told, class_="verdict"), class_="headline plain")
    facts = (
        ("judged on", plural(first.count, first.unit), f"split {first.split}"),
        ("comparisons", f"{len(several.comparisons):,}", "each of two systems in one metric"),
        ("baseline", several.names[several.baseline], ""),
    )
    yield element(
        "dl",
        [element("div", element("dt", name), element("dd", value, element("small", more) if more else None))
         for name, value, more in facts],
        class_="facts",
    )  # fmt: skip
    notes = [*several.differs, several.reading(metric)]
    yield element("ul", [element("li", note) for note in notes if note], class_="notes")


def headline(several: Several) -> str:
    """Which system is best in the first metric, and which others it is better than, in plain text."""
    metric, names = several.metrics[0], several.names
    if not several.best(metric):
        return f"No system has a {metric}."
    best, *equal = several.best(metric)
    if equal:
        shared = ", ".join(names[system] for system in several.best(metric))
        return f"{shared} have the same best {metric}, {score(several.score(best, metric))}."
    worse = [names[other] for other in several.better_than(best, metric)]
    told = f"{names[best]} has the best {metric}, {score(several.score(best, metric))}"
    if not worse:
        return f"{told}; no difference to the others was shown."
    rest = [name for place, name in enumerate(names) if place != best and name not in worse]
    return f"{told}, better than {', '.join(worse)}" + (
        f"; no difference to {', '.join(rest)} was shown." if rest else "."
    )


def _scores(several: Several) -> Iterator[str]:
    rows = []
    for system, (letter, name) in enumerate(zip(several.letters, several.names, strict=True)):
        cells = [Cell(element("span", letter, class_="small"), letter), Cell(name, name, "name")]
        for metric in several.metrics:
            value = several.score(system, metric)
            shown: Any = score(value, 4)
            if system in several.best(metric):
                shown = element("strong", shown)
            letters = "".join(several.letters[other] for other in several.better_than(system, metric))
            cells.append(Cell(Html(f"{shown}{element('sup', letters)}") if letters else shown, _number(value)))
        rows.append(cells)
    yield table(("letter", "system", *several.metrics), rows, sortable=True)
    yield paragraph(
        f"{several.legend.removesuffix('.')}. Bold: the best score, which alone proves nothing.",
        kind="small",
    )


def _differences(several: Several) -> Iterator[str]:
    estimates, rows = [], []
    for metric in several.metrics:
        for system in several.others:
            found = several.compared(system, several.baseline, metric)
            if found is None:
                continue
            shown = f"{signed(found.difference)} ({between(found.ci_low, found.ci_high)})"
            kind = KINDS.get(found.verdict, "same")
            name = several.names[system]
            estimates.append(
                Estimate(
                    name, _number(found.difference), _number(found.ci_low), _number(found.ci_high), shown, kind, metric
                )
            )
            adjusted = found.p_adjusted if found.p_adjusted is not None else found.p_value
            rows.append(
                (
                    name,
                    metric,
                    Cell(signed(found.difference, 4), _number(found.difference)),
                    Cell(between(found.ci_low, found.ci_high), None, "interval"),
                    Cell(chance(adjusted), _number(adjusted)),
                    Cell(signed(found.effect_size, 2), _number(found.effect_size)),
                    found.verdict,
                )
            )
    base = several.names[several.baseline]
    yield forest(estimates, "difference, 95 % interval", ends=(f"← {base} has more", f"{base} has less →"))
    head = ("system", "metric", "difference", "95 % interval", "p", "effect size", "verdict")
    yield table(head, rows, sortable=True, filtered="Filter the differences")


def _training(courses: Sequence[tuple[str, tuple[str, list[tuple[float, float]]]]]) -> Iterator[str]:
    metrics = {metric for _, (metric, _) in courses}
    reach = max(step for _, (_, series) in courses for step, _ in series)
    yield '<div class="plots">'
    for metric in sorted(metrics):
        lines = [(name, series) for name, (own, series) in courses if own == metric]
        yield course(lines, f"{metric} on dev", "a line a run", reach=reach)
    yield "</div>"


def _costs(names: Sequence[str], records: Sequence[RunRecord]) -> list[str]:
    """A row a run: what it forgot, its cheapest rung, how long it took; empty if nothing of it is known."""
    rows = []
    for name, record in zip(names, records, strict=True):
        guard, cheapest = record.part("guard"), record.part("ladder").get("cheapest") or {}
        rung = f"{cheapest.get('dim')} x {cheapest.get('storage')}" if cheapest else ""
        seconds = record.run.get("seconds")
        elsewhere = f"{guard.get('metric', '')}, {guard_name(guard)}" if guard else ""
        change = f"{signed(guard.get('difference'))} ({between(guard.get('ci_low'), guard.get('ci_high'))})"
        rows.append(
            (
                name,
                elsewhere,
                change if guard else "",
                str(guard.get("verdict") or ""),
                rung,
                f"{seconds:,.0f} s" if is_number(seconds) else "",
            )
        )
    if not any("".join(row[1:]) for row in rows):
        return []
    head = ("system", "measured elsewhere", "difference", "verdict", "cheapest rung", "training")
    return [table(head, rows, sortable=True)]


def _settings(names: Sequence[str], records: Sequence[RunRecord]) -> list[str]:
    """A row a field that is not the same in all runs."""
    settings = [dict(dotted_settings(record.config)) for record in records]
    fields = dict.fromkeys(field for own in settings for field in own)
    rows = [
        (field, *(own.get(field, "") for own in settings))
        for field in fields
        if len({own.get(field, "") for own in settings}) > 1
    ]
    return [table(("field", *names), rows, sortable=True)] if rows else []


def _won(several: Several, rows: Rows) -> Iterator[Html]:
    """What "won" means in the table of two systems."""
    if rows.compared:
        base, other = several.names[several.baseline], several.names[1 - several.baseline]
        ranks = "its rank by cosine is nearer to that by the given score"
        yield paragraph(
            "Won: what ", own_text(other), " does better than ", own_text(base),
            f": {ranks}." if GOLD in rows.views[0].columns else ".",
        )  # fmt: skip


def _rows(names: Sequence[str], records: Sequence[RunRecord], baseline: int) -> Rows | None:
    """The rows of all systems beside each other; None where they are not the same rows in the same order."""
    found = [rows for record in records if (rows := read_rows(record, most=None)) is not None]
    shared = ("query", "id", "sentence1", "sentence2", "text", "label")
    texts = [{name: own.texts[name] for name in shared if name in own.texts} for own in found]
    if len(found) != len(names) or any(own != texts[0] for own in texts):
        return None
    views = []
    for view in found[0].views:
        same = [other for own in found for other in own.views if other.name == view.name]
        if len(same) == len(names):
            given = {GOLD: view.columns["score"]} if "score" in view.columns and view.name != "score" else {}
            columns = given | {name: own.columns[own.own] for name, own in zip(names, same, strict=True)}
            gains = _gains(same[baseline], same[1 - baseline]) if len(names) == 2 else np.zeros(found[0].total)
            views.append(View(view.name, columns, gains, names[1 - baseline] if len(names) == 2 else names[0]))
    return limited(replace(found[0], texts=texts[0], views=views, compared=len(names) == 2)) if views else None


def _gains(baseline: View, other: View) -> Floats:
    """By how much the other system does each row better than the baseline, (rows,): of pairs, in ranks."""
    gains: Floats = (
        np.abs(baseline.columns[baseline.off]) - np.abs(other.columns[other.off])
        if baseline.off
        else other.columns[other.own] - baseline.columns[baseline.own]
    )
    return np.nan_to_num(gains)


def _number(value: Any) -> float | None:
    return float(value) if is_number(value) else None
