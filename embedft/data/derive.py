"""Pairs out of documents, for people without labels: each strategy reads a query out of the document itself.

``title``: title -> text, where one document alone has the title. ``heading``: heading -> its section. ``first``: first
sentence -> the rest. ``cloze``: a sentence of the middle -> the text without it (inverse cloze task, Lee et al. 2019,
arXiv:1906.00300). ``docstring``: first paragraph of a docstring -> the code without it. ``faq``: a question -> the
answer below it. ``link``: text of a link -> the document it leads to.

A sentence seldom says what its document is about ("This condition is rare"), so sentences carry the title in front, as
the documents do that they are to find.
"""

from __future__ import annotations

import ast
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from unicodedata import category

import numpy as np

from embedft.data.near import THRESHOLD, duplicate_groups, normalised
from embedft.data.retrieval import document_text
from embedft.errors import ConfigError

# A capital letter follows, or the text is tokenised and the mark stands alone. Closing marks belong to what they close.
CLOSING = "[\"')\\]\u201d\u2019\u00bb]"
SENTENCE_END = re.compile(
    rf"(?:(?<=[.!?])|(?<=[.!?]{CLOSING})|(?<=[.!?]{CLOSING}{CLOSING}))\s+"
    r"(?=[\"'(\[\u201c\u2018\u00ab]*[A-Z0-9À-Þ])|(?<=\s[.!?])\s+"
)
# Shorter than this a text says too little to be found by, or to answer with.
MIN_QUERY_WORDS, MIN_ANSWER_WORDS = 3, 8
MIN_TITLE_CHARS = 3
TITLE_ENDS = " .:-"
QUESTION = re.compile(r"^(?:Q(?:uestion)?\s*\d*\s*[:.]\s*)?(?P<question>[^\n]{8,300}\?)\s*$", re.M)
ANSWER_MARK = re.compile(r"^A(?:nswer)?\s*[:.]\s*")
CLOZE_PER_DOCUMENT = 1


@dataclass(frozen=True)
class Section:
    """A heading and the text up to the next one."""

    heading: str
    text: str


@dataclass(frozen=True)
class Document:
    """A document with what its source tells of its structure.

    Attributes:
        id: distinct.
        title: may be empty.
        text: without the title.
        sections: by heading, where the source has headings; what stands before the first one has an empty heading.
        links: (text of the link, id of the document it leads to).
    """

    id: str
    title: str
    text: str
    sections: tuple[Section, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Derived:
    """A pair, the strategy that made it, and the id of the document it comes from."""

    anchor: str
    positive: str
    strategy: str
    document: str


@dataclass
class PairReport:
    """What each strategy gave, and what the filter took away."""

    made: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, dict[str, int] | dict[str, dict[str, int]]]:
        """For JSON."""
        dropped = {reason: dict(counts) for reason, counts in self.dropped.items()}
        return {"made": dict(self.made), "dropped": dropped, "kept": dict(self.kept)}


def sentences(text: str) -> list[str]:
    """The sentences of a text, by a full stop, question or exclamation mark before a capital or between spaces."""
    return [part.strip() for line in text.split("\n\n") for part in SENTENCE_END.split(line) if part.strip()]


def _long_enough(query: str, answer: str) -> bool:
    return len(query.split()) >= MIN_QUERY_WORDS and len(answer.split()) >= MIN_ANSWER_WORDS


def _title_in(document: Document, text: str) -> re.Match[str] | None:
    """Where a text first names the title of its document; "Art" is not named by "artery"."""
    title = document.title.strip()
    found = re.finditer(re.escape(title), text, re.I) if title else iter(())
    return next((match for match in found if not any(_in_word(text, place) for place in match.span())), None)


def _in_word(text: str, place: int) -> bool:
    """Whether a word goes on at a place: letters, digits or marks (vowel signs are some) stand on both sides of it."""
    return 0 < place < len(text) and all(category(sign)[0] in "LMN" for sign in text[place - 1 : place + 1])


def _about(document: Document, sentence: str) -> str:
    """The sentence, after the title where it does not name it."""
    if not document.title or _title_in(document, sentence):
        return sentence
    return f"{document.title.rstrip(TITLE_ENDS)}: {sentence}"


