"""Mend texts and leave out rows that should not be trained on; every change is counted.

Cleaning what is clean changes nothing: the steps run until a text stays as it is.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import ftfy
import numpy as np
import pyarrow as pa

from embedft.data import labels as label_checks
from embedft.data.check import repeated
from embedft.data.dataset import TEXT_COLUMNS, Dataset, row_texts
from embedft.data.faults import Fault, shortened
from embedft.data.leakage import drop_leaking_queries, leaking_rows
from embedft.data.near import SIGNS, THRESHOLD
from embedft.data.normal import pair_fault, text_fault
from embedft.data.parents import PARENT, parent_of
from embedft.data.peculiar import BIDI, CONTROL, HTML_ENTITY, JOINER, is_double_encoded, without_tags
from embedft.data.retrieval import RetrievalData
from embedft.data.roles import Kind
from embedft.errors import ConfigError

INVISIBLE = re.compile("[\u200b\u200c\u2060\ufeff\u00ad]")
BROKEN_LINE = re.compile("\r\n|[\r\u2028\u2029\x85]")
ODD_SPACE = re.compile("[\u00a0\u202f\u2000-\u200a\u3000\t]")
RUN = re.compile(r"(?<=\S) {2,}")
BLANK_LINES = re.compile(r"\n{3,}")
PLAIN = re.compile(r"[\x21-\x25\x27-\x3b\x3d-\x7e]+(?: [\x21-\x25\x27-\x3b\x3d-\x7e]+)*")
# Steps that change what is read, and not only how it is written.
CHANGING = ("lower", "punctuation")
# Steps feed each other (an entity may hide a tag); real texts are still after two passes.
PASSES = 10
LEAVE = "leave these settings out."
# Texts that may be empty, or are several a row.
OTHER_COLUMNS: dict[str, tuple[str, ...]] = {"documents": ("title",), "pairs": ("negatives",)}

Conflicts = Literal["keep", "drop", "majority"]


@dataclass(frozen=True)
class CleanConfig:
    """What is done. Texts are mended by ``steps``; rows are left out by the others.

    Attributes:
        steps: names in `STEPS`, in their order there.
        min_chars, max_chars: shortest and longest text that stays; None for no limit.
        duplicates: ``"keep"``, ``"exact"``, or ``"near"`` (exact ones too): the first copy of a split stays.
        threshold: Jaccard index of near duplicates.
        conflicts: equal texts with different labels.
        mend_labels: replace labels that are probably a typo by the label that was meant.
        leakage: ``"drop"`` leaves out training rows that stand, exactly or nearly, in another split; of pairs and of
            retrieval data those whose query is judged there or is an answer there, or whose answer is a query there.
    """

    steps: tuple[str, ...] = ("encoding", "entities", "tags", "control", "invisible", "nfc", "spaces")
    min_chars: int | None = None
    max_chars: int | None = None
    duplicates: Literal["keep", "exact", "near"] = "exact"
    threshold: float = THRESHOLD
    conflicts: Conflicts = "keep"
    mend_labels: bool = False
    leakage: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        unknown = [step for step in self.steps if step not in STEPS]
        if unknown:
            raise ConfigError(f"no cleaning step is named {unknown[0]!r}.", hint=f"use {', '.join(STEPS)}.")


def _encoding(text: str) -> str:
    return ftfy.fix_encoding(text) if is_double_encoded(text) else text


def _entities(text: str) -> str:
    return html.unescape(text) if "&" in text and HTML_ENTITY.search(text) else text


def _tags(text: str) -> str:
    return without_tags(text) if "<" in text else text


def _control(text: str) -> str:
    return BIDI.sub("", CONTROL.sub("", BROKEN_LINE.sub("\n", text).replace("\0", "")))


def _invisible(text: str) -> str:
    text = INVISIBLE.sub("", text)
    if "\u200d" in text:
        # A joiner stays where it joins.
        kept = {match.start() for match in JOINER.finditer(text)}
        text = "".join(sign for place, sign in enumerate(text) if sign != "\u200d" or place in kept)
    return text


def _spaces(text: str) -> str:
    text = ODD_SPACE.sub(" ", BROKEN_LINE.sub("\n", text))
    lines = [RUN.sub(" ", line.rstrip()) for line in text.split("\n")]
    return BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _punctuation(text: str) -> str:
    return " ".join(text.translate(SIGNS).split())


STEPS: dict[str, Callable[[str], str]] = {
    "encoding": _encoding,
    "entities": _entities,
    "tags": _tags,
    "control": _control,
    "invisible": _invisible,
    "nfc": lambda text: unicodedata.normalize("NFC", text),
    "spaces": _spaces,
    "lower": str.lower,
    "punctuation": _punctuation,
}


@dataclass
class Changes:
    """How many texts each step changed, and why rows were left out."""

    texts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)
    dropped: list[Fault] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        reasons = Counter(fault.kind for fault in self.dropped)
        return {
            "changed": dict(self.texts),
            "examples": self.examples,
            "left_out": dict(reasons),
            "labels": dict(self.labels),
        }


def clean_text(text: str, steps: tuple[str, ...], changes: Changes | None = None) -> str:
    """``text`` after ``steps``, repeated until nothing changes."""
    if PLAIN.fullmatch(text) and not set(CHANGING) & set(steps):
        return text
    touched = set()
    for _ in range(PASSES):
        before = text
        for step in steps:
            done = STEPS[step](text)
            if done != text:
                touched.add(step)
                if changes is not None:
                    changes.examples.setdefault(step, f"{shortened(ascii(text))} -> {shortened(ascii(done))}")
            text = done
        if text == before:
            break
    if changes is not None:
        changes.texts.update(touched)
    return text


def clean(data: Dataset, config: CleanConfig | None = None) -> tuple[Dataset, Changes]:
    """The data set after cleaning, and what was changed.

    Of retrieval data texts are mended; training judgments that leak are left out, and queries of which nothing is left
    with all their judgments. All other documents and queries stay, since ids would dangle.

    Raises:
        ConfigError: ``config`` asks for what there is not in data of this kind.
    """
    config = config or CleanConfig()
    _check_kind(data, config)
    changes = Changes()
    if data.retrieval is not None:
        return _clean_retrieval(data, config, changes), changes
    splits = {name: _clean_texts(data, table, config, changes) for name, table in data.splits.items()}
    data = replace(data, splits=splits)
    if config.mend_labels and data.kind == "labelled texts":
        data = _mend_labels(data, changes)
    splits = {name: _drop_repeated(data, table, config, changes) for name, table in data.splits.items()}
    data = replace(data, splits=splits)
    if config.leakage == "drop" and "train" in splits:
        data = _drop_leaking(data, config, changes)
    return data, changes


def _check_kind(data: Dataset, config: CleanConfig) -> None:
    labelled = data.kind == "labelled texts"
    tagged = data.kind == "tags"  # tokens stay as they are, each has its tag
    useless = [
        name
        for name, asked, possible in (
            *((step, step in config.steps, not tagged) for step in CHANGING),
            ("min_chars", config.min_chars is not None, data.kind != "retrieval" and not tagged),
            ("max_chars", config.max_chars is not None, data.kind != "retrieval" and not tagged),
            ("near duplicates", config.duplicates == "near", data.kind != "retrieval"),
            ("conflicts", config.conflicts != "keep", labelled),
            ("mend_labels", config.mend_labels, labelled),
        )
        if asked and not possible
    ]
    if useless:
        raise ConfigError(f"{data.path}: holds {data.kind}; {', '.join(useless)} cannot be cleaned there.", hint=LEAVE)


def _clean_retrieval(data: Dataset, config: CleanConfig, changes: Changes) -> Dataset:
    assert data.retrieval is not None  # the caller asked
    retrieval = data.retrieval
    corpus, queries = retrieval.corpus, _mended_parents(retrieval.queries, config)
    for column in ("title", "text"):
        corpus = _mapped(corpus, column, config, changes)
    queries = _mapped(queries, "text", config, changes)
    retrieval = _without_emptied(replace(retrieval, corpus=corpus, queries=queries), changes)
    if config.leakage == "drop" and "train" in retrieval.qrels:
        kept, _ = drop_leaking_queries(retrieval, near=config.threshold)
        _note_judgments("stands in another split too", retrieval, kept, changes)
        retrieval = kept
    return replace(data, retrieval=retrieval)


def _without_emptied(data: RetrievalData, changes: Changes) -> RetrievalData:
    """Without the queries of which cleaning left nothing, and without their judgments: no reader takes them."""
    rows = data.queries.to_pylist()
    faults = [text_fault(row["text"]) for row in rows]
    gone = {row["id"]: fault for row, fault in zip(rows, faults, strict=True) if fault}
    if not gone:
        return data
    changes.dropped += [
        Fault(f"query {gone[row['id']]} after cleaning", data.path / "queries.jsonl", 0, row["id"], json.dumps(row))
        for row in rows
        if row["id"] in gone
    ]
    judged = {
        name: table.filter(pa.array([query not in gone for query in table["query_id"].to_pylist()], pa.bool_()))
        for name, table in data.qrels.items()
    }
    kept = replace(data, queries=data.queries.filter(pa.array([not fault for fault in faults])), qrels=judged)
    _note_judgments("its query was left out", data, kept, changes)
    return kept


def _note_judgments(reason: str, before: RetrievalData, after: RetrievalData, changes: Changes) -> None:
    for split, table in before.qrels.items():
        kept = {(row["query_id"], row["corpus_id"]) for row in after.qrels[split].to_pylist()}
        place = before.path / "qrels" / f"{split}.tsv"
        changes.dropped += [
            Fault(reason, place, 0, row["query_id"], json.dumps(row))
            for row in table.to_pylist()
            if (row["query_id"], row["corpus_id"]) not in kept
        ]


def _mended_parents(table: pa.Table, config: CleanConfig) -> pa.Table:
    """Augmented rows name their parent by its text, which is mended as the parent is."""
    metadata = table["metadata"].to_pylist()
    if not any(map(parent_of, metadata)):
        return table
    mended = []
    for text in metadata:
        parent = parent_of(text)
        named = parent is not None and {**json.loads(text), PARENT: clean_text(parent, config.steps)}
        mended.append(json.dumps(named, ensure_ascii=False) if named else text)
    return table.set_column(table.schema.get_field_index("metadata"), "metadata", pa.array(mended, pa.string()))


def _mapped(table: pa.Table, column: str, config: CleanConfig, changes: Changes) -> pa.Table:
    place = table.schema.get_field_index(column)
    values = table[column].to_pylist()
    mended: list[Any]
    if pa.types.is_list(table.schema.field(place).type):
        # A negative of which nothing is left teaches nothing; its row does.
        mended = [
            [text for text in (clean_text(text, config.steps, changes) for text in row) if not text_fault(text)]
            for row in values
        ]
    else:
        mended = [clean_text(text, config.steps, changes) for text in values]
    return table.set_column(place, table.schema.field(place), pa.array(mended, table.schema.field(place).type))


def _clean_texts(data: Dataset, table: pa.Table, config: CleanConfig, changes: Changes) -> pa.Table:
    """Texts mended; rows that no reader would take any more, or whose text is too short or long, are left out."""
    assert data.kind != "retrieval"  # the caller asked
    for column in (*TEXT_COLUMNS[data.kind], *OTHER_COLUMNS.get(data.kind, ())):
        table = _mapped(table, column, config, changes)
    table = _mended_parents(table, config)
    keep = np.ones(table.num_rows, bool)
    for fault, rows in _faulty(data.kind, table).items():
        _note_dropped(table, rows & keep, f"{fault} after cleaning", changes)
        keep &= ~rows
    for column in TEXT_COLUMNS[data.kind]:
        lengths = np.fromiter((len(text) for text in table[column].to_pylist()), np.int64, table.num_rows)
        limits = [
            (lengths < (config.min_chars or 0), f"{column} is shorter than {config.min_chars} characters"),
            (
                lengths > (config.max_chars or lengths.max(initial=0)),
                f"{column} is longer than {config.max_chars} characters",
            ),
        ]
        for bad, reason in limits:
            _note_dropped(table, bad & keep, reason, changes)
            keep &= ~bad
    return table.filter(pa.array(keep))


def _faulty(kind: Kind, table: pa.Table) -> dict[str, np.ndarray]:
    """Fault that the reader would name -> which rows have it, (n,) bool."""
    found: dict[str, list[int]] = {}
    for column in TEXT_COLUMNS[kind]:
        for number, text in enumerate(table[column].to_pylist()):
            if fault := text_fault(text):
                found.setdefault(f"{column} {fault}", []).append(number)
    if kind == "pairs":
        for number, (anchor, positive, *negatives) in enumerate(row_texts(kind, table)):
            if fault := pair_fault(anchor, positive, negatives):
                found.setdefault(fault, []).append(number)
    return {fault: np.isin(np.arange(table.num_rows), rows) for fault, rows in found.items()}


def _note_dropped(table: pa.Table, rows: np.ndarray, reason: str, changes: Changes) -> None:
    for number in np.flatnonzero(rows).tolist():
        row = table.slice(number, 1).to_pylist()[0]
        place = Path(row.pop("file")), row.pop("line")
        raw = json.dumps({name: value for name, value in row.items() if value is not None}, ensure_ascii=False)
        changes.dropped.append(Fault(reason, *place, "", raw))


def _mend_labels(data: Dataset, changes: Changes) -> Dataset:
    counts: Counter[str] = Counter()
    for table in data.splits.values():
        counts.update(table["labels"].combine_chunks().flatten().to_pylist())
    meant = {label: other for label, (_, other) in label_checks.typos(counts).items()}
    splits = {}
    for name, table in data.splits.items():
        rows = table["labels"].to_pylist()
        for row in rows:
            changes.labels.update(f"{label} -> {meant[label]}" for label in row if label in meant)
        mended = [list(dict.fromkeys(meant.get(label, label) for label in row)) for row in rows]
        place = table.schema.get_field_index("labels")
        splits[name] = table.set_column(place, "labels", pa.array(mended, table.schema.field(place).type))
    return replace(data, splits=splits)


def _drop_repeated(data: Dataset, table: pa.Table, config: CleanConfig, changes: Changes) -> pa.Table:
    """The split without repeated rows and, as configured, without contradictions."""
    if config.duplicates == "keep" and config.conflicts == "keep":
        return table
    rows = row_texts(data.kind, table)
    exact, same, near = repeated(data.kind, rows, config.threshold if config.duplicates == "near" else None)
    own = np.arange(len(rows))
    keep = np.ones(len(rows), bool)
    label_sets = [frozenset(row) for row in table["labels"].to_pylist()] if data.kind == "labelled texts" else []
    if label_sets and config.conflicts != "keep":
        keep = _agreeing(same, label_sets, config.conflicts)
        _note_dropped(table, ~keep, "same text with another label", changes)
    if config.duplicates == "keep":
        return table.filter(pa.array(keep))
    groups = near if config.duplicates == "near" else exact
    seen: set[Any] = set()
    again = np.zeros(len(rows), bool)
    for number in own[keep].tolist():
        key = (groups[number], label_sets[number]) if label_sets else groups[number]
        again[number] = key in seen
        seen.add(key)
    _note_dropped(table, again, f"{'near ' if config.duplicates == 'near' else 'exact '}duplicate", changes)
    return table.filter(pa.array(keep & ~again))


def _agreeing(same: np.ndarray, label_sets: list[frozenset[str]], how: Conflicts) -> np.ndarray:
    """Rows that stay: those without a contradiction, and with ``majority`` those of the most frequent label."""
    votes: dict[int, Counter[frozenset[str]]] = {}
    for group, label in zip(same.tolist(), label_sets, strict=True):
        votes.setdefault(group, Counter())[label] += 1
    winner: dict[int, frozenset[str] | None] = {}
    for group, counts in votes.items():
        ranked = counts.most_common(2)
        clear = len(ranked) == 1 or (how == "majority" and ranked[0][1] > ranked[1][1])
        winner[group] = ranked[0][0] if clear else None
    return np.fromiter(
        (winner[group] == label for group, label in zip(same.tolist(), label_sets, strict=True)), bool, len(label_sets)
    )


def _drop_leaking(data: Dataset, config: CleanConfig, changes: Changes) -> Dataset:
    """Training rows that stand in another split go."""
    train = data.splits["train"]
    leaking = leaking_rows(data, config.threshold)
    _note_dropped(train, leaking, "stands in another split too", changes)
    return replace(data, splits={**data.splits, "train": train.filter(pa.array(~leaking))})
