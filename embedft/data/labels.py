"""Labels: how often each stands, which are probably a typo of another, which rows contradict each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

# A label this many times as rare as the one it resembles is taken for a typo of it.
RARER = 5
FORM = re.compile(r"[\W_]+")


def typos(counts: Counter[str]) -> dict[str, tuple[str, str]]:
    """Label -> (how it differs, the label that was probably meant).

    ``other case``, ``other separators`` (``-`` for ``_``) or ``one letter off`` (a letter left out, added, changed, or
    two swapped) of a label that is at least `RARER` times as frequent.
    """
    found: dict[str, tuple[str, str]] = {}
    order = dict(counts.most_common())
    for label, count in order.items():
        for other, frequent in order.items():
            if frequent < RARER * count:
                break
            difference = _difference(label, other)
            if difference:
                found[label] = (difference, other)
                break
    return found


def _difference(label: str, other: str) -> str:
    if label.casefold() == other.casefold():
        return "other case"
    if FORM.sub("_", label).casefold() == FORM.sub("_", other).casefold():
        return "other separators"
    # Numbered and very short labels differ in one letter by nature.
    if min(len(label), len(other)) < 5 or re.sub(r"\d", "", label) == re.sub(r"\d", "", other):
        return ""
    return "one letter off" if _one_edit(label, other) else ""


def _one_edit(left: str, right: str) -> bool:
    """Whether one insertion, deletion, substitution or swap of neighbours turns one into the other."""
    if abs(len(left) - len(right)) > 1 or left == right:
        return False
    short, long = sorted((left, right), key=len)
    place = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[place:] == long[place + 1 :]
    swapped = short[:place] + short[place : place + 2][::-1] + short[place + 2 :]
    return short[place + 1 :] == long[place + 1 :] or swapped == long


def conflicting(first: np.ndarray, labels: Sequence[Sequence[str]]) -> np.ndarray:
    """Rows whose text has other labels on its first row, (n,) bool.

    Args:
        first: for each row the first row with the same text, (n,).
        labels: of each row.
    """
    sets = [frozenset(row) for row in labels]
    return np.fromiter((sets[number] != sets[begin] for number, begin in enumerate(first.tolist())), bool, len(sets))
