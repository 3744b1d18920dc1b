"""Filters: which documents a search may find, by their metadata, id and title.

A filter compares one field with a value, and the column that it meets says how: numbers as numbers, truth values as
`true` and `false`, text by code points (so dates sort as they should where they are written 2024-12-31). A field that
is a list is compared by its elements: it equals a value that it contains. Where a document has no value, no filter
holds, not even `!=`. Segments of one index may type a field differently (a year that is a number in one and text in
another): each compares by its own type.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedft.errors import DataError

Flags = npt.NDArray[np.bool_]
Value = str | int | float | bool
Op = Literal["=", "!=", "<", "<=", ">", ">=", "in"]

ORDERS = {"<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
WRITTEN = re.compile(r"\s*([^<>=!]*?)\s*(==?|!=|<=|>=|<|>)\s*(.*?)\s*", re.DOTALL)
FORMS = "write field=value, field!=value, field>=value (or <, <=, >), or field=one,two for any of them"


class Fields(Protocol):
    """What filters ask of documents; `embedft.index.storage.documents.Documents` has it."""

    def __len__(self) -> int: ...

    @property
    def field_names(self) -> list[str]:
        """The fields there are, id and title among them."""
        ...

    def field(self, name: str) -> pa.ChunkedArray | None:
        """A value or null for each document; None for a field that there is not."""
        ...


@dataclass(frozen=True)
class Filter:
    """One condition.

    Attributes:
        field: of the metadata, or id or title.
        op: how to compare; "in" is any of several values, "!=" none of them.
        value: one value, or several for "in" and "!=". A text is read as the column's type.
    """

    field: str
    op: Op
    value: Value | tuple[Value, ...]

    def __str__(self) -> str:
        return f"{self.field}{'=' if self.op == 'in' else self.op}{','.join(map(_written, self.values))}"

    @property
    def values(self) -> tuple[Value, ...]:
        """The value, or the several."""
        return self.value if isinstance(self.value, tuple) else (self.value,)


Condition = str | Filter
Filters = Condition | Sequence[Condition] | Mapping[str, Any] | None


def parse(text: str) -> Filter:
    """The filter that is written as ``year>=2020``, ``lang=en``, ``lang!=de`` or ``lang=en,de`` (any of them).

    Commas part values of ``=`` and ``!=``; a value with a comma in it stands in double quotes, as in CSV.

    Raises:
        DataError: it is written in no such way.
    """
    match = WRITTEN.fullmatch(text)
    if match is None or not match[1]:
        raise DataError(f"filter {text!r} is not of the form field=value.", hint=f"{FORMS}.")
    field, op, value = match[1], match[2].replace("==", "="), match[3]
    if op in ORDERS:
        return _checked(field, op, value)
    try:
        values = next(csv.reader([value], skipinitialspace=True, strict=True)) or [""]
    except csv.Error as error:
        raise DataError(
            f"filter {text!r}: its value cannot be read: {error}.", hint="put a value with commas in double quotes."
        ) from error
    values = [part.strip() for part in values] if len(values) > 1 else values
    if len(values) > 1:
        return _checked(field, "in" if op == "=" else op, tuple(values))
    return _checked(field, op, values[0])


def parse_all(filters: Filters) -> list[Filter]:
    """The filters, all of which must hold, out of what users write; an empty list for None.

    Args:
        filters: one as text (`parse`) or as a `Filter`; a list of such; or a mapping of fields to what they must be:
            a value, ``(op, value)``, a list of values (any of them), or a list of ``(op, value)`` (all must hold).

    Raises:
        DataError: one cannot be read.
    """
    if filters is None:
        return []
    if isinstance(filters, str | Filter):
        filters = [filters]
    if isinstance(filters, Mapping):
        return [found for field, wanted in filters.items() for found in _of_mapping(field, wanted)]
    if not isinstance(filters, Iterable):
        raise DataError(f"filters are {filters!r}.", hint="give texts such as 'lang=en', or a mapping.")
    return [_of_item(item) for item in filters]


def mask(filters: Sequence[Filter], documents: Fields, known_fields: Collection[str] | None = None) -> Flags:
    """(documents,), which of them all filters let through.

    Args:
        filters: as `parse_all` gives them; none lets everything through.
        documents: of one segment.
        known_fields: the fields of all segments: one that only others have is no mistake, here no document has it.

    Raises:
        DataError: there is no such field, or a value does not fit the field's type.
    """
    known = set(documents.field_names) | set(known_fields or ())
    flags: Flags = np.ones(len(documents), np.bool_)
    for one in filters:
        if one.field not in known:
            raise _unknown(one, known)
        column = documents.field(one.field)
        flags &= np.zeros(len(documents), np.bool_) if column is None else _holds(one, column)
    return flags


def _of_mapping(field: str, wanted: Any) -> list[Filter]:
    if isinstance(wanted, list | tuple | set | frozenset):
        if _is_operation(wanted):
            return [_checked(field, *wanted)]
        wanted = list(wanted)
        if wanted and all(map(_is_operation, wanted)):
            return [_checked(field, *operation) for operation in wanted]
        return [_checked(field, "in", tuple(wanted))]
    return [_checked(field, "=", wanted)]


def _is_operation(wanted: Any) -> bool:
    return isinstance(wanted, tuple) and len(wanted) == 2 and wanted[0] in get_args(Op)


def _of_item(item: Any) -> Filter:
    if isinstance(item, str):
        return parse(item)
    if isinstance(item, Filter):
        return _checked(item.field, item.op, item.value)
    raise DataError(f"filter {item!r} is a {type(item).__name__}.", hint="give texts such as 'lang=en', or a mapping.")


def _checked(field: Any, op: Any, value: Any) -> Filter:
    """A filter of values that can be compared."""
    if not isinstance(field, str) or op not in get_args(Op):
        raise DataError(f"filter ({field!r}, {op!r}, {value!r}) names no field and operation.", hint=f"{FORMS}.")
    if isinstance(value, list | set | frozenset):
        value = tuple(value)
    several = isinstance(value, tuple)
    if op == "in" and not several:
        value, several = (value,), True
    wrong = next((part for part in (value if several else [value]) if not isinstance(part, Value)), None)
    if wrong is not None or value is None or (several and op in ("=", *ORDERS)):
        raise DataError(
            f"filter on {field!r}: {value!r} cannot be compared with {op}.",
            hint="give a text, a number or a truth value; several of them for 'in' and '!='.",
        )
    return Filter(field, op, value)


def _holds(one: Filter, column: pa.ChunkedArray) -> Flags:
    flags = [_of_chunk(one, chunk) for chunk in column.chunks]
    return np.concatenate(flags) if flags else np.zeros(0, np.bool_)


def _of_chunk(one: Filter, chunk: pa.Array) -> Flags:
    if not pa.types.is_list(chunk.type) and not pa.types.is_large_list(chunk.type):
        return _compared(one, chunk)
    if one.op in ORDERS:
        raise DataError(
            f"filter {one}: {one.field} is a list, which {one.op} does not compare.",
            hint="compare a list by = (contains), != (does not contain) or several values.",
        )
    inside = _compared(Filter(one.field, "in", one.values), chunk.flatten())
    contains: Flags = np.zeros(len(chunk), np.bool_)
    contains[pc.list_parent_indices(chunk).to_numpy()[inside]] = True
    return contains if one.op != "!=" else ~contains & _flags(chunk.is_valid())


def _compared(one: Filter, values: pa.Array) -> Flags:
    """Which values the filter holds for; for none that is missing."""
    wanted = [_typed(one, value, values.type) for value in one.values]
    if one.op in ORDERS:
        if pa.types.is_boolean(values.type):
            raise DataError(
                f"filter {one}: {one.field} is true or false, which {one.op} does not compare.",
                hint=f"write {one.field}=true or {one.field}=false.",
            )
        return _flags(ORDERS[one.op](values, pa.scalar(wanted[0], values.type)))
    present = values.is_valid()
    if pa.types.is_floating(values.type):
        # A number that is none: missing too.
        present = pc.and_(present, pc.invert(pc.is_nan(values)))
        # Arrow looks numbers up by their bits, and those of -0 and 0 differ.
        values = pc.add(values, 0.0)
    equal = pc.is_in(values, value_set=pa.array(wanted, values.type))
    return _flags(pc.and_(present, pc.invert(equal) if one.op == "!=" else equal))


def _flags(booleans: pa.Array) -> Flags:
    flags: Flags = pc.fill_null(booleans, False).to_numpy(zero_copy_only=False)
    return flags


def _typed(one: Filter, value: Value, kind: pa.DataType) -> Value:
    """A value of the filter as the column's type.

    Raises:
        DataError: it is none of that type.
    """
    if pa.types.is_boolean(kind):
        found, expected = _truth(value), "true or false"
    elif pa.types.is_floating(kind):
        found, expected = _number(value), "a number"
    else:
        # Half a surrogate pair, which a command line can hold, is stored as a question mark.
        return _written(value).encode("utf-8", "replace").decode()
    if found is None:
        raise DataError(
            f"filter {one}: {value!r} is not {expected}, as the values of {one.field} are.", hint=f"give {expected}."
        )
    return found


def _truth(value: Value) -> Value | None:
    return {"true": True, "false": False}.get(_written(value).lower())


def _number(value: Value) -> Value | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number + 0.0


def _written(value: Value) -> str:
    """A value as metadata of mixed types are stored as text: a string as it is, others as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _unknown(one: Filter, known: Collection[str]) -> DataError:
    near = get_close_matches(one.field, known, n=3)
    fields = sorted(known)
    listed = ", ".join(fields[:20]) + (f" and {len(fields) - 20} more" if len(fields) > 20 else "")
    return DataError(
        f"filter {one}: no document has a field {one.field!r}; there are: {listed or 'none'}.",
        hint=f"did you mean {' or '.join(near)}?" if near else "name one of these fields.",
    )
