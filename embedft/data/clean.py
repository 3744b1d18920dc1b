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
from embedft.data.check import row_keys
from embedft.data.dataset import TEXT_COLUMNS, Dataset
from embedft.data.faults import Fault, shortened
from embedft.data.leakage import drop_leaking_queries
from embedft.data.near import THRESHOLD, duplicate_groups
from embedft.data.parents import PARENT, parent_of
from embedft.data.peculiar import BIDI, CONTROL, HTML_ENTITY, HTML_TAG, JOINER, is_double_encoded
from embedft.errors import ConfigError

INVISIBLE = re.compile("[\u200b\u200c\u2060\ufeff\u00ad]")
BROKEN_LINE = re.compile("\r\n|[\r\u2028\u2029\x85]")
ODD_SPACE = re.compile("[\u00a0\u202f\u2000-\u200a\u3000\t]")
RUN = re.compile(r"(?<=\S) {2,}")
BLANK_LINES = re.compile(r"\n{3,}")
PUNCTUATION = re.compile(r"[^\w\s]|_")
PLAIN = re.compile(r"[\x21-\x25\x27-\x3b\x3d-\x7e]+(?: [\x21-\x25\x27-\x3b\x3d-\x7e]+)*")
# Steps feed each other (an entity may hide a tag); real texts are still after two passes.
PASSES = 10
LEAVE = "leave these settings out."

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
        leakage: ``"drop"`` leaves out training rows that stand, exactly or nearly, in another split.
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
    return HTML_TAG.sub(" ", text) if "<" in text else text


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
    return " ".join(PUNCTUATION.sub(" ", text).split())


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
    if PLAIN.fullmatch(text) and not {"lower", "punctuation"} & set(steps):
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

    Of retrieval data texts are mended and training judgments that leak left out; documents and queries stay, since ids
    would dangle.

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
    if config.leakage == "drop" and "train" in splits:
        splits = _drop_leaking(data, splits, config, changes)
    return replace(data, splits=splits), changes


def _check_kind(data: Dataset, config: CleanConfig) -> None:
    labelled = data.kind == "labelled texts"
    useless = [
        name
        for name, asked, possible in (
            ("min_chars", config.min_chars is not None, data.kind != "retrieval"),
            ("max_chars", config.max_chars is not None, data.kind != "retrieval"),
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
    retrieval = replace(retrieval, corpus=corpus, queries=queries)
    if config.leakage == "drop" and "train" in retrieval.qrels:
        before = retrieval.qrels["train"].to_pylist()
        retrieval, _ = drop_leaking_queries(retrieval)
        kept = {(row["query_id"], row["corpus_id"]) for row in retrieval.qrels["train"].to_pylist()}
        changes.dropped += [
            Fault("stands in another split too", data.path / "qrels" / "train.tsv", 0, row["query_id"], json.dumps(row))
            for row in before
            if (row["query_id"], row["corpus_id"]) not in kept
        ]
    return replace(data, retrieval=retrieval)


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
        mended = [[clean_text(text, config.steps, changes) for text in row] for row in values]
    else:
        mended = [clean_text(text, config.steps, changes) for text in values]
    return table.set_column(place, table.schema.field(place), pa.array(mended, table.schema.field(place).type))


def _clean_texts(data: Dataset, table: pa.Table, config: CleanConfig, changes: Changes) -> pa.Table:
    """Texts mended; rows whose text is empty now, or too short or long, are left out."""
    assert data.kind != "retrieval"  # the caller asked
    columns = [*TEXT_COLUMNS[data.kind], *(["negatives"] if data.kind == "pairs" else [])]
    for column in columns:
        table = _mapped(table, column, config, changes)
    table = _mended_parents(table, config)
    keep = np.ones(table.num_rows, bool)
    for column in TEXT_COLUMNS[data.kind]:
        lengths = np.fromiter((len(text) for text in table[column].to_pylist()), np.int64, table.num_rows)
        limits = [
            (lengths == 0, f"{column} is empty after cleaning"),
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
    keys = row_keys(data, table)
    exact, same, near = duplicate_groups(keys, config.threshold if config.duplicates == "near" else None)
    own = np.arange(len(keys))
    keep = np.ones(len(keys), bool)
    label_sets = [frozenset(row) for row in table["labels"].to_pylist()] if data.kind == "labelled texts" else []
    if label_sets and config.conflicts != "keep":
        keep = _agreeing(same, label_sets, config.conflicts)
        _note_dropped(table, ~keep, "same text with another label", changes)
    if config.duplicates == "keep":
        return table.filter(pa.array(keep))
    groups = near if config.duplicates == "near" else exact
    seen: set[Any] = set()
    repeated = np.zeros(len(keys), bool)
    for number in own[keep].tolist():
        key = (groups[number], label_sets[number]) if label_sets else groups[number]
        repeated[number] = key in seen
        seen.add(key)
    _note_dropped(table, repeated, f"{'near ' if config.duplicates == 'near' else 'exact '}duplicate", changes)
    return table.filter(pa.array(keep & ~repeated))


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


def _drop_leaking(
    data: Dataset, splits: dict[str, pa.Table], config: CleanConfig, changes: Changes
) -> dict[str, pa.Table]:
    """Training rows that stand in another split go."""
    judged = [key for name, table in splits.items() if name != "train" for key in row_keys(data, table)]
    train = splits["train"]
    _, _, near = duplicate_groups([*judged, *row_keys(data, train)], config.threshold)
    leaking = near[len(judged) :] < len(judged)
    _note_dropped(train, leaking, "stands in another split too", changes)
    return {**splits, "train": train.filter(pa.array(~leaking))}
