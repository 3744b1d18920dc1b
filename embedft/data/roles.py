"""What kind of data a file holds and which column plays which part, told by the names of its columns.

The order of columns never counts. Where two readings are possible, an error asks for ``--columns``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from embedft.errors import DataError

Kind = Literal["documents", "pairs", "scored pairs", "labelled texts", "tags", "qrels"]

# The field's usual names, lower case, with "_" for "-" and spaces.
SYNONYMS = {
    "anchor": ("anchor", "query", "question", "q", "text1", "sentence1", "text_a", "sentence_a", "premise"),
    "positive": (
        *("positive", "pos", "answer", "passage", "document", "doc", "response", "context", "code"),
        *("text2", "sentence2", "text_b", "sentence_b", "hypothesis"),
    ),
    "score": ("score", "similarity", "sim", "similarity_score", "relatedness", "relatedness_score", "gold_score"),
    "label": (
        "label",
        "labels",
        "intent",
        "intents",
        "category",
        "categories",
        "class",
        "topic",
        "emotion",
        "sentiment",
    ),
    "text": ("text", "sentence", "utterance", "content", "body", "review", "tweet"),
    "tokens": ("tokens", "words"),
    "tags": ("tags", "ner_tags"),
    "id": ("_id", "id", "doc_id", "docid", "document_id", "pid"),
    "title": ("title", "heading", "headline"),
    "query-id": ("query_id", "qid", "query-id"),
    "corpus-id": ("corpus_id", "corpus-id"),
    "grade": ("relevance", "rel", "grade", "judgment", "judgement"),
}
NEGATIVE = re.compile(r"(hard_?)?neg(ative)?s?(_?\d+)?")
# Other names that --columns takes.
ALIASES = {"sentence1": "anchor", "sentence2": "positive", "query": "anchor", "document": "positive", "labels": "label"}
ROLE_OF = {name: role for role, names in SYNONYMS.items() for name in names}
NAMES = (*SYNONYMS, "negative")
# The task that rows of a kind are for.
TASK_OF = {
    "pairs": "retrieval",
    "retrieval": "retrieval",
    "scored pairs": "similarity",
    "labelled texts": "classification",
}


class MissingColumnError(DataError):
    """A file lacks columns that were named for it."""


@dataclass(frozen=True)
class Roles:
    """The kind of a file, and the columns of each role (several for ``negative`` alone)."""

    kind: Kind
    columns: Mapping[str, tuple[str, ...]]

    def column(self, role: str) -> str:
        """The only column of a role."""
        return self.columns[role][0]


def parse_columns(text: str) -> dict[str, tuple[str, ...]]:
    """``anchor=q,positive=a,negative=n1,negative=n2`` as a mapping from role to columns.

    Raises:
        DataError: a part is not role=column, or the role is unknown or has two columns.
    """
    parts: list[tuple[str, tuple[str]]] = []
    for part in text.split(","):
        name, separator, column = (piece.strip() for piece in part.partition("="))
        if not separator or not column:
            raise DataError(f"--columns {text}: {part!r} is not role=column.", hint=_roles_hint())
        parts.append((name, (column,)))
    return _by_role(parts, f"--columns {text}")


def named_columns(named: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]] | None:
    """The setting ``data.columns``, a mapping from role or other name to columns, by role; None where it is empty.

    Raises:
        DataError: a role is unknown, or has two columns.
    """
    return _by_role(named.items(), "data.columns") or None


def _by_role(named: Iterable[tuple[str, Sequence[str]]], source: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for name, columns in named:
        role = ALIASES.get(name, name)
        if role not in NAMES:
            raise DataError(f"{source}: {name!r} is no role of a column.", hint=_roles_hint())
        found[role] = (*found.get(role, ()), *columns)
        if len(found[role]) > 1 and role != "negative":
            raise DataError(f"{source}: names two columns for {role}.", hint="name one.")
    return found


def _roles_hint() -> str:
    return f"the roles are {', '.join(sorted(NAMES))}."


def refuse_columns(path: object, given: Mapping[str, tuple[str, ...]] | None) -> None:
    """Raise MissingColumnError if columns are named for a BEIR folder, whose fields have names of their own."""
    if given:
        raise MissingColumnError(
            f"{path}: is a BEIR folder; names of columns (--columns, data.columns) would change nothing.",
            hint="leave them out.",
        )


def way_out(kind: str, columns: str) -> str:
    """The hint where rows are of another kind than a task asks for: the task they are for, or names for ``columns``."""
    task = TASK_OF.get(kind)
    other = f"for {kind} use --task {task} (task: {task} in a configuration); else " if task else ""
    return f"{other}name the columns {columns}, by --columns or data.columns, or in the file."


def by_name(columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Every role with the columns whose names stand for it."""
    found: dict[str, tuple[str, ...]] = {}
    for column in columns:
        name = re.sub(r"[\s-]+", "_", str(column).strip().lower())
        role = "negative" if NEGATIVE.fullmatch(name) else ROLE_OF.get(name)
        if role:
            found[role] = (*found.get(role, ()), column)
    return found


