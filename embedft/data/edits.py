"""Small edits of a text for augmentation: random deletion, swap, insertion, crop, typos, synonyms.

Sources: deletion, swap, insertion, synonyms: Wei & Zou 2019, EDA, arXiv:1901.11196. Insertion without a thesaurus:
Karimi et al. 2021, AEDA, arXiv:2108.13230. Crop: Izacard et al. 2022, Contriever, arXiv:2112.09118. Typos leave the
first letter of a word: Pruthi et al. 2019, arXiv:1905.11268.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from embedft.data.thesaurus import Thesaurus
from embedft.errors import ConfigError

# A method takes words, the share of them to change, a random source and a thesaurus, and gives new words; the same
# words where there is nothing to change.
Edit = Callable[[list[str], float, Random, Thesaurus | None], list[str]]

MARKS = (".", ";", "?", ":", "!", ",")
WORD = re.compile(r"^(\W*)(\w(?:.*\w)?)(\W*)$", re.S)
MIN_TYPO_LETTERS = 4
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    letter: "".join(row[max(place - 1, 0) : place] + row[place + 1 : place + 2])
    for row in ROWS
    for place, letter in enumerate(row)
}


def _how_many(words: list[str], rate: float) -> int:
    return max(1, round(len(words) * rate))


def _deletion(words: list[str], rate: float, random: Random, _: Thesaurus | None) -> list[str]:
    if len(words) < 2:
        return words
    gone = set(random.sample(range(len(words)), min(_how_many(words, rate), len(words) - 1)))
    return [word for place, word in enumerate(words) if place not in gone]


def _swap(words: list[str], rate: float, random: Random, _: Thesaurus | None) -> list[str]:
    words = list(words)
    for _number in range(_how_many(words, rate) if len(words) > 1 else 0):
        one, other = random.sample(range(len(words)), 2)
        words[one], words[other] = words[other], words[one]
    return words


def _insertion(words: list[str], rate: float, random: Random, thesaurus: Thesaurus | None) -> list[str]:
    found = [synonym for word in words for synonym in _synonyms_of(word, thesaurus)] if thesaurus else list(MARKS)
    count = _how_many(words, rate)
    words = list(words)
    for _number in range(count if found else 0):
        words.insert(random.randint(1, len(words)), random.choice(found))
    return words


def _crop(words: list[str], rate: float, random: Random, _: Thesaurus | None) -> list[str]:
    if len(words) < 2:
        return words
    length = max(1, len(words) - _how_many(words, rate))
    begin = random.randint(0, len(words) - length)
    return words[begin : begin + length]


def _typos(words: list[str], rate: float, random: Random, _: Thesaurus | None) -> list[str]:
    words = list(words)
    open_to = [place for place, word in enumerate(words) if len(word) >= MIN_TYPO_LETTERS and word.isalpha()]
    for place in random.sample(open_to, min(_how_many(words, rate), len(open_to))):
        words[place] = _typo(words[place], random)
    return words


def _typo(word: str, random: Random) -> str:
    """A letter left out, doubled, swapped with the next, or hit beside its key; never the first one."""
    place = random.randrange(1, len(word))
    kinds = [word[:place] + word[place + 1 :], word[:place] + word[place] + word[place:]]
    if place + 1 < len(word) and word[place] != word[place + 1]:
        kinds.append(word[:place] + word[place + 1] + word[place] + word[place + 2 :])
    if word[place] in NEIGHBOURS:
        kinds.append(word[:place] + random.choice(NEIGHBOURS[word[place]]) + word[place + 1 :])
    return random.choice(kinds)


def _synonyms(words: list[str], rate: float, random: Random, thesaurus: Thesaurus | None) -> list[str]:
    words = list(words)
    known = [place for place, word in enumerate(words) if _synonyms_of(word, thesaurus)]
    for place in random.sample(known, min(_how_many(words, rate), len(known))):
        before, word, after = _parts(words[place])
        new = random.choice(_synonyms_of(words[place], thesaurus))
        words[place] = f"{before}{new[:1].upper() + new[1:] if word[:1].isupper() else new}{after}"
    return words


def _parts(word: str) -> tuple[str, str, str]:
    """What stands before a word (quotation marks), the word itself, what stands after it (a comma)."""
    match = WORD.match(word)
    return (match[1], match[2], match[3]) if match else ("", word, "")


def _synonyms_of(word: str, thesaurus: Thesaurus | None) -> tuple[str, ...]:
    return thesaurus.synonyms(_parts(word)[1].lower()) if thesaurus else ()


EDITS: dict[str, Edit] = {
    "deletion": _deletion,
    "swap": _swap,
    "insertion": _insertion,
    "crop": _crop,
    "typos": _typos,
    "synonyms": _synonyms,
}


def edit(text: str, method: str, rate: float, random: Random, thesaurus: Thesaurus | None = None) -> str:
    """``text`` with about ``rate`` of its words changed, one at least where that is possible.

    Args:
        text: words are what white space divides; runs of white space become one space.
        method: a name in `EDITS`.
        rate: share of the words, 0..1.
        random: source of the choices.
        thesaurus: for ``synonyms``; ``insertion`` without one puts in punctuation marks.

    Raises:
        ConfigError: ``synonyms`` without a thesaurus.
    """
    if method == "synonyms" and thesaurus is None:
        raise ConfigError("synonyms need a thesaurus.", hint="give a thesaurus file, or install WordNet.")
    words = text.split()
    return " ".join(EDITS[method](words, rate, random, thesaurus)) if words else text
