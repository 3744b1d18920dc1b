"""What the run came to, in one sentence, what it cost elsewhere, and what to bear in mind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embedft.evaluation.comparison import has_own_wins
from embedft.reports.html import Html, element, own_text
from embedft.reports.run.figures import (
    KINDS,
    SIGNS,
    base_name,
    between,
    guard_name,
    is_number,
    plural,
    score,
    signed,
    with_chance,
)
from embedft.reports.run.record import RunRecord

OPENINGS = {
    "better": "Better than {against}: {metric} rose from {before} to {after}.",
    "worse": "Worse than {against}: {metric} fell from {before} to {after}.",
    "no difference": "No difference to {against} was shown: {metric} is {after}, before {before}.",
}
# Of an evaluation: neither model was made from the other.
BESIDE = {
    "better": "Better than {against}: {metric} is {after} against {before}.",
    "worse": "Worse than {against}: {metric} is {after} against {before}.",
    "no difference": "No difference to {against} was shown: {metric} is {after} against {before}.",
}
LOWER_OPENINGS = OPENINGS | {
    "better": OPENINGS["better"].replace("rose", "fell"),
    "worse": OPENINGS["worse"].replace("fell", "rose"),
}


def verdict(record: RunRecord) -> Iterator[str]:
    """The headline, the facts beside each other, and the notes."""
    kind = KINDS.get(_verdict(record), "same") if record.comparison else "plain"
    yield element("div", list(_headline(record)), class_=f"headline {kind}")
    facts = [
        element("div", element("dt", name), element("dd", value, element("small", more) if more else None))
        for name, value, more in _facts(record)
    ]
    yield element("dl", facts, class_="facts")
    notes = list(_notes(record))
    if notes:
        yield element("ul", [element("li", note) for note in notes], class_="notes")


def sentence(record: RunRecord, against: str | None = None) -> str:
    """The verdict in plain text; ``against`` is the other model's name, by default the last parts of its path."""
    metric, compared = record.metric, record.comparison.get(record.metric)
    judged = f"{plural(record.count, record.unit)}, split {record.metrics.get('split', '')}"
    if compared is None:
        return f"{metric} {score(record.values.get(metric))} on {judged}."
    before, after = record.before.get(metric), record.values.get(metric)
    found = str(compared.get("verdict"))
    rose = is_number(before) and is_number(after) and after > before
    openings = LOWER_OPENINGS if (found == "worse" if rose else found == "better") else OPENINGS
    openings = openings if record.run else BESIDE
    opening = openings.get(found, OPENINGS["no difference"])
    return opening.format(
        against=base_name(record.against) if against is None else against,
        metric=metric,
        before=score(before),
        after=score(after),
    )


def evidence(record: RunRecord) -> str:
    """The difference with its interval, p-value and number of queries, in plain text; empty without a comparison."""
    compared = record.comparison.get(record.metric)
    if compared is None:
        return ""
    parts = [
        f"95 % interval {between(compared.get('ci_low'), compared.get('ci_high'))}",
        with_chance(compared.get("p_value")),
        plural(record.count, record.unit),
    ]
    return f"{signed(compared.get('difference'))} ({', '.join(filter(None, parts))})"


def _verdict(record: RunRecord) -> str:
    return str((record.comparison.get(record.metric) or {}).get("verdict") or "")


def _headline(record: RunRecord) -> Iterator[Html]:
    found = _verdict(record)
    sign = element("span", SIGNS.get(found, ""), class_="sign", aria_hidden="true") if found else None
    yield element("p", sign, own_text(sentence(record), name="span"), class_="verdict")
    told = evidence(record)
    if told:
        difference, _, rest = told.partition(" ")
        yield element("p", element("strong", difference), f" {rest}", class_="evidence")
    guard = record.part("guard")
    if guard:
        yield element("p", f"What it cost elsewhere: {_cost(guard)}", class_="cost")
    elif record.run:
        yield element("p", "What it cost elsewhere was not measured.", class_="cost")


def _cost(guard: dict[str, Any]) -> str:
    if guard.get("reading"):
        return str(guard["reading"])
    return (
        f"{guard.get('metric', 'spearman')} on the set {guard_name(guard)!r}: {score(guard.get('before'))} before, "
        f"{score(guard.get('after'))} after ({guard.get('verdict', 'not compared')})."
    )


