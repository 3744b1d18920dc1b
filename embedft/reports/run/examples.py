"""Errors of a retrieval model: queries lost, won and failed, what came instead, hubs, holes, what to label next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from embedft.reports.html import Html, element, own_text, shortened
from embedft.reports.page import Cell, folded, paragraph, table
from embedft.reports.run.figures import is_number, score

GROUPS = {
    "lost": ("Lost", "Queries that the other model answered better, the largest loss first."),
    "won": ("Won", "Queries that are answered better now, the largest gain first."),
    "failed": ("Failed", "Queries without a relevant document among the first {k}."),
}
# Characters of a text in a table; cards show all that there is.
SHORT = 160


def examples(errors: dict[str, Any]) -> Iterator[str]:
    """Groups of queries, then what goes wrong over all of them."""
    k, counts = errors.get("k", ""), errors.get("counts") or {}
    yield from readings(errors)
    for name, (title, told) in GROUPS.items():
        cards = errors.get(name) or []
        if not cards:
            continue
        count = counts.get(name) or len(cards)
        more = f" {len(cards)} of them are shown." if count > len(cards) else ""
        yield element("h3", f"{title}: {count:,}")
        yield paragraph(told.format(k=k) + more)
        shown = [_card(card, str(errors.get("metric", ""))) for card in cards]
        yield element("div", shown, class_="cards", data_filter=f"Filter the {title.lower()} queries")
    yield from _overlap(errors)
    yield from _unjudged(errors)
    yield from _hubs(errors.get("hubs"))
    yield from _to_label(errors.get("to_label"))


def _card(card: dict[str, Any], metric: str) -> Html:
    before, after = card.get("against"), card.get("score")
    scores = f"{score(before)} → {score(after)}" if is_number(before) else score(after)
    kind = ""
    if is_number(before) and is_number(after):
        kind = "better" if after > before else "worse" if after < before else ""
    summary = (
        own_text(card.get("query", card.get("query_id", "")), name="span", class_="query"),
        element("span", scores, class_=f"scores {kind}".strip(), title=metric),
    )
    return folded(
        summary,
        element(
            "div",
            _documents("Relevant", card.get("relevant") or [], _rank),
            _documents("Came instead", card.get("instead") or [], _place),
            class_="sides",
        ),
        element("p", f"query {card['query_id']}", class_="small") if card.get("query_id") else None,
        kind="card",
    )  # fmt: skip


def _documents(heading: str, documents: Sequence[dict[str, Any]], told: Any) -> Html:
    items = [
        element(
            "li",
            element("span", told(document), class_="rank"),
            own_text(document["title"], name="strong") if document.get("title") else None,
            " ",
            own_text(document.get("text", ""), name="span"),
            element("span", f" {document.get('id', '')}", class_="small", dir="auto"),
        )
        for document in documents
    ]
    inner = element("ul", items) if items else element("p", "None.", class_="small")
    return element("div", element("p", heading, class_="figure-title"), inner)


def _rank(document: dict[str, Any]) -> str:
    before, after = document.get("against_rank"), document.get("rank")
    told = [f"rank {before} → {after or 'none'}" if before is not None else f"rank {after or 'none'}"]
    if is_number(document.get("grade")):
        told.append(f"grade {document['grade']}")
    return ", ".join(told)


def _place(document: dict[str, Any]) -> str:
    told = [f"rank {document.get('rank', '')}"]
    if is_number(document.get("score")):
        told.append(f"score {score(document['score'])}")
    told.append("not judged" if document.get("grade") is None else f"grade {document['grade']}")
    return ", ".join(told)


def readings(errors: dict[str, Any]) -> Iterator[str]:
    """What stands out, a sentence each, and what was left out."""
    found = errors.get("reading") or []
    found = [found] if isinstance(found, str) else found
    if found:
        yield element("ul", [element("li", own_text(sentence, name="span")) for sentence in found], class_="notes")
    left_out = errors.get("left_out") or []
    if left_out:
        yield paragraph("Left out: ", " ".join(map(str, left_out)), kind="small")


def _overlap(errors: dict[str, Any]) -> Iterator[str]:
    reading = (errors.get("overlap") or {}).get("reading")
    # It stands above where it is among what stands out.
    if reading and reading not in (errors.get("reading") or []):
        yield "<h3>Does it only match words?</h3>"
        yield paragraph(str(reading))


def _unjudged(errors: dict[str, Any]) -> Iterator[str]:
    unjudged = errors.get("unjudged") or {}
    if not is_number(unjudged.get("share")):
        return
    other, condensed = unjudged.get("against_share"), unjudged.get("condensed") or {}
    yield "<h3>Holes in the judgments</h3>"
    told = f"{unjudged['share']:.0%} of the documents among the first {unjudged.get('k')} were never judged."
    if is_number(other):
        told += f" Of the other model's, {other:.0%} are not."
    if is_number(condensed.get("score")):
        told += f" Without the unjudged documents the score would be {score(condensed['score'])}"
        told += f", the other model's {score(condensed['against'])}." if is_number(condensed.get("against")) else "."
    yield paragraph(told)


def _hubs(hubs: dict[str, Any] | None) -> Iterator[str]:
    top = (hubs or {}).get("top") or []
    if hubs is None or not top:
        return
    yield "<h3>Hubs</h3>"
    aside = [
        f"{told} {score(hubs[name], 2)}"
        for name, told in (("by_chance", "chance alone gives"), ("against_skewness", "the other model has"))
        if is_number(hubs.get(name))
    ]
    beside = f" ({', '.join(aside)})" if aside else ""
    yield paragraph(
        f"Documents that come up among the first {hubs.get('k')} for the most queries. Skewness of these counts: "
        f"{score(hubs.get('skewness'), 2)}{beside}; the higher, the more a few "
        "documents crowd out others."
    )
    other = any(is_number(document.get("against_queries")) for document in top)
    head = ["document", "text", "queries", *(["of the other model"] if other else []), "of them relevant to"]
    rows = [
        [
            document.get("title") or document.get("id"),
            shortened(document.get("text", ""), SHORT),
            document.get("queries"),
            *([document.get("against_queries")] if other else []),
            document.get("relevant_to"),
        ]
        for document in top
    ]
    yield table(head, rows, sortable=True)


def _to_label(entries: Sequence[dict[str, Any]] | None) -> Iterator[str]:
    if not entries:
        return
    yield "<h3>Candidates to judge</h3>"
    yield paragraph("Unjudged documents, chosen by their places in the rankings; whether they are relevant is open.")
    head = ("query", "document", "rank", "score", "why")
    rows = [
        (
            shortened(entry.get("query", ""), SHORT),
            shortened(" ".join(filter(None, (entry.get("title"), entry.get("text")))), SHORT),
            entry.get("rank"),
            Cell(score(entry.get("score")), entry.get("score")),
            entry.get("why", ""),
        )
        for entry in entries
    ]
    yield table(head, rows, sortable=True, filtered="Filter what is to be labelled")