def _answer(document: Document, rest: str) -> str:
    """``rest``, after the title in every other document: where both sides always have it, matching it is enough."""
    return document_text(document.title, rest) if _hash(rest)[0] % 2 else rest


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()


def _body(document: Document) -> str:
    """The text, without the title where it begins with it: a query that its answer repeats teaches nothing."""
    text = document.text.lstrip()
    title = _title_in(document, text[: len(document.title) + 1])
    return text[title.end() :].lstrip(TITLE_ENDS + "\n") if title and title.start() == 0 else document.text


def _title(document: Document) -> Iterator[tuple[str, str]]:
    body = _body(document)
    if len(document.title) >= MIN_TITLE_CHARS and len(body.split()) >= MIN_ANSWER_WORDS:
        yield document.title, body


def _heading(document: Document) -> Iterator[tuple[str, str]]:
    for section in document.sections:
        heading = f"{document.title}: {section.heading}" if document.title else section.heading
        if section.heading and section.heading != document.title and len(section.text.split()) >= MIN_ANSWER_WORDS:
            yield heading, section.text


def _first(document: Document) -> Iterator[tuple[str, str]]:
    parts = sentences(_body(document))
    rest = " ".join(parts[1:])
    if len(parts) > 1 and _long_enough(parts[0], rest):
        yield _about(document, parts[0]), _answer(document, rest)


def _cloze(document: Document) -> Iterator[tuple[str, str]]:
    parts = sentences(_body(document))
    inner = [place for place in range(1, len(parts)) if len(parts[place].split()) >= MIN_QUERY_WORDS]
    inner.sort(key=lambda place: _hash(parts[place]))
    for place in inner[:CLOZE_PER_DOCUMENT]:
        rest = " ".join(parts[:place] + parts[place + 1 :])
        if _long_enough(parts[place], rest):
            yield _about(document, parts[place]), _answer(document, rest)