def _facts(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    """Name, value, what is said in small below."""
    yield "judged on", plural(record.count, record.unit), f"split {record.metrics.get('split', '')}"
    compared = record.comparison.get(record.metric)
    if compared is not None:
        if has_own_wins(record.metric, compared.get("tests") or {}):
            counts = [int(compared.get(name) or 0) for name in ("wins", "losses", "ties")]
            told = "/".join(f"{count:,}" for count in counts)
            yield "won / lost / same", told, f"{record.unit}, by {record.metric}"
        if is_number(compared.get("detectable")):
            yield "could be seen", score(compared["detectable"]), "with 80 % power"
    guard = record.part("guard")
    if is_number(guard.get("difference")):
        yield guard_name(guard), signed(guard["difference"]), f"{guard.get('metric', '')}, {guard.get('verdict', '')}"
    cheapest = record.part("ladder").get("cheapest")
    if cheapest:
        kept = cheapest.get("share_low", cheapest.get("share"))
        share = f"keeps {'at least ' if 'share_low' in cheapest else ''}{kept:.1%}" if is_number(kept) else ""
        size = f"{cheapest['mb_per_million']:,.0f} MB a million" if is_number(cheapest.get("mb_per_million")) else ""
        told = ", ".join(filter(None, [share, size]))
        yield "cheapest rung", f"{cheapest.get('dim')} x {cheapest.get('storage')}", told
    if record.run:
        yield "leakage", *_leakage(record.run)
    best = record.run.get("best") or {}
    if best:
        yield "kept step", f"{best.get('step')}", _duration(record.run.get("seconds"))


def _leakage(run: dict[str, Any]) -> tuple[str, str]:
    """How many judged rows training knew, and what is said of them and of those that were left out of it."""
    leaks = sum(int(leak.get("count") or 0) for leak in run.get("leakage") or [] if leak.get("severe"))
    dropped = int(run.get("leakage_dropped") or 0)
    told = ["judged rows known from training"] if leaks else []
    told += [f"{plural(dropped, 'training rows')} left out"] if dropped else []
    return f"{leaks:,}" if leaks else "none left" if dropped else "none found", ", ".join(told)


def _duration(seconds: Any) -> str:
    if not is_number(seconds):
        return ""
    return f"{seconds:.0f} s in all" if seconds < 120 else f"{seconds / 60:.0f} min in all"


def _notes(record: RunRecord) -> Iterator[str]:
    compared = record.comparison.get(record.metric) or {}
    if record.against and not record.run:
        model = base_name(str(record.metrics.get("model", "")))
        yield f"On this page “this model” is {model} and “other model” is {base_name(record.against)}."
    if (record.run.get("best") or {}).get("step") == 0 and record.log:
        yield "No step was better than the base model on dev: its weights were kept."
    if record.run and record.metrics.get("split") == "dev":
        yield "There is no test split: dev chose the step and judges it, so the gain is optimistic."
    if compared.get("verdict") == "no difference" and is_number(compared.get("detectable")):
        yield (
            f"With {plural(record.count, record.unit)} a true difference of {score(compared['detectable'])} would be "
            "seen four times in five; a smaller one may be there and stay unseen."
        )
    yield from _disagreeing(record)
    yield from _leaks(record)
    unjudged = record.part("errors").get("unjudged") or {}
    if is_number(unjudged.get("share")) and unjudged["share"] > 0.5:
        yield (
            f"{unjudged['share']:.0%} of the documents among the first {unjudged.get('k')} were never judged; "
            "they count as wrong, and some may be right."
        )


def _leaks(record: RunRecord) -> Iterator[str]:
    """A note a split that shares rows with train."""
    found: dict[str, list[dict[str, Any]]] = {}
    for leak in record.run.get("leakage") or []:
        if leak.get("severe"):
            found.setdefault(str(leak.get("split")), []).append(leak)
    for split, leaks in found.items():
        kinds = ", ".join(f"{leak.get('count', 0):,} {leak.get('kind')}" for leak in leaks)
        total = sum(int(leak.get("count") or 0) for leak in leaks)
        yield f"Leakage: {total:,} of split {split} stand in train as well ({kinds}); scores there can be too good."


def _disagreeing(record: RunRecord) -> Iterator[str]:
    main = _verdict(record)
    for found in ("worse", "better"):
        others = [
            name for name, value in record.comparison.items() if name != record.metric and value.get("verdict") == found
        ]
        if others and found != main and (found == "worse" or main == "worse"):
            yield f"By {', '.join(others)} it is {found}."
