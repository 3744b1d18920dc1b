"""Documents as Python users hold them, as the table that an index is built from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from embedft.errors import DataError

SCHEMA = pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string()), ("metadata", pa.string())])


def as_documents(documents: pa.Table | Sequence[str] | Sequence[Mapping[str, Any]], *, ids: bool = True) -> pa.Table:
    """Columns id, title, text, metadata (JSON text or null).

    Args:
        documents: such a table; or texts; or mappings with the keys text, and optionally id and title; further keys are
            metadata.
        ids: whether documents without an id get their number as one.

    Raises:
        DataError: something else; a text that is missing or no string; an id that is missing; metadata that are no
            JSON.
    """
    if isinstance(documents, pa.Table):
        return _whole(documents)
    if isinstance(documents, str | Mapping):
        raise DataError("documents is one document.", hint="give a list of documents.")
    if not isinstance(documents, Sequence):
        # A data frame, for one, would give the names of its columns.
        raise DataError(
            f"documents are a {type(documents).__name__}.", hint="give a list of texts or mappings, or an Arrow table."
        )
    rows = [_row(number, document, ids=ids) for number, document in enumerate(documents)]
    try:
        return pa.Table.from_pylist(rows, schema=SCHEMA)
    except UnicodeEncodeError as error:
        raise DataError(
            f"a document holds half a surrogate pair, which no UTF-8 text can: {error}.", hint="remove or replace it."
        ) from error


def _whole(table: pa.Table) -> pa.Table:
    """The four columns as strings; title empty and metadata null where there is none."""
    missing = [name for name in ("id", "text") if name not in table.column_names]
    if missing:
        raise DataError(
            f"the table of documents has no column {missing[0]!r}; it has {', '.join(table.column_names)}.",
            hint="use the columns id, title, text and metadata.",
        )
    for name in ("id", "text"):
        if table[name].null_count:
            raise DataError(f"{table[name].null_count} documents have no {name}.", hint="leave them out.")
    try:
        given = {name: table[name].cast(pa.string()) for name in SCHEMA.names if name in table.column_names}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"a column of the documents is no text: {error}.", hint="give all columns as text, metadata as JSON text."
        ) from error
    given["title"] = given["title"].fill_null("") if "title" in given else pa.array([""] * table.num_rows)
    given.setdefault("metadata", pa.nulls(table.num_rows, pa.string()))
    return pa.table([given[name] for name in SCHEMA.names], schema=SCHEMA)


def _row(number: int, document: object, *, ids: bool) -> dict[str, Any]:
    fields = {"text": document} if isinstance(document, str) else document
    if not isinstance(fields, Mapping) or not isinstance(fields.get("text"), str):
        raise DataError(
            f"document {number} is {str(document)[:80]!r}.", hint="give a text, or a mapping with a text under 'text'."
        )
    name = fields.get("id")
    if name is None and not ids:
        raise DataError(f"document {number} has no id.", hint="name it under 'id': what has the same id is replaced.")
    further = {key: value for key, value in fields.items() if key not in ("id", "title", "text")}
    try:
        metadata = json.dumps(further, ensure_ascii=False, allow_nan=False) if further else None
    except (TypeError, ValueError) as error:
        raise DataError(f"document {number}: its metadata is no JSON: {error}.", hint="use plain values.") from error
    return {
        "id": str(number if name is None else name),
        "title": str(fields.get("title") or ""),
        "text": fields["text"],
        "metadata": metadata,
    }