def _docstring(document: Document) -> Iterator[tuple[str, str]]:
    try:
        tree = ast.parse(document.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    # Not splitlines: it counts form feeds as ends of lines, ast does not.
    lines = document.text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        docstring = ast.get_docstring(node)
        if not docstring or len(node.body) < 2:
            continue
        paragraph = " ".join(docstring.split("\n\n")[0].split())
        inner = node.body[0]
        begin = min([node.lineno, *(mark.lineno for mark in node.decorator_list)]) - 1
        code = lines[begin : inner.lineno - 1] + lines[inner.end_lineno : node.end_lineno]
        # The code of a class on one line is the line that is left out.
        if _long_enough_code(paragraph, code):
            yield paragraph, "\n".join(code)


def _long_enough_code(paragraph: str, code: Sequence[str]) -> bool:
    return len(paragraph.split()) >= MIN_QUERY_WORDS and len(" ".join(code).split()) >= MIN_QUERY_WORDS


def _faq(document: Document) -> Iterator[tuple[str, str]]:
    for section in document.sections:
        if section.heading.endswith("?") and len(section.text.split()) >= MIN_ANSWER_WORDS:
            yield section.heading, section.text
    found = list(QUESTION.finditer(document.text))
    headings = {section.heading for section in document.sections}
    for match, after in zip_longest(found, found[1:]):
        answer = document.text[match.end() : after.start() if after else None].strip()
        answer = ANSWER_MARK.sub("", answer.split("\n\n\n")[0]).strip()
        if match["question"] not in headings and _long_enough(match["question"], answer):
            yield match["question"], answer


Strategy = Callable[[Document], Iterator[tuple[str, str]]]
STRATEGIES: dict[str, Strategy] = {
    "title": _title,
    "heading": _heading,
    "first": _first,
    "cloze": _cloze,
    "docstring": _docstring,
    "faq": _faq,
}
NAMES = (*STRATEGIES, "link")


def require_strategies(names: Sequence[str], known: Sequence[str]) -> None:
    """Raise ConfigError if one of ``names`` is none of ``known``."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(f"no strategy is named {unknown[0]!r}.", hint=f"use {', '.join(known)}.")


def derive(documents: Sequence[Document], strategies: Sequence[str]) -> tuple[list[Derived], PairReport]:
    """The pairs that ``strategies`` read out of the documents, before the round trip.

    Raises:
        ConfigError: a strategy is unknown.
    """
    require_strategies(strategies, NAMES)
    report = PairReport()
    made = [
        Derived(" ".join(anchor.split()), positive.strip(), name, document.id)
        for name in strategies
        if name != "link"
        for document in documents
        for anchor, positive in STRATEGIES[name](document)
    ]
    report.made.update(pair.strategy for pair in made)
    made = _drop_shared_titles(made, documents, report)
    if "link" in strategies:
        links = _links(documents)
        report.made["link"] += len(links)
        made += links
    return made, report


def _drop_shared_titles(made: list[Derived], documents: Sequence[Document], report: PairReport) -> list[Derived]:
    """Without ``title`` pairs whose title several documents have: it tells none of them from the others."""
    owners = Counter(normalised(document.title) for document in documents)
    shared = [pair.strategy == "title" and owners[normalised(pair.anchor)] > 1 for pair in made]
    return _without(made, shared, "title of several documents", report)


def drop_shared_questions(made: list[Derived], report: PairReport) -> list[Derived]:
    """Without anchors that were written for several documents ("I cannot help with that" is one)."""
    owners: dict[str, set[str]] = {}
    for pair in made:
        owners.setdefault(normalised(pair.anchor), set()).add(pair.document)
    shared = [len(owners[normalised(pair.anchor)]) > 1 for pair in made]
    return _without(made, shared, "question for several documents", report)


def _without(made: list[Derived], dropped: Sequence[bool], reason: str, report: PairReport) -> list[Derived]:
    for pair, goes in zip(made, dropped, strict=True):
        if goes:
            report.dropped.setdefault(reason, Counter())[pair.strategy] += 1
    return [pair for pair, goes in zip(made, dropped, strict=True) if not goes]


def _links(documents: Sequence[Document]) -> list[Derived]:
    """Texts of links, with the document they lead to; one that leads to several documents tells nothing ("here")."""
    by_id = {document.id: document for document in documents}
    targets: dict[str, set[str]] = {}
    for document in documents:
        for text, target in document.links:
            if target in by_id and target != document.id:
                targets.setdefault(" ".join(text.split()), set()).add(target)
    return [
        Derived(text, by_id[only].text, "link", only)
        for text, found in targets.items()
        for only in found
        if len(found) == 1 and len(text) >= MIN_TITLE_CHARS and len(by_id[only].text.split()) >= MIN_ANSWER_WORDS
    ]


def drop_repeated(pairs: Sequence[Derived], report: PairReport, threshold: float = THRESHOLD) -> list[Derived]:
    """Without pairs that nearly repeat an earlier one: both sides alike, or a query that is its own answer."""
    if not pairs:
        return []
    _, _, query = duplicate_groups([pair.anchor for pair in pairs], threshold)
    _, _, answer = duplicate_groups([pair.positive for pair in pairs], threshold)
    seen: set[tuple[int, int]] = set()
    kept = []
    for number, pair in enumerate(pairs):
        same = normalised(pair.anchor) == normalised(pair.positive)
        both = int(query[number]), int(answer[number])
        reason = "query is its answer" if same else "near duplicate" if both in seen else ""
        seen.add(both)
        if reason:
            report.dropped.setdefault(reason, Counter())[pair.strategy] += 1
        else:
            kept.append(pair)
    return kept


def round_trip(pairs: Sequence[Derived], ranks: np.ndarray, report: PairReport, *, top_k: int) -> list[Derived]:
    """The pairs whose document the encoder finds among its first ``top_k``.

    Args:
        pairs: n pairs.
        ranks: rank of each pair's document for its query, from 1, (n,).
        report: takes the counts.
        top_k: largest rank that stays.

    Source: Alberti et al. 2019, Synthetic QA corpora generation with roundtrip consistency, arXiv:1906.05416.
    """
    kept = []
    for pair, rank in zip(pairs, ranks.tolist(), strict=True):
        if rank <= top_k:
            kept.append(pair)
        else:
            report.dropped.setdefault("not found by the encoder", Counter())[pair.strategy] += 1
    report.kept.update(pair.strategy for pair in kept)
    return kept


def as_rows(pairs: Sequence[Derived]) -> Iterator[Mapping[str, object]]:
    """Rows of a JSONL file of pairs."""
    for pair in pairs:
        yield {
            "anchor": pair.anchor,
            "positive": pair.positive,
            "metadata": {"strategy": pair.strategy, "document": pair.document},
        }