def assign(
    columns: Sequence[str], given: Mapping[str, tuple[str, ...]] | None, where: str, *, as_documents: bool = False
) -> Roles:
    """The kind and roles of a file with these columns.

    Args:
        columns: as in the file.
        given: role -> columns; with it only the roles named here count.
        where: the file and line, for errors.
        as_documents: rows with a text are documents, whatever else they have.

    Raises:
        DataError: no reading is possible, or more than one.
    """
    if given:
        missing = [name for names in given.values() for name in names if name not in columns]
        if missing:
            raise MissingColumnError(
                f"{where}: has no column {' and no column '.join(map(repr, missing))}; it has {', '.join(columns)}.",
                hint="mend --columns, or data.columns.",
            )
    roles = dict(given) if given else by_name(columns)
    kind = "documents" if as_documents and "text" in roles else _kind(roles, columns, where)
    if kind == "labelled texts" and "text" not in roles:
        roles["text"] = roles.pop("anchor")
    for role in USED[kind]:
        if role != "negative" and len(roles.get(role, ())) > 1:
            names = " and ".join(map(repr, roles[role]))
            raise DataError(
                f"{where}: {names} may each be the {role}.", hint=_say_which(f"{role}={roles[role][0]},...")
            )
    return Roles(kind, {role: names for role, names in roles.items() if role in USED[kind]})


def _say_which(columns: str) -> str:
    """The hint where names do not tell; not every command that reads rows takes ``--columns``."""
    return f"say which: --columns {columns} (in a configuration: data.columns), or rename the columns."


USED: dict[Kind, tuple[str, ...]] = {
    "documents": ("id", "title", "text"),
    "pairs": ("anchor", "positive", "negative"),
    "scored pairs": ("anchor", "positive", "score"),
    "labelled texts": ("text", "label"),
    "tags": ("tokens", "tags"),
    "qrels": ("query-id", "corpus-id", "grade"),
}


def _kind(roles: Mapping[str, tuple[str, ...]], columns: Sequence[str], where: str) -> Kind:
    has = set(roles)
    pair = {"anchor", "positive"} <= has
    if pair and "label" in has and "score" not in has:
        names = f"{roles['anchor'][0]}, {roles['positive'][0]} and {roles['label'][0]}"
        raise DataError(
            f"{where}: {names} may be a pair with a score, or a pair with a label that does not count.",
            hint=_say_which(f"anchor={roles['anchor'][0]},positive={roles['positive'][0]}[,score={roles['label'][0]}]"),
        )
    if pair and "score" in has and "negative" in has:
        raise DataError(
            f"{where}: has both scores and negatives.", hint=_say_which("anchor=COLUMN,positive=COLUMN,score=COLUMN")
        )
    readings: tuple[tuple[bool, Kind], ...] = (
        ({"query-id", "corpus-id"} <= has, "qrels"),
        ({"tokens", "tags"} <= has, "tags"),
        (pair and "score" in has, "scored pairs"),
        (pair, "pairs"),
        ("label" in has and bool(has & {"text", "anchor"}), "labelled texts"),
        ("text" in has or {"id", "title"} <= has, "documents"),
    )
    for holds, kind in readings:
        if holds:
            return kind
    raise DataError(
        f"{where}: cannot tell what the columns {', '.join(map(str, columns))} hold.",
        hint=_say_which("anchor=COLUMN,positive=COLUMN or text=COLUMN,label=COLUMN"),
    )
