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
        DataError: something else; a text that is missing or no string; an id that is missing.
    """
    if isinstance(documents, pa.Table):
        missing = [name for name in ("id", "text") if name not in documents.column_names]
        if missing:
            raise DataError(
                f"the table of documents has no column {missing[0]!r}; it has {', '.join(documents.column_names)}.",
                hint="use the columns id, title, text and metadata.",
            )
        return _whole(documents)
    if isinstance(documents, str | Mapping):
        raise DataError("documents is one document.", hint="give a list of documents.")
    rows = [_row(number, document, ids=ids) for number, document in enumerate(documents)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def _whole(table: pa.Table) -> pa.Table:
    """The four columns as strings; title empty and metadata null where there is none."""
    columns = {
        "id": table["id"].cast(pa.string()),
        "title": table["title"].fill_null("") if "title" in table.column_names else [""] * table.num_rows,
        "text": table["text"].fill_null(""),
        "metadata": table["metadata"] if "metadata" in table.column_names else pa.nulls(table.num_rows, pa.string()),
    }
    return pa.table(columns)


def _row(number: int, document: object, *, ids: bool) -> dict[str, Any]:
    fields = {"text": document} if isinstance(document, str) else document
    if not isinstance(fields, Mapping) or not isinstance(fields.get("text"), str):
        raise DataError(
            f"document {number} is {str(document)[:80]!r}.", hint="give a text, or a mapping with a text under 'text'."
        )
    if "id" not in fields and not ids:
        raise DataError(f"document {number} has no id.", hint="name it under 'id': what has the same id is replaced.")
    further = {key: value for key, value in fields.items() if key not in ("id", "title", "text")}
    try:
        metadata = json.dumps(further, ensure_ascii=False) if further else None
    except (TypeError, ValueError) as error:
        raise DataError(f"document {number}: its metadata is no JSON: {error}.", hint="use plain values.") from error
    return {
        "id": str(fields.get("id", number)),
        "title": str(fields.get("title") or ""),
        "text": fields["text"],
        "metadata": metadata,
    }
