"""Passages: the part of a document that a query is about, and the words in it that say so."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from math import log

from embedft.errors import ConfigError
from embedft.index.lexical.words import Words, spans

Span = tuple[int, int]
# Of a passage: the weights of the different terms in it, and how many matches.
Worth = tuple[int, int]

# Words of one family that the stemmer leaves apart begin alike (cardiology, cardiologist); with fewer letters than
# these, so do words of different ones (transport, transplant).
SAME_LETTERS = 7
# A sentence ends after its mark and closing quotes, before white space; where no spaces are written, right after it;
# and at each line. Nothing is tried twice, so that a long row of dots takes no longer than other text.
MARK, QUOTES = ".!?…", "\"'”’)\\]"
SENTENCE_END = re.compile(rf"(?<![{MARK}])[{MARK}]++[{QUOTES}]*+\s++|[。！？]++[」』”）]*+\s*+|\n\s*+")
PIECE = re.compile(r"\S++\s*+|\s++")
# A word longer than a passage (a link, a script without spaces) is parted, this many times finer than the passage.
PARTS = 8
# Weights are whole numbers, so that adding and taking away leaves no trace.
WEIGHT_UNIT = 1_000_000


@dataclass(frozen=True)
class Passage:
    """A part of a text, with the words that matched.

    Attributes:
        text: ``whole[start:end]``, without white space at its ends.
        start, end: where it stands, in characters.
        spans: (start, end) of each matched word, in ``text``, in order, apart from each other.
    """

    text: str
    start: int
    end: int
    spans: list[Span]


@dataclass(frozen=True)
class _Match:
    start: int
    end: int
    term: str


def highlight(text: str, query: str, *, width: int = 300, words: Words | None = None) -> Passage:
    """The passage of ``text`` that holds most of the query's words, the rare ones above all; its beginning if none.

    A passage is made of whole sentences; of one that is longer than ``width``, it is made of whole words. A word
    matches a word of the query of the same stem, or with the same first seven letters; case and accents do not
    matter. Stop words match only where the query has nothing else. A word counts the more the rarer it is in this
    text. Of equal passages the first, and it begins with the first sentence that matches where there is room.

    Args:
        text: the document.
        query: what was asked.
        width: the most characters that the passage may have.
        words: how the texts are read, as `Lexical.words`; by default as English.

    Raises:
        ConfigError: ``width`` is below 1.
    """
    if width < 1:
        raise ConfigError(f"the passage's width is {width}.", hint="give at least 1 character.")
    matches, weights = _matches(text, query, words or _english())
    best = max(
        (_best_window(units, matches, weights, width) for units in _groups(text, width)),
        key=lambda window: window[0],
        default=((0, 0), (0, 0)),
    )[1]
    start, end = _trimmed(text, *best)
    return Passage(text[start:end], start, end, _merged(matches, start, end))


@cache
def _english() -> Words:
    return Words.of("english")


def _matches(text: str, query: str, words: Words) -> tuple[list[_Match], dict[str, int]]:
    """The words of the text that the query has too, each as a term of the query, and what each term weighs."""
    if not any(next(words.terms([query]), [])):
        words = Words(words.stemmer, frozenset())
    wanted = _Wanted(next(words.terms([query]), []))
    term_of = words.reader()
    found, count = [], 0
    for start, end in spans(text):
        count += 1
        term = wanted.find(term_of(text[start:end]))
        if term:
            found.append(_Match(start, end, term))
    counts = Counter(match.term for match in found)
    return found, {term: round(WEIGHT_UNIT * log(1 + count / number)) for term, number in counts.items()}


class _Wanted:
    """The terms of a query, found by themselves or by their first letters."""

    def __init__(self, terms: list[str]) -> None:
        self.terms = set(terms)
        self.beginnings: dict[str, str] = {}
        for term in terms:
            if len(term) >= SAME_LETTERS:
                self.beginnings.setdefault(term[:SAME_LETTERS], term)

    def find(self, term: str) -> str:
        """The term of the query that a term of the text stands for; "" if none."""
        if term in self.terms:
            return term
        return self.beginnings.get(term[:SAME_LETTERS], "")


def _groups(text: str, width: int) -> Iterator[list[Span]]:
    """Runs of pieces of the text that passages may be made of: neighbouring sentences, or the words of a long one."""
    short: list[Span] = []
    for start, end in _cut(SENTENCE_END, text):
        if end - start <= width:
            short.append((start, end))
            continue
        if short:
            yield short
            short = []
        yield _pieces(text, start, end, width)
    if short:
        yield short


def _cut(boundary: re.Pattern[str], text: str) -> Iterator[Span]:
    start = 0
    for match in boundary.finditer(text):
        yield start, match.end()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def _pieces(text: str, start: int, end: int, width: int) -> list[Span]:
    found = []
    for match in PIECE.finditer(text, start, end):
        first, last = match.span()
        step = width if last - first <= width else max(1, width // PARTS)
        found += [(at, min(at + step, last)) for at in range(first, last, step)]
    return found


def _best_window(units: list[Span], matches: list[_Match], weights: dict[str, int], width: int) -> tuple[Worth, Span]:
    """The run of units of at most ``width`` characters that is worth most: its worth, and where it stands."""
    position = bisect_left(matches, units[0][0], key=lambda match: match.start)
    of_unit: list[list[str]] = []
    for _, end in units:
        first = position
        while position < len(matches) and matches[position].end <= end:
            position += 1
        of_unit.append([match.term for match in matches[first:position]])
    worth, first, last = _best_run(units, of_unit, weights, width)
    while first < last and not of_unit[first]:
        first += 1
    while last + 1 < len(units) and units[last + 1][1] - units[first][0] <= width:
        last += 1
    while first and units[last][1] - units[first - 1][0] <= width:
        first -= 1
    return worth, (units[first][0], units[last][1])


def _best_run(
    units: list[Span], of_unit: list[list[str]], weights: dict[str, int], width: int
) -> tuple[Worth, int, int]:
    best: tuple[Worth, int, int] = ((-1, 0), 0, 0)
    inside: Counter[str] = Counter()
    weight, total, first = 0, 0, 0
    for last, (_, end) in enumerate(units):
        for term in of_unit[last]:
            weight += weights[term] if not inside[term] else 0
            inside[term] += 1
        total += len(of_unit[last])
        while end - units[first][0] > width:
            for term in of_unit[first]:
                inside[term] -= 1
                weight -= weights[term] if not inside[term] else 0
            total -= len(of_unit[first])
            first += 1
        if (weight, total) > best[0]:
            best = ((weight, total), first, last)
    return best


def _trimmed(text: str, start: int, end: int) -> Span:
    inside = text[start:end]
    start += len(inside) - len(inside.lstrip())
    return start, max(start, start + len(inside.strip()))


def _merged(matches: list[_Match], start: int, end: int) -> list[Span]:
    """Spans of the matches between start and end, counted from start; overlapping ones are one."""
    merged: list[Span] = []
    for match in matches[bisect_left(matches, start, key=lambda match: match.start) :]:
        if match.end > end:
            break
        first, last = match.start - start, match.end - start
        if merged and first < merged[-1][1]:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged
