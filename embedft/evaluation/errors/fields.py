"""Metadata by which queries are sliced: fields of few kinds, and amounts, found by themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedft.evaluation.errors.slices import SMALLEST, Slicing, by_amount, by_kind, plain

# More kinds than this are names or identifiers, not kinds.
FEW_KINDS = 30
LONGEST_KIND = 60
MOST_FIELDS = 5
# A field is looked at if so many rows have it.
KNOWN_SHARE = 0.5


def by_fields(of: str, metadata: Sequence[str | None], *, items: str = "queries") -> list[Slicing]:
    """A slicing for each field that parts the rows, at most five, those with most values known first.

    A field of few kinds (texts, truth values, whole numbers) is sliced by kind, one of many numbers by amount; texts
    that hardly repeat, lists and objects are left out.

    Args:
        of: whose metadata, as "document" in "document source".
        metadata: JSON text of each row, or None; what is no JSON object counts as None.
        items: what is judged, in the plural.
    """
    rows = [_object(text) for text in metadata]
    known = Counter(name for row in rows for name, value in row.items() if value not in (None, ""))
    found = []
    for name, count in known.most_common():
        if count < max(KNOWN_SHARE * len(rows), 2 * SMALLEST):
            break
        slicing = _slicing(f"{of} {name}", [row.get(name) for row in rows], items)
        if slicing is not None and slicing.labels:
            found.append(slicing)
        if len(found) == MOST_FIELDS:
            break
    return found


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, lists in lists without end
        return {}
    return {_written(name): part for name, part in value.items()} if isinstance(value, dict) else {}


def _written(value: str | float) -> str:
    """A value or a name as text that a file can hold: half of a surrogate pair, which JSON allows, becomes "?"."""
    return str(value).encode(errors="replace").decode()


def _slicing(by: str, values: list[Any], items: str) -> Slicing | None:
    given = [value for value in values if value not in (None, "")]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in given)
    if not all(isinstance(value, str | int | float) for value in given):
        return None
    kinds = [None if value in (None, "") else _written(value) for value in values]
    distinct = {kind for kind in kinds if kind is not None}
    if len(distinct) <= FEW_KINDS and all(len(kind) <= LONGEST_KIND for kind in distinct):
        return by_kind(by, kinds, items=items)
    if not numbers:
        return None
    amounts = np.array([np.nan if value in (None, "") else _amount(value) for value in values])
    return by_amount(by, amounts, write=_number if (amounts % 1 > 0).any() else plain, items=items)


def _amount(value: float) -> float:
    """The value; NaN, which is in no part, where it is infinite or too large to reckon with."""
    try:
        amount = float(value)
    except OverflowError:
        return np.nan
    return amount if np.isfinite(amount) else np.nan


def _number(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()
