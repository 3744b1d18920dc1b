"""What two texts of a pair have in common: words, length, negation, numbers. Of English where words are listed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from embedft.index.lexical.words import Words, surfaces

Floats = npt.NDArray[np.float64]
NEGATIONS = (
    "no", "not", "never", "none", "nobody", "nothing", "nowhere", "neither", "nor", "cannot", "without", "n't",
)  # fmt: skip
_NEGATION = re.compile(rf"\b(?:{'|'.join(NEGATIONS[:-1])})\b|n['’]t\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
NUMBER_WORDS = {
    "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9",
    "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip
NONE, ONE, BOTH = "in neither text", "in one of the texts", "in both texts"
SAME, OTHER, WITHOUT = "the same numbers", "different numbers", "no numbers"


def is_negated(text: str) -> bool:
    """Whether one of the English `NEGATIONS` stands in the text."""
    return _NEGATION.search(text) is not None


def numbers_in(text: str) -> frozenset[str]:
    """The numbers of a text, written in digits or as an English word from two to twelve."""
    words = (NUMBER_WORDS.get(word.lower()) for word in surfaces(text))
    return frozenset(_NUMBER.findall(text)) | {word for word in words if word}


@dataclass(frozen=True)
class PairFeatures:
    """What the texts of each pair share.

    Attributes:
        texts: the pairs.
        language: of the texts, for stemmer and stop words.
    """

    texts: Sequence[tuple[str, str]]
    language: str | None

    @cached_property
    def overlap(self) -> Floats:
        """Words in both texts over words in either (Jaccard), 0..1, (pairs,); NaN where there is none."""
        term_of = Words.of(self.language).reader()

        def terms(text: str) -> set[str]:
            return {term_of(surface) for surface in set(surfaces(text))} - {""}

        shares = []
        for left, right in self.texts:
            one, other = terms(left), terms(right)
            shares.append(len(one & other) / len(one | other) if one | other else np.nan)
        return np.array(shares, np.float64)

    @cached_property
    def lengths(self) -> Floats:
        """Words of each text, (pairs, 2)."""
        return np.array([[len(surfaces(text)) for text in pair] for pair in self.texts], np.float64).reshape(-1, 2)

    @cached_property
    def negation(self) -> list[str]:
        """Whether neither, one or both texts are negated, by its label."""
        return [(NONE, ONE, BOTH)[is_negated(left) + is_negated(right)] for left, right in self.texts]

    @cached_property
    def numbers(self) -> list[str]:
        """Whether the numbers of the two texts are the same, by its label."""
        found = [(numbers_in(left), numbers_in(right)) for left, right in self.texts]
        return [WITHOUT if not (one or other) else SAME if one == other else OTHER for one, other in found]
