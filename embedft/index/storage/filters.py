"""Filters: which documents a search may find, by their metadata, id and title.

A filter compares one field with a value. A value that reads as a number is compared with all that reads as a number,
be it written as one or as text; `true` and `false` with truth values; every other value as text, by code points (so
dates sort as they should where they are written 2024-12-31). A list is compared by its elements: one that holds is
enough, for `!=` none may be equal. Where a document has no value, no filter holds, not even `!=`.

So what a filter answers depends on the document's value alone, not on the type that its neighbours gave the column: an
index answers alike before and after it is compacted. Ids and titles are text.
"""

from __future__ import annotations

import csv
import json
import math
import operator
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from embedft.errors import DataError
from embedft.index.storage.documents import OWN_FIELDS
from embedft.index.storage.fields import EXACT_IN_FLOAT, as_text

Flags = npt.NDArray[np.bool_]
Value = str | int | float | bool
Op = Literal["=", "!=", "<", "<=", ">", ">=", "in"]

ORDERS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
ORDERS_OF_TEXT = {"<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
# What reads as a number in text: as Python's float() reads it, but for underscores, inf and nan.
NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
BLANKS = " \t\n\r\v\f"
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
        value: one value, or several for "in" and "!=". A text that reads as a number or truth value counts as one.
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


def mask(filters: Sequence[Filter], segments: Sequence[Fields]) -> Flags:
    """(documents of all segments in order,), which of them all filters let through.

    A field that only some segments have is no mistake; in the others no document has it.

    Args:
        filters: as `parse_all` gives them; none lets everything through.
        segments: the documents of each segment.

    Raises:
        DataError: there is no such field, or all its values are numbers (truth values) and the filter's is none.
    """
    known = {name for segment in segments for name in segment.field_names}
    flags: Flags = np.ones(sum(map(len, segments)), np.bool_)
    for one in filters:
        if one.field not in known:
            raise _unknown(one, known)
        columns = [segment.field(one.field) for segment in segments]
        _require_comparable(one, {column.type for column in columns if column is not None})
        parts = [
            np.zeros(len(segment), np.bool_) if column is None else _holds(one, column)
            for segment, column in zip(segments, columns, strict=True)
        ]
        flags &= np.concatenate(parts)
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


def _require_comparable(one: Filter, types: Collection[pa.DataType]) -> None:
    """Raise DataError if no value of a field could ever be what the filter asks for.

    Types that differ make no mistake of it: as one column they would be text.
    """
    kinds = list(types)
    if len(kinds) != 1:
        return
    if pa.types.is_boolean(kinds[0]):
        if one.op in ORDERS:
            raise DataError(
                f"filter {one}: {one.field} is true or false, which {one.op} does not compare.",
                hint=f"write {one.field}=true or {one.field}=false.",
            )
        expected, wrong = "true or false", [value for value in one.values if _truth(value) is None]
    elif pa.types.is_floating(kinds[0]):
        expected, wrong = "a number", [value for value in one.values if _number(value) is None]
    else:
        return
    if wrong:
        raise DataError(
            f"filter {one}: {wrong[0]!r} is not {expected}, as the values of {one.field} are.",
            hint=f"give {expected}.",
        )


def _holds(one: Filter, column: pa.ChunkedArray) -> Flags:
    flags = [_of_chunk(one, chunk) for chunk in column.chunks]
    return np.concatenate(flags) if flags else np.zeros(0, np.bool_)


def _of_chunk(one: Filter, chunk: pa.Array) -> Flags:
    if pa.types.is_list(chunk.type):
        inside = _matches(one, chunk.flatten())
        found: Flags = np.zeros(len(chunk), np.bool_)
        found[pc.list_parent_indices(chunk).to_numpy()[inside]] = True
    else:
        found = _matches(one, chunk)
    return ~found & _present(chunk) if one.op == "!=" else found


def _matches(one: Filter, values: pa.Array) -> Flags:
    """Which values are as the filter's one is, or equal to any of several; of ``!=`` too, whose answer is the rest."""
    # An id 007 is not an id 7.
    wanted = [None if one.field in OWN_FIELDS else _number(value) for value in one.values]
    numbers = [value for value, number in zip(one.values, wanted, strict=True) if number is not None]
    texts = [value for value, number in zip(one.values, wanted, strict=True) if number is None]
    flags: Flags = np.zeros(len(values), np.bool_)
    if numbers:
        flags |= _of_numbers(one.op, numbers, values)
    if texts:
        flags |= _of_texts(one, texts, values)
    return flags


def _of_numbers(op: Op, wanted: Sequence[Value], values: pa.Array) -> Flags:
    """Comparison by number: exact beyond 2**53 too, where float64 takes neighbours for equal."""
    numbers = _numbers(values)
    targets = np.array([_number(value) for value in wanted], np.float64)
    # A value that is no number is nan, which compares with nothing.
    if op in ORDERS:
        flags: Flags = ORDERS[op](numbers, targets[0])
    else:
        flags = np.isin(numbers, targets)
    large = targets[np.abs(targets) >= EXACT_IN_FLOAT]
    if len(large):
        exact = [Decimal(_written(value).strip(BLANKS)) for value in wanted]
        rows = np.flatnonzero(np.isin(numbers, large))
        for row, text in zip(rows, _texts(values.take(pa.array(rows))).to_pylist(), strict=True):
            number = Decimal(text.strip(BLANKS))
            flags[row] = ORDERS[op](number, exact[0]) if op in ORDERS else number in exact
    return flags


def _of_texts(one: Filter, wanted: Sequence[Value], values: pa.Array) -> Flags:
    # Half a surrogate pair, which a command line can hold, is stored as a question mark.
    targets = [_written(value).encode("utf-8", "replace").decode() for value in wanted]
    texts = _texts(values)
    if one.op in ORDERS:
        return _flags(ORDERS_OF_TEXT[one.op](texts, pa.scalar(targets[0], pa.large_string())))
    if one.field not in OWN_FIELDS:
        targets += [truth for truth in map(_truth, wanted) if truth is not None]
    return _flags(pc.is_in(texts, value_set=pa.array(targets, pa.large_string())))


def _numbers(values: pa.Array) -> npt.NDArray[np.float64]:
    """Each value as a number; nan where it is none."""
    if pa.types.is_boolean(values.type):
        return np.full(len(values), np.nan)
    if not pa.types.is_floating(values.type):
        trimmed = pc.ascii_trim_whitespace(values)
        values = pc.if_else(pc.match_substring_regex(trimmed, f"^{NUMBER}$"), trimmed, None).cast(pa.float64())
    numbers: npt.NDArray[np.float64] = values.to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _texts(values: pa.Array) -> pa.Array:
    """Each value as text, as it would stand in a column of mixed types."""
    if pa.types.is_large_string(values.type):
        return values
    return pa.array([as_text(value) for value in values.to_pylist()], pa.large_string())


def _present(values: pa.Array) -> Flags:
    if pa.types.is_floating(values.type):
        # Nan is a number that is none: missing too.
        finite: Flags = np.isfinite(values.to_numpy(zero_copy_only=False))
        return finite
    return _flags(values.is_valid())


def _flags(booleans: pa.Array) -> Flags:
    flags: Flags = pc.fill_null(booleans, False).to_numpy(zero_copy_only=False)
    return flags


def _truth(value: Value) -> str | None:
    """``true`` or ``false`` as columns of text hold it, for a value that reads as either; None for others."""
    written = _written(value).lower()
    return written if written in ("true", "false") else None


def _number(value: Value) -> float | None:
    """The number that a filter's value reads as; None if it is none, or no finite one."""
    if isinstance(value, bool):
        return None
    written = _written(value).strip(BLANKS)
    if re.fullmatch(NUMBER, written) is None:
        return None
    number = float(written)
    return number if math.isfinite(number) else None


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
