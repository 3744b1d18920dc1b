"""Metadata as typed columns, for filters: what JSON says of each document, one column a field.

The type of a field is the narrowest that holds all its values:

    true, false                          bool
    numbers                              float64; whole numbers beyond 2**53, which it would round, make the field text
    strings                              large_string
    lists, or lists among others         list<large_string>; a value that is no list counts as a list of one
    anything else that is mixed          large_string

As text, strings are as they are, whole numbers have no point, and everything else is its JSON: so a filter can treat a
value alike, whatever type its neighbours made the column. A document without the field, or with null there, or with a
number that is none (NaN, infinity), has null. Types are known only when every document was seen, so the metadata are
read twice: `FieldTypes` widens over the batches, then `write_fields` writes.
"""

from __future__ import annotations

import json
import logging
import math
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedft.errors import DataError

FIELDS = "fields.arrow"
# Keys that are data themselves (a count for each user, say) would make a column each; memory grows with columns.
MAX_FIELDS = 256
# Rows that are held as Python values at once.
ROWS_AT_ONCE = 16_384
EXACT_IN_FLOAT = 1 << 53

logger = logging.getLogger("embedft")


class Kind(IntEnum):
    """What the values of one field are."""

    BOOL = 1
    NUMBER = 2
    STRING = 3
    LIST = 4
    MIXED = 5


class FieldTypes:
    """The type of each metadata field, widened by each batch that `see` is given."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self._counts: Counter[str] = Counter()

    def see(self, ids: pa.Array, metadata: pa.Array) -> None:
        """Widen the types so that they hold this batch too.

        Args:
            ids: of the documents, to name one that is at fault.
            metadata: JSON objects as text, or null.

        Raises:
            DataError: a document's metadata are no JSON object.
        """
        for row, text in enumerate(metadata.to_pylist()):
            if not text:
                continue
            for name, value in read_metadata(text, ids[row]).items():
                if _is_missing(value):
                    continue
                self._counts[name] += 1
                kind = _kind_of(value)
                known = self._kinds.get(name)
                if known is not kind:
                    self._kinds[name] = kind if known is None else _wider(known, kind)

    def columns(self) -> dict[str, pa.DataType]:
        """Name and type of each column: in the order in which the fields were first seen, the commonest 256 of them.

        A field whose name UTF-8 cannot spell is left out; nobody could ask for it.
        """
        kept = {name for name, _ in self._counts.most_common(MAX_FIELDS)}
        if len(kept) < len(self._counts):
            logger.warning(
                "the metadata have %d different fields; filters know the %d commonest of them.",
                len(self._counts),
                MAX_FIELDS,
            )
        kept &= set(map(_encodable, kept))
        return {name: _arrow_type(kind) for name, kind in self._kinds.items() if name in kept}


def write_fields(metadata: Iterable[pa.Array], columns: dict[str, pa.DataType], folder: Path) -> None:
    """Write fields.arrow: a row for each document, a column for each field.

    Args:
        metadata: JSON objects as text, or null, batch after batch.
        columns: as `FieldTypes.columns` gives them, after it has seen the same batches.
        folder: where to write.
    """
    schema = pa.schema(list(columns.items()))
    with pa.OSFile(str(folder / FIELDS), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        if not columns:
            return
        for batch in metadata:
            for begin in range(0, len(batch), ROWS_AT_ONCE):
                writer.write_batch(_typed(batch.slice(begin, ROWS_AT_ONCE).to_pylist(), columns, schema))


def read_metadata(text: str, document: Any = None) -> dict[str, Any]:
    """The object that the JSON ``text`` holds; ``document`` is named where it holds none.

    Raises:
        DataError: it is no JSON object.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"document {str(document)!r}: its metadata are no JSON: {error}.", hint="give a JSON object, or null."
        ) from error
    if not isinstance(found, dict):
        raise DataError(
            f"document {str(document)!r}: its metadata are a JSON {type(found).__name__}, not an object.",
            hint="give a JSON object, or null.",
        )
    return found


def _typed(texts: list[str | None], columns: dict[str, pa.DataType], schema: pa.Schema) -> pa.RecordBatch:
    values: dict[str, list[Any]] = {name: [None] * len(texts) for name in columns}
    for row, text in enumerate(texts):
        if not text:
            continue
        for name, value in json.loads(text).items():
            if name in values and not _is_missing(value):
                values[name][row] = value
    return pa.record_batch([_column(values[name], kind) for name, kind in columns.items()], schema=schema)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_large_string(kind):
        values = [as_text(value) for value in values]
    elif pa.types.is_list(kind):
        values = [_as_texts(value) for value in values]
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # JSON can spell half a surrogate pair, UTF-8 cannot
        return pa.array([_encodable(value) for value in values], kind)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_encodable(item) for item in value] if isinstance(value, list) else value


def as_text(value: Any) -> str | None:
    """A value of the metadata as columns of text hold it; None for one that is missing."""
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_IN_FLOAT:
        # A column of numbers does not keep whether a whole number was written with a point.
        value = int(value)
    return json.dumps(value, ensure_ascii=False)


def _as_texts(value: Any) -> list[str | None] | None:
    if value is None:
        return None
    return [as_text(item) for item in value] if isinstance(value, list) else [as_text(value)]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _kind_of(value: Any) -> Kind:
    if isinstance(value, bool):
        return Kind.BOOL
    if isinstance(value, float) or (isinstance(value, int) and abs(value) <= EXACT_IN_FLOAT):
        return Kind.NUMBER
    if isinstance(value, str):
        return Kind.STRING
    return Kind.LIST if isinstance(value, list) else Kind.MIXED


def _wider(one: Kind, other: Kind) -> Kind:
    return Kind.LIST if Kind.LIST in (one, other) else Kind.MIXED


def _arrow_type(kind: Kind) -> pa.DataType:
    if kind is Kind.LIST:
        return pa.list_(pa.large_string())
    return {Kind.BOOL: pa.bool_(), Kind.NUMBER: pa.float64()}.get(kind, pa.large_string())
