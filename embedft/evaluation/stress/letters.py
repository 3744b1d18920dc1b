"""What happens to the letters of a text on its way: typing, scanning, copying, other alphabets, capitals.

Each stress takes a text, a strength and a source of chance, and gives the text changed. White space stays as it is.
Sources: typing errors hurt dense retrieval, Zhuang and Zuccon 2021, arXiv:2108.12139; natural and synthetic noise,
Belinkov and Bisk 2018, arXiv:1711.02173; look-alikes and hidden characters, Boucher et al. 2021, arXiv:2106.09898.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from random import Random

from embedft.data.edits import EDITS

SPACES = re.compile(r"(\s+)")
# What optical recognition takes for another; longer ones are looked for first.
CONFUSED = {
    "rn": "m", "cl": "d", "vv": "w", "nn": "m", "m": "rn", "d": "cl", "w": "vv", "e": "c", "c": "e", "l": "1", "I": "l",
    "O": "0", "o": "0", "S": "5", "s": "5", "B": "8", "b": "h", "h": "b", "g": "9", "t": "f", "f": "t", "u": "n",
    "n": "u", "i": "l",
}  # fmt: skip
SITES = re.compile("|".join(sorted(CONFUSED, key=len, reverse=True)))
# Cyrillic letters that most fonts draw as the Latin ones (Unicode Technical Standard 39, confusables).
TWINS = dict(zip("aceiopsxyABCEHIKMOPSTXY", "асеіорѕхуАВСЕНІКМОРЅТХУ", strict=True))
SOFT_HYPHEN = "\u00ad"
# Typesetters break words of some length.
MIN_BROKEN_LETTERS = 6

Words = list[str]


def share_of(count: int, strength: float) -> int:
    """How many of ``count`` places are changed: about ``strength`` of them, one at least if there is one."""
    return min(max(1, round(count * strength)), count)


def by_word(text: str, change: Callable[[Words], Words]) -> str:
    """``text`` with its words changed, as many as before, and the white space between them as it is."""
    pieces = SPACES.split(text)
    places = [place for place in range(0, len(pieces), 2) if pieces[place]]
    for place, word in zip(places, change([pieces[place] for place in places]), strict=True):
        pieces[place] = word
    return "".join(pieces)


def typos(text: str, strength: float, random: Random) -> str:
    """A letter left out, doubled, swapped or hit beside its key, in that share of the words (four letters or more)."""
    return by_word(text, lambda words: EDITS["typos"](words, strength, random, None))


def misread(text: str, strength: float, random: Random) -> str:
    """That share of the letters taken for others, as optical recognition does: ``rn`` for ``m``, ``1`` for ``l``."""
    letters = sum(not sign.isspace() for sign in text)
    return _replaced(text, SITES, CONFUSED.__getitem__, share_of(letters, strength), random)


def look_alikes(text: str, strength: float, random: Random) -> str:
    """That share of the Latin letters that have a Cyrillic twin replaced by it: nothing that a reader would see."""
    twins = re.compile(f"[{''.join(TWINS)}]")
    return _replaced(text, twins, TWINS.__getitem__, share_of(len(twins.findall(text)), strength), random)


def _replaced(text: str, sites: re.Pattern[str], new: Callable[[str], str], count: int, random: Random) -> str:
    found = list(sites.finditer(text))
    for match in sorted(random.sample(found, min(count, len(found))), key=lambda match: -match.start()):
        text = text[: match.start()] + new(match[0]) + text[match.end() :]
    return text


def soft_hyphens(text: str, strength: float, random: Random) -> str:
    """Invisible hyphens in that share of the long words, as texts copied from web pages and PDF hold them."""

    def broken(words: Words) -> Words:
        words = list(words)
        long = [place for place, word in enumerate(words) if len(word) >= MIN_BROKEN_LETTERS and word.isalpha()]
        for place in random.sample(long, share_of(len(long), strength)):
            cut = random.randint(2, len(words[place]) - 2)
            words[place] = words[place][:cut] + SOFT_HYPHEN + words[place][cut:]
        return words

    return by_word(text, broken)


def no_diacritics(text: str, _strength: float, _random: Random) -> str:
    """Letters without accents, umlauts and other marks, as many people type them."""
    bare = "".join(sign for sign in unicodedata.normalize("NFD", text) if unicodedata.category(sign) != "Mn")
    # A text that was decomposed before and has no marks stays as it is.
    return unicodedata.normalize("NFC", bare)


def upper_case(text: str, _strength: float, _random: Random) -> str:
    """All capitals."""
    return text.upper()


def lower_case(text: str, _strength: float, _random: Random) -> str:
    """No capitals."""
    return text.lower()
