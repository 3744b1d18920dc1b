"""Bring one row of any file to the fields of its kind, or say what is wrong with it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from embedft.artifacts import without_nan
from embedft.data.faults import FaultLog
from embedft.data.roles import Kind

# Space-like and invisible characters that str.strip leaves: a text of these alone says nothing.
INVISIBLE = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\ufe0f\u0000"
NO_NUMBER = frozenset(("n/a", "na", "none", "null", "nil", "-", "?"))

PLACE = [("metadata", pa.string()), ("file", pa.dictionary(pa.int32(), pa.string())), ("line", pa.int64())]
SCHEMAS: dict[Kind, pa.Schema] = {
    "documents": pa.schema([("id", pa.string()), ("title", pa.string()), ("text", pa.string()), *PLACE]),
    "pairs": pa.schema(
        [("anchor", pa.string()), ("positive", pa.string()), ("negatives", pa.list_(pa.string())), *PLACE]
    ),
    "scored pairs": pa.schema(
        [("sentence1", pa.string()), ("sentence2", pa.string()), ("score", pa.float64()), *PLACE]
    ),
    "labelled texts": pa.schema([("text", pa.string()), ("labels", pa.list_(pa.string())), *PLACE]),
    "tags": pa.schema([("tokens", pa.list_(pa.string())), ("tags", pa.list_(pa.string())), *PLACE]),
}

Columns = Mapping[str, Sequence[str]]
Row = dict[str, Any]
Normalise = Callable[[Row, Columns, int, FaultLog], tuple[Any, ...]]


class BadRowError(Exception):
    """The kind of fault of a row; caught where rows are read."""


def text_of(row: Row, column: str, role: str) -> str:
    """The text in a column.

    Raises:
        BadRowError: it is missing, not a text, or empty.
    """
    if column not in row:
        raise BadRowError(f"{role} is missing")
    value: Any = row[column]
    if not isinstance(value, str):
        raise BadRowError(f"{role} is {type_name(value)}")
    if fault := text_fault(value):
        raise BadRowError(f"{role} {fault}")
    return value


def text_fault(text: str) -> str:
    """What makes a text say nothing, as the end of a sentence; ``""`` for all others."""
    if not text:
        return "is empty"
    if not text.strip():
        return "is white space only"
    return "" if text.strip(INVISIBLE).strip() else "has no visible character"


def type_name(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, int | float):
        return "a number"
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else type(value).__name__


def pair(row: Row, columns: Columns, _line: int, log: FaultLog) -> tuple[Any, ...]:
    """Anchor, positive, negatives."""
    anchor = text_of(row, columns["anchor"][0], "anchor")
    positive = text_of(row, columns["positive"][0], "positive")
    negatives: list[str] = []
    for column in columns.get("negative", ()):
        value = row.get(column)
        if isinstance(value, list):
            log.note("negative is a list", _line)
            negatives += [text_of({column: inner}, column, "negative") for inner in value]
        elif value is not None:
            negatives.append(text_of(row, column, "negative"))
    if fault := pair_fault(anchor, positive, negatives):
        raise BadRowError(fault)
    if not negatives:
        log.note("no negative", _line)
    return anchor, positive, negatives


def pair_fault(anchor: str, positive: str, negatives: Sequence[str]) -> str:
    """What makes a pair teach nothing; ``""`` for all others."""
    if anchor == positive:
        return "the positive equals the anchor"
    return "a negative equals the positive" if positive in negatives else ""


def scored_pair(row: Row, columns: Columns, line: int, log: FaultLog) -> tuple[Any, ...]:
    """Two sentences and the score as it stands in the file."""
    first = text_of(row, columns["anchor"][0], "sentence1")
    second = text_of(row, columns["positive"][0], "sentence2")
    return first, second, _score(row, columns["score"][0], line, log)


def _score(row: Row, column: str, line: int, log: FaultLog) -> float:
    if column not in row or row[column] is None:
        raise BadRowError("score is missing")
    value = row[column]
    if isinstance(value, str):
        text = value.strip()
        if not text:
            raise BadRowError("score is empty")
        if text.lower() in NO_NUMBER:
            raise BadRowError("score is not a number")
        if text.count(",") == 1 and "." not in text:
            log.note("decimal comma in the score", line, text)
            text = text.replace(",", ".")
        try:
            value = float(text)
        except ValueError as error:
            raise BadRowError("score is not a number") from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRowError(f"score is {type_name(value)}")
    try:
        score = float(value)
    except OverflowError:  # an integer of more than 308 digits
        score = math.inf
    if not math.isfinite(score):
        raise BadRowError("score is NaN" if math.isnan(score) else "score is infinite")
    return score


def labelled_text(row: Row, columns: Columns, line: int, log: FaultLog) -> tuple[Any, ...]:
    """Text and its labels; a single label is a list of one."""
    text = text_of(row, columns["text"][0], "text")
    column = columns["label"][0]
    if column not in row:
        raise BadRowError("label is missing")
    value = row[column]
    many = value if isinstance(value, list) else [value]
    labels = [_label(inner, line, log) for inner in many]
    if len(set(labels)) < len(labels):
        log.note("a label stands twice in its row", line)
    return text, list(dict.fromkeys(labels))


def _label(value: Any, line: int, log: FaultLog) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        log.note("label is a number", line, value)
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        raise BadRowError(f"label is {type_name(value)}")
    if not value.strip():
        raise BadRowError("label is empty")
    if value != value.strip():
        log.note("white space around the label", line, value)
    return str(value).strip()


def document(row: Row, columns: Columns, line: int, _log: FaultLog) -> tuple[Any, ...]:
    """Id (the line where there is none), title, text."""
    title = row.get(columns["title"][0]) if "title" in columns else None
    if title is not None and not isinstance(title, str):
        raise BadRowError(f"title is {type_name(title)}")
    given = row.get(columns["id"][0]) if "id" in columns else f"line-{line}"
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str) or not given:
        raise BadRowError("id is missing or not a text")
    # Rows of an id and a title are told as documents, too (`embedft.data.roles`).
    return given, title or "", text_of(row, columns.get("text", ("text",))[0], "text")


def tagged(row: Row, columns: Columns, _line: int, _log: FaultLog) -> tuple[Any, ...]:
    """Tokens and their tags."""
    tokens, tags = row.get(columns["tokens"][0]), row.get(columns["tags"][0])
    if not isinstance(tokens, list) or not isinstance(tags, list):
        raise BadRowError("tokens or tags are not a list")
    if not tokens or len(tokens) != len(tags):
        raise BadRowError(f"{len(tokens)} tokens and {len(tags)} tags")
    if not all(isinstance(token, str) and token.strip() for token in tokens):
        raise BadRowError("token is empty or not a text")
    if None in tags:
        raise BadRowError("tag is null")
    return tokens, [str(tag) for tag in tags]


NORMALISE: dict[Kind, Normalise] = {
    "documents": document,
    "pairs": pair,
    "scored pairs": scored_pair,
    "labelled texts": labelled_text,
    "tags": tagged,
}


def other_fields(row: Row, columns: Columns) -> str | None:
    """The fields without a role, as JSON text."""
    if len(row) == sum(map(len, columns.values())):
        return None
    used = {name for names in columns.values() for name in names}
    others = {name: value for name, value in row.items() if name not in used}
    if set(others) == {"metadata"} and (others["metadata"] is None or isinstance(others["metadata"], dict)):
        others = others["metadata"] or {}
    return metadata_text(others)


def metadata_text(fields: Mapping[str, Any]) -> str | None:
    """Fields as JSON text, None where there are none; NaN and infinities, which JSON does not know, as null."""
    if not fields:
        return None
    try:
        return json.dumps(fields, ensure_ascii=False, default=str, allow_nan=False)
    except ValueError:
        return json.dumps(without_nan(dict(fields)), ensure_ascii=False, default=str)
