"""More training rows, made of those there are: edits, back-translation, paraphrases.

Only rows of ``train`` are used, and a new text that stands in another split, or anywhere in train, is left out. Each
new row names the text it was made of (metadata ``parent``), so that a later split keeps them together.

What changes is the text that a label belongs to, the anchor of a pair, one side of a scored pair, the query of a
judgment. A small edit may change the meaning all the same; look at the examples of the report.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pyarrow as pa

from embedft.data.dataset import TEXT_COLUMNS, Dataset
from embedft.data.edits import EDITS, edit
from embedft.data.faults import shortened
from embedft.data.near import normalised
from embedft.data.retrieval import QRELS_SCHEMA, QUERIES_SCHEMA, RetrievalData
from embedft.data.split import PARENT
from embedft.data.thesaurus import Thesaurus
from embedft.errors import ConfigError, DataError

METHOD = "augmented_by"
REWRITES = ("back-translation", "paraphrase")
CHANGED = {"labelled texts": ("text",), "pairs": ("anchor",), "scored pairs": ("sentence1", "sentence2")}

# Takes n texts and a number of copies, gives up to so many new texts for each.
Rewrite = Callable[[Sequence[str], int], Sequence[Sequence[str]]]


@dataclass(frozen=True)
class AugmentConfig:
    """What is made of each row of ``train``.

    Attributes:
        methods: names in `embedft.data.edits.EDITS` or `REWRITES`.
        copies: new rows of each row by each method.
        rate: share of the words that an edit changes, 0..1.
        seed: of the edits; what a row becomes does not depend on the other rows.
    """

    methods: tuple[str, ...] = ("deletion", "swap")
    copies: int = 1
    rate: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        names = (*EDITS, *REWRITES)
        unknown = [name for name in self.methods if name not in names]
        if unknown:
            raise ConfigError(f"no method is named {unknown[0]!r}.", hint=f"use {', '.join(names)}.")


@dataclass
class AugmentReport:
    """What each method gave, why new texts were left out, and an example of each method."""

    made: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        dropped = {reason: dict(counts) for reason, counts in self.dropped.items()}
        return {"made": dict(self.made), "dropped": dropped, "kept": dict(self.kept), "examples": self.examples}


@dataclass(frozen=True)
class _New:
    row: int
    method: str
    text: str


def augment(
    data: Dataset,
    config: AugmentConfig,
    *,
    thesaurus: Thesaurus | None = None,
    rewrites: Mapping[str, Rewrite] | None = None,
) -> tuple[Dataset, AugmentReport]:
    """The data with new rows at the end of ``train``, and what was made.

    Args:
        data: has a split ``train`` of labelled texts, pairs, scored pairs or judged queries.
        config: methods, copies, rate, seed.
        thesaurus: for ``synonyms``, and for ``insertion`` if it is to put in words.
        rewrites: the functions behind those of `REWRITES` that ``config`` names.

    Raises:
        ConfigError: a method lacks its thesaurus or its function.
        DataError: no split is named train, or its rows have no text that may change.
    """
    missing = [name for name in config.methods if name in REWRITES and name not in (rewrites or {})]
    if missing:
        raise ConfigError(f"{missing[0]} needs a model.", hint="name translation models, or an endpoint.")
    report = AugmentReport()
    make = _Maker(config, thesaurus, rewrites or {}, report)
    if data.retrieval is not None:
        return replace(data, retrieval=_augment_queries(data.retrieval, make)), report
    if data.kind not in CHANGED:
        raise DataError(
            f"{data.path}: holds {data.kind}; there is nothing to augment.",
            hint="give labelled texts, pairs, scored pairs or a BEIR folder (pairs come out of documents by "
            "'embedft data pairs').",
        )
    if "train" not in data.splits:
        raise DataError(
            f"{data.path}: has no split train, only {', '.join(data.splits)}.", hint="name the file train.jsonl."
        )
    return replace(data, splits={**data.splits, "train": _augment_table(data, make)}), report


@dataclass
class _Maker:
    config: AugmentConfig
    thesaurus: Thesaurus | None
    rewrites: Mapping[str, Rewrite]
    report: AugmentReport

    def __call__(self, texts: Sequence[str], train: set[str], others: set[str]) -> list[_New]:
        """New texts in the order of the rows; ``train`` and ``others`` are the texts that stand there, as `_same`."""
        found: list[_New] = []
        for method in self.config.methods:
            for row, variants in enumerate(self._variants(method, texts)):
                found += [_New(row, method, text) for text in variants]
        found.sort(key=lambda new: new.row)
        kept = []
        known = set(train)
        for new in found:
            self.report.made[new.method] += 1
            key = _same(new.text)
            unchanged = key == _same(texts[new.row]) or not new.text.strip()
            leaks = normalised(new.text) in others
            reason = "unchanged" if unchanged else "stands in another split" if leaks else ""
            reason = reason or ("stands in train" if key in known else "")
            if reason:
                self.report.dropped.setdefault(reason, Counter())[new.method] += 1
                continue
            known.add(key)
            kept.append(new)
            self.report.kept[new.method] += 1
            example = f"{shortened(texts[new.row])} -> {shortened(new.text)}"
            self.report.examples.setdefault(new.method, example)
        return kept

    def _variants(self, method: str, texts: Sequence[str]) -> Iterator[Sequence[str]]:
        if method in REWRITES:
            # An equal text is rewritten once.
            distinct = list(dict.fromkeys(texts))
            made = dict(zip(distinct, self.rewrites[method](distinct, self.config.copies), strict=True))
            yield from (made[text] for text in texts)
            return
        for text in texts:
            copies = []
            for copy in range(self.config.copies):
                draw = f"{self.config.seed} {method} {copy} {text}".encode("utf-8", "surrogatepass")
                random = Random(int.from_bytes(hashlib.blake2b(draw, digest_size=8).digest()))
                copies.append(edit(text, method, self.config.rate, random, self.thesaurus))
            yield copies


def _same(text: str) -> str:
    """Two texts with one key are the same to an encoder but for case and white space; punctuation counts."""
    return " ".join(text.lower().split())


def _augment_table(data: Dataset, make: _Maker) -> pa.Table:
    assert data.kind != "retrieval"  # the caller asked
    table = data.splits["train"]
    originals = [row for row, text in enumerate(table["metadata"].to_pylist()) if not _parent(text)]
    columns = CHANGED[data.kind]
    # Of two sides that may change each row changes one, in turn.
    column_of = [columns[row % len(columns)] for row in range(table.num_rows)]
    values = {column: table[column].to_pylist() for column in columns}
    texts = [values[column_of[row]][row] for row in originals]
    every = {
        split: [t for c in TEXT_COLUMNS[data.kind] for t in other[c].to_pylist()]
        for split, other in data.splits.items()
    }
    others = {normalised(text) for split, found in every.items() if split != "train" for text in found}
    found = make(texts, {_same(text) for text in every["train"]}, others)
    added = table.take(pa.array([originals[new.row] for new in found], pa.int64())).to_pylist()
    for new, row in zip(found, added, strict=True):
        row[column_of[originals[new.row]]] = new.text
        row["metadata"] = _metadata(row["metadata"], texts[new.row], new.method)
    return pa.concat_tables([table, pa.Table.from_pylist(added, schema=table.schema)]).unify_dictionaries()


def _augment_queries(data: RetrievalData, make: _Maker) -> RetrievalData:
    """New queries for the relevant documents of the training queries; ids are ``<id>-<method><number>``."""
    qrels = data.split("train")
    rows = {row["id"]: row for row in data.queries.to_pylist()}
    used = [key for key in dict.fromkeys(qrels["query_id"].to_pylist()) if not _parent(rows[key]["metadata"])]
    elsewhere = [table["query_id"].to_pylist() for name, table in data.qrels.items() if name != "train"]
    others = {normalised(rows[key]["text"]) for keys in elsewhere for key in keys}
    texts = [rows[key]["text"] for key in used]
    found = make(texts, {_same(row["text"]) for row in rows.values()}, others)
    judged: dict[str, list[tuple[str, int]]] = {}
    for query, document, grade in zip(*(qrels[name].to_pylist() for name in QRELS_SCHEMA.names), strict=True):
        judged.setdefault(query, []).append((document, grade))
    numbers: Counter[tuple[int, str]] = Counter()
    queries: list[dict[str, Any]] = []
    judgments: list[dict[str, Any]] = []
    for new in found:
        parent = rows[used[new.row]]
        numbers[new.row, new.method] += 1
        key = f"{parent['id']}-{new.method}{numbers[new.row, new.method]}"
        while key in rows:
            key += "-"
        metadata = _metadata(parent["metadata"], parent["text"], new.method)
        queries.append({"id": key, "text": new.text, "metadata": metadata})
        judgments += [{"query_id": key, "corpus_id": doc, "grade": grade} for doc, grade in judged[parent["id"]]]
    pairs = dict(data.pairs)
    pairs.pop("train", None)
    return replace(
        data,
        queries=pa.concat_tables([data.queries, pa.Table.from_pylist(queries, schema=QUERIES_SCHEMA)]),
        qrels={**data.qrels, "train": pa.concat_tables([qrels, pa.Table.from_pylist(judgments, schema=QRELS_SCHEMA)])},
        pairs=pairs,
    )


def _parent(metadata: str | None) -> str | None:
    return json.loads(metadata).get(PARENT) if metadata and PARENT in metadata else None


def _metadata(text: str | None, parent: str, method: str) -> str:
    return json.dumps({**(json.loads(text) if text else {}), PARENT: parent, METHOD: method}, ensure_ascii=False)
