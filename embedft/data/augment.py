"""More training rows, made of those there are: edits, back-translation, paraphrases.

Only rows of ``train`` are used, and of them none whose text stands in another split; a new text that stands in another
split, or in train, is left out. Near duplicates are not looked for: most edits are such of their own parent. Each new
row names the text it was made of and the method (`embedft.data.parents`), so that a later split keeps them together.

What changes is the text that a label belongs to, the anchor of a pair, one side of a scored pair, the query of a
judgment. A small edit may change the meaning all the same; look at the examples of the report.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import pyarrow as pa

from embedft.data.dataset import TEXT_COLUMNS, Dataset
from embedft.data.edits import EDITS, edit
from embedft.data.faults import shortened
from embedft.data.near import normalised
from embedft.data.parents import METHOD, PARENT, parent_of
from embedft.data.retrieval import QRELS_SCHEMA, QUERIES_SCHEMA, RetrievalData
from embedft.data.thesaurus import Thesaurus
from embedft.errors import ConfigError, DataError

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
    """Rows that were passed over, what each method gave, why new texts were left out, an example of each method."""

    passed_over: Counter[str] = field(default_factory=Counter)
    made: Counter[str] = field(default_factory=Counter)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    kept: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        dropped = {reason: dict(counts) for reason, counts in self.dropped.items()}
        return {
            "passed_over": dict(self.passed_over),
            "made": dict(self.made),
            "dropped": dropped,
            "kept": dict(self.kept),
            "examples": self.examples,
        }


@dataclass(frozen=True)
class _Source:
    """A row that may be augmented: its number, the text that changes, and what tells equal new texts apart."""

    row: int
    text: str
    rest: str


@dataclass(frozen=True)
class _New:
    source: _Source
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

    def __call__(self, sources: Sequence[_Source], train: Iterable[str], others: Iterable[str]) -> list[_New]:
        """New texts in the order of the rows.

        Args:
            sources: rows of train.
            train: all texts of train.
            others: all texts of the other splits.
        """
        tested = {normalised(text) for text in others}
        used = [source for source in sources if normalised(source.text) not in tested]
        self.report.passed_over["stands in another split"] += len(sources) - len(used)
        known = {_same(text) for text in train}
        found: list[_New] = []
        for method in self.config.methods:
            texts = [source.text for source in used]
            for source, variants in zip(used, self._variants(method, texts), strict=True):
                found += [_New(source, method, text) for text in variants]
        found.sort(key=lambda new: new.source.row)
        kept = []
        seen: set[tuple[str, str]] = set()
        for new in found:
            self.report.made[new.method] += 1
            reason = self._reason(new, known, tested, seen)
            if reason:
                self.report.dropped.setdefault(reason, Counter())[new.method] += 1
                continue
            seen.add((_same(new.text), new.source.rest))
            kept.append(new)
            self.report.kept[new.method] += 1
            self.report.examples.setdefault(new.method, f"{shortened(new.source.text)} -> {shortened(new.text)}")
        return kept

    def _reason(self, new: _New, known: set[str], tested: set[str], seen: set[tuple[str, str]]) -> str:
        """Why a new text is left out; ``""`` where it stays."""
        key = _same(new.text)
        if not key or key == _same(new.source.text):
            return "unchanged"
        if normalised(new.text) in tested:
            return "stands in another split"
        if key in known:
            return "stands in train"
        return "made twice" if (key, new.source.rest) in seen else ""

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
    columns = CHANGED[data.kind]
    rows = table.to_pylist()
    sources = []
    column_of = {}
    for number, row in enumerate(rows):
        if parent_of(row["metadata"]) is not None:
            make.report.passed_over["augmented before"] += 1
            continue
        column_of[number] = _side(row, columns)
        others = [row[name] for name in TEXT_COLUMNS[data.kind] if name != column_of[number]]
        sources.append(_Source(number, row[column_of[number]], "\x1f".join(others)))
    every = {split: _all_texts(data, split) for split in data.splits}
    tested = [text for split, texts in every.items() if split != "train" for text in texts]
    added = []
    for new in make(sources, every["train"], tested):
        row = rows[new.source.row]
        metadata = _metadata(row["metadata"], new)
        added.append({**row, column_of[new.source.row]: new.text, "metadata": metadata})
    return pa.concat_tables([table, pa.Table.from_pylist(added, schema=table.schema)]).unify_dictionaries()


def _side(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """The column that changes; of two one is drawn by the texts, so that it does not depend on other rows."""
    if len(columns) == 1:
        return columns[0]
    texts = "\x1f".join(row[name] for name in columns).encode("utf-8", "surrogatepass")
    return columns[hashlib.blake2b(texts, digest_size=1).digest()[0] % len(columns)]


def _all_texts(data: Dataset, split: str) -> list[str]:
    return [text for column in data.texts(split).values() for text in column.to_pylist()]


def _augment_queries(data: RetrievalData, make: _Maker) -> RetrievalData:
    """New queries for the documents of the training queries; ids are ``<id>-<method><number>``."""
    qrels = data.split("train")
    rows = {row["id"]: row for row in data.queries.to_pylist()}
    judged: dict[str, list[tuple[str, int]]] = {}
    for query, document, grade in zip(*(qrels[name].to_pylist() for name in QRELS_SCHEMA.names), strict=True):
        judged.setdefault(query, []).append((document, grade))
    used = [key for key in judged if parent_of(rows[key]["metadata"]) is None]
    make.report.passed_over["augmented before"] += len(judged) - len(used)
    sources = [_Source(number, rows[key]["text"], "") for number, key in enumerate(used)]
    elsewhere = {key for name, table in data.qrels.items() if name != "train" for key in table["query_id"].to_pylist()}
    trained = [row["text"] for key, row in rows.items() if key not in elsewhere]
    numbers: Counter[tuple[str, str]] = Counter()
    queries: list[dict[str, Any]] = []
    judgments: list[dict[str, Any]] = []
    for new in make(sources, trained, [rows[key]["text"] for key in elsewhere]):
        parent = rows[used[new.source.row]]
        numbers[parent["id"], new.method] += 1
        key = f"{parent['id']}-{new.method}{numbers[parent['id'], new.method]}"
        while key in rows:
            key += "-"
        queries.append({"id": key, "text": new.text, "metadata": _metadata(parent["metadata"], new)})
        judgments += [{"query_id": key, "corpus_id": doc, "grade": grade} for doc, grade in judged[parent["id"]]]
    pairs = dict(data.pairs)
    pairs.pop("train", None)
    return replace(
        data,
        queries=pa.concat_tables([data.queries, pa.Table.from_pylist(queries, schema=QUERIES_SCHEMA)]),
        qrels={**data.qrels, "train": pa.concat_tables([qrels, pa.Table.from_pylist(judgments, schema=QRELS_SCHEMA)])},
        pairs=pairs,
    )


def _metadata(text: str | None, new: _New) -> str:
    own = json.loads(text) if text else {}
    return json.dumps({**own, PARENT: new.source.text, METHOD: new.method}, ensure_ascii=False)
