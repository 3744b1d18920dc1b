"""Labels: how often each stands, which are probably a typo of another, which rows contradict each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from embedft.data.near import SIGNS

# A label this many times as rare as the one it resembles is taken for a typo of it.
RARER = 5
# Shorter labels differ in one letter by nature.
LONG_ENOUGH = 5


def typos(counts: Counter[str]) -> dict[str, tuple[str, str]]:
    """Label -> (how it differs, the label that was probably meant).

    ``other case``, ``other separators`` (``-`` for ``_``) or ``one letter off`` (a letter left out, added, changed, or
    two swapped) of a label that is at least `RARER` times as frequent; the most frequent of several.
    """
    order = counts.most_common()
    frequent_with: dict[int, list[int]] = {}
    for place, (label, count) in enumerate(order):
        if count < RARER * order[-1][1]:
            break
        for key in _neighbourhood(label):
            frequent_with.setdefault(key, []).append(place)
    found: dict[str, tuple[str, str]] = {}
    for label, count in order:
        if order[0][1] < RARER * count:
            continue
        for place in sorted({place for key in _neighbourhood(label) for place in frequent_with.get(key, ())}):
            other, frequent = order[place]
            difference = _difference(label, other) if frequent >= RARER * count else ""
            if difference:
                found[label] = (difference, other)
                break
    return found


def _neighbourhood(label: str) -> set[int]:
    """Hashes of which two labels share one if they differ as `typos` says (and seldom otherwise)."""
    forms = [label.casefold(), _form(label)]
    if len(label) >= LONG_ENOUGH:
        # Whatever the one edit is, the two are equal once a letter is left out of the one, the other, or both.
        forms += [label, *(label[:place] + label[place + 1 :] for place in range(len(label)))]
    return set(map(hash, forms))


def _form(label: str) -> str:
    """Without case, and with one sign for each run of separators."""
    return re.sub(" +", " ", label.translate(SIGNS)).casefold()


def _difference(label: str, other: str) -> str:
    if label.casefold() == other.casefold():
        return "other case"
    if _form(label) == _form(other):
        return "other separators"
    # Numbered labels differ in one letter by nature, too.
    if min(len(label), len(other)) < LONG_ENOUGH or re.sub(r"\d", "", label) == re.sub(r"\d", "", other):
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
