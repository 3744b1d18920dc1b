"""The same said in other words, as far as rules go without a language model. English.

No rule here is a paraphrase as a person would write one. Each changes one thing that a person may vary, and shows
whether the encoder minds that one thing. Source of the kinds: Penha et al. 2022, arXiv:2111.13057, who name what varies
between people's queries for one need (misspelling, naturality, order, paraphrase).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from embedft.data.edits import EDITS
from embedft.data.thesaurus import FUNCTION_WORDS, Thesaurus
from embedft.evaluation.stress.letters import by_word

# Words among those without synonyms that carry meaning of their own.
_MEANT = """
one two three four five six seven eight nine ten not nor neither no few own over under out off until more most many
much up down
"""
DROPPED = (FUNCTION_WORDS - frozenset(_MEANT.split())) | {"please", "hello", "hi", "thanks"}
# Share of function words above which texts are taken for English: of 14 English sets 0.29 to 0.55, of two German ones
# 0.04 and 0.05.
ENGLISH = 0.15

FRAMES = (
    "I would like to know: {}",
    "Can you tell me: {}",
    "Hello, I have a question. {}",
    "Please help me with this: {}",
)

WORD = re.compile(r"[^\W\d_]+")
EDGES = re.compile(r"^\W+|\W+$")
APOSTROPHE = "['\u2019]"
AUXILIARIES = "is|are|was|were|do|does|did|has|have|had|could|would|should|must|need"
# (short form, long form), each a pattern with what replaces it. Before a word alone: "I know what it is" has no short
# form. What is ambiguous (he's got, I'd) is left as it is.
CONTRACT: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(rf"\b({AUXILIARIES}) not\b", re.I), r"\1n't"),
    (re.compile(r"\b(w)ill not\b", re.I), r"\1on't"),
    (re.compile(r"\b(ca)n(?:not| not)\b", re.I), r"\1n't"),
    (re.compile(r"\b(I) am(?=\s+\w)", re.I), r"\1'm"),
    (re.compile(r"\b(you|we|they) are(?=\s+\w)", re.I), r"\1're"),
    (re.compile(r"\b(he|she|it|that|there|what|where|who|how) is(?=\s+\w)", re.I), r"\1's"),
    (re.compile(r"\b(I|you|he|she|it|we|they) will(?=\s+\w)", re.I), r"\1'll"),
]
EXPAND: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(rf"\b({AUXILIARIES})n{APOSTROPHE}t\b", re.I), r"\1 not"),
    (re.compile(rf"\b(w)on{APOSTROPHE}t\b", re.I), r"\1ill not"),
    (re.compile(rf"\b(ca)n{APOSTROPHE}t\b", re.I), r"\1nnot"),
    (re.compile(rf"\b(I){APOSTROPHE}m\b", re.I), r"\1 am"),
    (re.compile(rf"\b(you|we|they){APOSTROPHE}re\b", re.I), r"\1 are"),
    (re.compile(rf"\b(it|that|there|what|where|who|how){APOSTROPHE}s(?!\s+(?:been|got|\w+ed)\b)", re.I), r"\1 is"),
    (re.compile(rf"\b(I|you|he|she|it|we|they){APOSTROPHE}ll\b", re.I), r"\1 will"),
    (re.compile(rf"\b(I|you|we|they){APOSTROPHE}ve\b", re.I), r"\1 have"),
]

# Behind a word of three letters at least: "U.S." and "y. pestis" end no sentence.
BETWEEN_SENTENCES = re.compile(r"(?<=[a-z0-9)]{3}[.!?])\s+(?=\w)")
ABBREVIATED = re.compile(r"\b(?:i\.e|e\.g|etc|fig|mrs|inc|corp|ltd|jan|feb|aug|sept|oct|nov|dec)\.", re.I)
MIN_SENTENCE, MIN_CLAUSE = 3, 2
CLAUSE = re.compile(
    r"^(.+?),?\s+(if|when|because|while|although|unless|after|before)\s+([^,.;:!?]+)([\s.!?]*)$", re.I | re.S
)
# Behind these "when" and "if" are asked for, and "after" belongs to what stands before it.
_NO_CLAUSE_BEHIND = """
know tell me see check wonder wondering sure ask asked asking say find out of about and or as only even just day days
week weeks month months hours minutes years shortly long soon right
"""
NO_CLAUSE_BEHIND = frozenset(_NO_CLAUSE_BEHIND.split())


def looks_english(texts: Sequence[str]) -> bool:
    """Whether enough of the words are function words of English."""
    words = [word for text in texts for word in WORD.findall(text.lower())]
    return bool(words) and sum(word in FUNCTION_WORDS for word in words) / len(words) >= ENGLISH


def contractions(text: str, _strength: float, _random: Random) -> str:
    """Short forms written out (``don't`` as ``do not``); a text without any gets those that it could have."""
    expanded = _all(text, EXPAND)
    return expanded if expanded != text else _all(text, CONTRACT)


def _all(text: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str:
    for pattern, new in rules:
        text = pattern.sub(new, text)
    return text


def framed(text: str, _strength: float, random: Random) -> str:
    """A polite opening before the question, as to a person."""
    return random.choice(FRAMES).format(text)


def keywords(text: str, _strength: float, _random: Random) -> str:
    """The words that carry meaning alone, as typed into a search box; negations stay."""
    words = [EDGES.sub("", word) for word in text.split()]
    return " ".join(word for word in words if word and _stem(word) not in DROPPED)


def _stem(word: str) -> str:
    """What stands before an apostrophe (``it`` of ``it's``), in lower case; a negation whole."""
    word = word.lower().replace("\u2019", "'")
    return word if word.endswith("n't") else word.partition("'")[0]


def clause_order(text: str, _strength: float, _random: Random) -> str:
    """Sentences in reverse; in a single one the clause of ``if``, ``when``, ``because``, ... moved to the front."""
    sentences = BETWEEN_SENTENCES.split(text.strip())
    if len(sentences) > 1:
        whole = min(len(sentence.split()) for sentence in sentences) >= MIN_SENTENCE and not ABBREVIATED.search(text)
        return " ".join(reversed(sentences)) if whole else text
    return _clause_first(text)


def _clause_first(text: str) -> str:
    match = CLAUSE.match(text.strip())
    if match is None:
        return text
    main, link, clause, end = match.groups()
    words = main.split()
    if min(len(words), len(clause.split())) < MIN_CLAUSE or words[-1].lower() in NO_CLAUSE_BEHIND:
        return text
    if main[0].isupper():
        link = link.capitalize()
        main = main[0].lower() + main[1:] if words[0].lower() in FUNCTION_WORDS and words[0] != "I" else main
    return f"{link} {clause}, {main}{end}"


def word_order(text: str, strength: float, random: Random) -> str:
    """Two words exchanged, as often as is that share of the words: no paraphrase, but what a bag of words misses."""
    return by_word(text, lambda words: EDITS["swap"](words, strength, random, None))


class Synonyms:
    """That share of the words replaced by a synonym of their most frequent sense, which may not be the one meant."""

    def __init__(self, thesaurus: Thesaurus) -> None:
        self.thesaurus = thesaurus

    def __call__(self, text: str, strength: float, random: Random) -> str:
        """``text`` with words replaced."""
        return by_word(text, lambda words: EDITS["synonyms"](words, strength, random, self.thesaurus))
