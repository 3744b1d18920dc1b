"""Words: the terms of a text for lexical search, and where each stands.

A word is a run of letters, digits and combining marks; `_` parts words, so that names in code are found by their parts.
Runs of Chinese characters and Japanese letters, which are written without spaces, give every pair of neighbours. A term
is the word with case folded, stemmed (Snowball, by PyStemmer), accents dropped; stop words give none.

Measured with k1 1.2, b 0.75, mean nDCG@10 of the train and dev queries of medquad and trecqa and the dev queries of
cosqa: no stop list and no stemmer 0.548, stemmer 0.564, both 0.574; with a short stop list, `_` inside words and no
one-letter words (bm25s' own tokenizer) and the stemmer 0.549.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from embedft.errors import ConfigError

# Hiragana to katakana, the ideographs and their extensions; Korean parts its words by spaces.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
# What accents are: marks that European scripts put on letters. Vowel signs of Indian scripts are marks too, and stay.
ACCENTS = ("\u0300", "\u036f")

# Function words and what questions are made of; the single letters are what an apostrophe cuts off.
ENGLISH_STOPWORDS = """
    a about above after again against all am an and any are as at be because been before being below between
    both but by can could did do does doing down during each few for from further had has have having he her
    here hers herself him himself his how i if in into is it its itself just me more most my myself no nor not
    now of off on once only or other our ours ourselves out over own same she should so some such than that the
    their theirs them themselves then there these they this those through to too under until up very was we were
    what when where which while who whom why will with would you your yours yourself yourselves s t d ll m re ve
"""


@dataclass(frozen=True)
class Words:
    """How texts become terms. Make one with `Words.of`; it may be shared by threads.

    Attributes:
        stemmer: name of a Snowball algorithm, or None for words as they are.
        stopwords: folded words that give no term.
    """

    stemmer: str | None
    stopwords: frozenset[str]

    @classmethod
    def of(cls, language: str | None) -> Words:
        """The words of a language, by its English name; None for words as they are, without a stop list.

        The English stop list is ours, the others are those of bm25s; a language that it has none of goes without.

        Raises:
            ConfigError: there is no stemmer for the language.
        """
        if language is None:
            return cls(None, frozenset())
        import Stemmer

        if language not in Stemmer.algorithms():
            raise ConfigError(
                f"language {language!r} has no stemmer; there are {', '.join(Stemmer.algorithms())}.",
                hint="name one of them, or none for words as they are.",
            )
        return cls(language, frozenset(map(fold, _stopwords(language))))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Words:
        """What `as_dict` gave."""
        return cls(values["stemmer"], frozenset(values["stopwords"]))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"stemmer": self.stemmer, "stopwords": sorted(self.stopwords)}

    def terms(self, texts: Iterable[str]) -> Iterator[list[str]]:
        """The terms of each text, in order, repeated where they stand twice."""
        term_of = self.reader()
        for text in texts:
            yield [term for surface in surfaces(text) if (term := term_of(surface))]

    def reader(self) -> Callable[[str], str]:
        """Word -> term, "" for a stop word: a function for one thread, that remembers the words it met."""
        known: dict[str, str] = {}
        stem = self._stem()

        def term_of(surface: str) -> str:
            term = known.get(surface)
            if term is None:
                # A stemmer knows its language's letters whole and with their accents, so these go last.
                whole = surface.lower() if surface.isascii() else unicodedata.normalize("NFKC", surface).casefold()
                term = known[surface] = "" if fold(whole) in self.stopwords else fold(stem(whole))
            return term

        return term_of

    def _stem(self) -> Callable[[str], str]:
        if self.stemmer is None:
            return str
        import Stemmer

        # One for each reader, since a stemmer must not be used by two threads at once; without its own cache.
        stem: Callable[[str], str] = Stemmer.Stemmer(self.stemmer, 0).stemWord
        return stem


def _stopwords(language: str) -> list[str]:
    if language == "english":
        return ENGLISH_STOPWORDS.split()
    from bm25s import stopwords

    return list(getattr(stopwords, f"STOPWORDS_{language.upper()}", ()))


def fold(word: str) -> str:
    """A word without case, accents and compatibility forms: `Café`, `CAFE` and `café` become `cafe`."""
    if word.isascii():
        return word.lower()
    first, last = ACCENTS
    # Compatibility forms of capital letters (🄐, ᴬ) have no case before they are taken apart.
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", word.casefold()).casefold())
    return unicodedata.normalize("NFKC", "".join(letter for letter in apart if not first <= letter <= last))


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Start and end of each word in a text; neighbours overlap where a script has no spaces."""
    for match in _pattern().finditer(text):
        start, end = match.span()
        if match.lastgroup == "unspaced" and end - start > 2:
            yield from ((at, at + 2) for at in range(start, end - 1))
        else:
            yield start, end


def surfaces(text: str) -> list[str]:
    """The words of a text as they stand there."""
    if text.isascii():
        return _ascii_words(text)
    return [text[start:end] for start, end in spans(text)]


_ascii_words: Callable[[str], list[str]] = re.compile(r"[^\W_]+", re.ASCII).findall


@cache
def _pattern() -> re.Pattern[str]:
    # `\w` leaves out combining marks, and would cut words of Indian scripts and decomposed letters at each.
    marks = "".join(char for char in map(chr, range(0x300, 0x20000)) if unicodedata.category(char)[0] == "M")
    letters = rf"[^\W_{UNSPACED}]"
    return re.compile(rf"(?P<unspaced>[{UNSPACED}]+)|{letters}+(?:[{marks}]+{letters}*)*")
