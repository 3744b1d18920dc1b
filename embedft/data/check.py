"""Look at a data set before it is trained on: what each split holds, what is wrong with it, what leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.data import labels as label_checks
from embedft.data.dataset import Dataset, row_texts
from embedft.data.faults import SHOWN, shortened
from embedft.data.leakage import Leak, between, find_leakage
from embedft.data.near import THRESHOLD, duplicate_groups, duplicate_rows
from embedft.data.pairs import pairs_as_retrieval
from embedft.data.peculiar import peculiarities, scripts
from embedft.data.scores import on_another_scale
from embedft.progress import progress

# Tokens are counted for at most this many texts of a column; more do not change the picture.
TOKENS_FROM = 20_000
BINS = 20
# Why `Report.leakage` is None.
NOT_LOOKED_FOR = "that takes a split train and another one, or other data (--against)"

CountTokens = Callable[[Sequence[str]], np.ndarray]


@dataclass
class Finding:
    """One kind of fault or peculiarity in one file.

    Attributes:
        kind: what it is, in words.
        file: where; the name of a split for what concerns it as a whole.
        count: how many rows have it.
        left_out: whether these rows are left out when the data is read.
        examples: the first few, as ``line: what was found``.
    """

    kind: str
    file: str
    count: int
    left_out: bool
    examples: list[str] = field(default_factory=list)


@dataclass
class Report:
    """All that was found; `as_dict` is what ``--json`` prints."""

    path: str
    kind: str
    splits: dict[str, dict[str, Any]]
    faults: list[Finding]
    leakage: list[Leak] | None  # None where there was nothing to compare
    rows: int
    bad: int
    scale: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": self.path,
            "kind": self.kind,
            "rows": self.rows,
            "bad_rows": self.bad,
            "score_scale": self.scale,
            "splits": self.splits,
            "faults": [asdict(finding) for finding in self.faults],
            "leakage": None if self.leakage is None else [leak.as_dict() for leak in self.leakage],
        }

    def count(self, kind: str) -> int:
        """How many rows of all files have this fault."""
        return sum(finding.count for finding in self.faults if finding.kind == kind)


def check(
    data: Dataset,
    *,
    against: Dataset | None = None,
    count_tokens: CountTokens | None = None,
    max_length: int = 512,
    threshold: float | None = THRESHOLD,
    show_progress: bool = False,
) -> Report:
    """What stands in ``data``, and what it shares between its splits and with ``against``.

    Args:
        data: read with ``max_bad=1``, so that every fault is there.
        against: another data set, for example the one a model is to be judged on.
        count_tokens: texts -> their numbers of tokens, (n,); without it lengths are in words.
        max_length: tokens beyond which an encoder cuts a text.
        threshold: of near duplicates (`embedft.data.near`); None looks for exact ones alone.
        show_progress: on standard error.
    """
    findings = _reader_findings(data)
    splits: dict[str, dict[str, Any]] = {}
    tables = _texts(data)
    with progress("checking", len(tables), "columns", enabled=show_progress) as advance:
        for (split, column), texts in tables.items():
            described = splits.setdefault(split, {"rows": len(texts)})
            described.setdefault("columns", {})[column] = _column(texts, count_tokens, max_length)
            findings += _peculiar(texts, split, column, data)
            advance()
    if data.kind == "retrieval":
        findings += _retrieval(data, splits, threshold)
    else:
        for split, table in data.splits.items():
            findings += _duplicates(data, split, table, threshold, splits[split])
            findings += _scores(data, split, table, splits[split])
        findings += _labels(data, splits)
    own = data.sizes()
    leakage = _leakage(data, data, threshold) if "train" in own and len(own) > 1 else None
    if against is not None:
        leakage = [*(leakage or ()), *_leakage(data, against, threshold)]
    rows = sum(data.rows.values()) or sum(split["rows"] for split in splits.values())
    bad = len({(fault.path, fault.line) for fault in data.faults})
    scale = str(data.scale) if data.scale else None
    findings.sort(key=lambda finding: (not finding.left_out, finding.file, -finding.count))
    return Report(str(data.path), data.kind, splits, findings, leakage, rows, bad, scale)


def _leakage(data: Dataset, other: Dataset, threshold: float | None) -> list[Leak]:
    """As training on retrieval finds it, and near duplicates; pairs are queries and their relevant documents."""
    if not {data.kind, other.kind} <= {"pairs", "retrieval"}:
        return between(data, other, threshold)
    trained = _as_retrieval(data)
    judged = trained if other is data else _as_retrieval(other)
    assert trained.retrieval is not None  # _as_retrieval made it
    found = find_leakage(trained.retrieval, other=None if other is data else judged.retrieval)
    return found + between(trained, judged, threshold)


def _as_retrieval(data: Dataset) -> Dataset:
    if data.retrieval is not None:
        return data
    return replace(data, kind="retrieval", splits={}, retrieval=pairs_as_retrieval(data))


def _reader_findings(data: Dataset) -> list[Finding]:
    """What the reader left out or noted."""
    bad: dict[tuple[str, Path], list[Any]] = {}
    for fault in data.faults:
        bad.setdefault((fault.kind, fault.path), []).append(fault)
    found = [
        Finding(kind, path.name, len(faults), True, [f"{fault.line}: {fault.found}" for fault in faults[:SHOWN]])
        for (kind, path), faults in bad.items()
    ]
    for (kind, path), count in data.notes.counts.items():
        if not _usual(kind, path, count, data):
            examples = [f"{note.line}: {note.found}" for note in data.notes.examples[kind, path]]
            found.append(Finding(kind, path.name, count, False, examples))
    return found


def _usual(kind: str, path: Path, count: int, data: Dataset) -> bool:
    """Whether a note tells nothing since nearly all rows have it: pairs without negatives, labels that are numbers."""
    rows = (
        data.rows.get(path.name, 0)
        or data.rows.get(str(path), 0)
        or (data.retrieval.corpus.num_rows if data.retrieval else 0)
    )
    return kind in ("no negative", "label is a number", "no title", "_id is a number") and count > 0.9 * rows


def _texts(data: Dataset) -> dict[tuple[str, str], list[str]]:
    """(split, column) -> texts; documents and queries stand as splits of their own."""
    if data.retrieval:
        return {
            ("documents", "text"): data.retrieval.document_texts(),
            ("queries", "text"): data.retrieval.queries["text"].to_pylist(),
        }
    if data.kind == "tags":
        return {
            (split, "tokens"): [text for (text,) in row_texts("tags", table)] for split, table in data.splits.items()
        }
    found = {}
    for split, table in data.splits.items():
        for column in data.texts(split):
            found[split, column] = table[column].to_pylist()
        if data.kind == "pairs":
            negatives = table["negatives"].combine_chunks().flatten().to_pylist()
            if negatives:
                found[split, "negatives"] = negatives
    return found


def _column(texts: list[str], count_tokens: CountTokens | None, max_length: int) -> dict[str, Any]:
    """Lengths and scripts of a column."""
    sample = texts
    if len(texts) > TOKENS_FROM:
        chosen = np.random.default_rng(0).choice(len(texts), TOKENS_FROM, replace=False)
        sample = [texts[number] for number in np.sort(chosen).tolist()]
    if count_tokens is None:
        lengths = np.fromiter((len(text.split()) for text in sample), np.int64, len(sample))
    else:
        lengths = count_tokens(sample)
    longest = max(float(np.quantile(lengths, 0.99)), 1.0) if len(lengths) else 1.0
    counts, edges = np.histogram(lengths, BINS, (0, longest))
    seen: Counter[str] = Counter()
    for text in sample:
        found = scripts(text)
        seen["none" if not found else next(iter(found)) if len(found) == 1 else "several"] += 1
    return {
        "texts": len(texts),
        "empty": sum(not text.strip() for text in texts),
        "sampled": len(sample),
        "unit": "words" if count_tokens is None else "tokens",
        "lengths": {
            name: float(np.quantile(lengths, share)) if len(lengths) else 0.0
            for name, share in (("min", 0), ("median", 0.5), ("p95", 0.95), ("max", 1))
        },
        "truncated": float((lengths > max_length).mean()) if len(lengths) and count_tokens else None,
        "histogram": {"counts": [int(count) for count in counts], "edges": [float(edge) for edge in edges]},
        "scripts": {name: count / max(len(sample), 1) for name, count in seen.most_common(6)},
    }


def _peculiar(texts: list[str], split: str, column: str, data: Dataset) -> list[Finding]:
    found: dict[str, Finding] = {}
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    centre = np.median(lengths) if len(texts) else 0
    far = max(20 * centre, 2000)
    for number, text in enumerate(texts):
        kinds = peculiarities(text)
        if lengths[number] > far:
            kinds.append("text more than 20 times as long as the median")
        for kind in kinds:
            finding = found.setdefault(kind, Finding(kind, f"{split}.{column}", 0, False))
            finding.count += 1
            if finding.count <= SHOWN:
                finding.examples.append(f"{_line(data, split, column, number)}: {shortened(ascii(text)[1:-1])}")
    expected = _main_script(texts)
    mixed = Finding("text in another script than the others", f"{split}.{column}", 0, False)
    blended = Finding("several scripts in a text", f"{split}.{column}", 0, False)
    for number, text in enumerate(texts):
        if text.isascii():
            continue
        seen = scripts(text)
        if not seen or seen == {expected}:
            continue
        odd = blended if expected in seen else mixed
        odd.count += 1
        if odd.count <= SHOWN:
            odd.examples.append(f"{_line(data, split, column, number)}: {shortened(text)}")
    return [*found.values(), *(finding for finding in (mixed, blended) if finding.count)]


def _main_script(texts: list[str]) -> str:
    counts = Counter(script for text in texts[:2000] for script in scripts(text))
    return counts.most_common(1)[0][0] if counts else "LATIN"


def _line(data: Dataset, split: str, column: str, number: int) -> str:
    if data.kind == "retrieval" or column == "negatives":
        return f"text {number + 1}"
    return str(data.splits[split]["line"][number].as_py())


def repeated(
    kind: str, rows: Sequence[tuple[str, ...]], threshold: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each row (`row_texts`) repeats, as `duplicate_rows`; the sentences of a scored pair may be swapped."""
    return duplicate_rows(rows, threshold, ordered=2 if kind == "pairs" else 0)


def _duplicates(
    data: Dataset, split: str, table: pa.Table, threshold: float | None, described: dict[str, Any]
) -> list[Finding]:
    rows = row_texts(data.kind, table)
    exact, same, near = repeated(data.kind, rows, threshold)
    own = np.arange(len(rows))
    conflict = np.zeros(len(rows), bool)
    if data.kind == "labelled texts":
        conflict = label_checks.conflicting(same, table["labels"].to_pylist())
    kinds = {
        "exact duplicate": (exact != own) & ~conflict,
        "near duplicate": (near != own) & (exact == own) & ~conflict,
        "same text with another label": conflict,
    }
    described["duplicates"] = {name: int(holds.sum()) for name, holds in kinds.items()}
    lines = table["line"].to_numpy()
    found = []
    for kind, holds in kinds.items():
        places = np.flatnonzero(holds)
        if len(places):
            examples = [
                f"{lines[row]}: as line {lines[near[row]]}: {shortened(' | '.join(rows[row][:2]))}"
                for row in places[:SHOWN]
            ]
            found.append(Finding(kind, split, len(places), False, examples))
    return found


def _scores(data: Dataset, split: str, table: pa.Table, described: dict[str, Any]) -> list[Finding]:
    if data.kind != "scored pairs" or data.scale is None:
        return []
    scores = table["score"].to_numpy()
    counts, _ = np.histogram(scores, BINS, (0, 1))
    described["scores"] = {"counts": [int(count) for count in counts]}
    raw = scores * (data.scale.high - data.scale.low) + data.scale.low
    suspects = np.flatnonzero(on_another_scale(raw, data.scale))
    if not len(suspects):
        return []
    lines = table["line"].to_numpy()
    examples = [f"{lines[row]}: {raw[row]:g}" for row in suspects[:SHOWN]]
    return [Finding(f"score on 0..1 among scores on {data.scale}", split, len(suspects), False, examples)]


def _labels(data: Dataset, splits: dict[str, dict[str, Any]]) -> list[Finding]:
    """Balance, typos, classes of one example, labels of other splits that train does not have."""
    if data.kind not in ("labelled texts", "tags"):
        return []
    column = "labels" if data.kind == "labelled texts" else "tags"
    every = {split: table[column].combine_chunks().flatten() for split, table in data.splits.items()}
    counts = {split: Counter(values.to_pylist()) for split, values in every.items()}
    found = []
    for split, each in counts.items():
        splits[split]["labels"] = dict(each.most_common())
        wrong = label_checks.typos(each)
        by_kind: dict[str, list[str]] = {}
        for label, (difference, meant) in wrong.items():
            by_kind.setdefault(f"label is probably a typo: {difference}", []).append(f"{label!r} for {meant!r}")
        for kind, examples in by_kind.items():
            rows = sum(each[label] for label, (difference, _) in wrong.items() if kind.endswith(difference))
            found.append(Finding(kind, split, rows, False, examples[:SHOWN]))
        single = [label for label, count in each.items() if count == 1 and label not in wrong and not label.isdigit()]
        if single and data.kind == "labelled texts":
            found.append(Finding("class with one example", split, len(single), False, single[:SHOWN]))
        if "train" in counts and split != "train":
            new = {label: count for label, count in each.items() if label not in counts["train"]}
            if new:
                kind = "label that train does not have"
                found.append(Finding(kind, split, sum(new.values()), False, list(new)[:SHOWN]))
    return found


def _retrieval(data: Dataset, splits: dict[str, dict[str, Any]], threshold: float | None) -> list[Finding]:
    """Queries without judgments or positives, documents that no query needs, documents and queries that stand twice."""
    retrieval = data.retrieval
    assert retrieval is not None  # the kind says so
    judged: set[str] = set()
    relevant: set[str] = set()
    needed: set[str] = set()
    for name, table in retrieval.qrels.items():
        grades = table["grade"].to_numpy()
        queries, documents = table["query_id"].to_pylist(), table["corpus_id"].to_pylist()
        judged.update(queries)
        positive = [number for number, grade in enumerate(grades) if grade > 0]
        here = {queries[number] for number in positive}
        relevant |= here
        needed.update(documents[number] for number in positive)
        splits[name] = {"rows": table.num_rows, "queries": len(set(queries)), "queries_with_a_positive": len(here)}
    ids = retrieval.queries["id"].to_pylist()
    lists = {
        "query without judgments": [query for query in ids if query not in judged],
        "query without a positive": [query for query in ids if query in judged and query not in relevant],
    }
    unneeded = retrieval.corpus.num_rows - len(needed)
    splits["documents"]["needed_by_no_query"] = unneeded
    found = [Finding(kind, "queries", len(rows), False, rows[:SHOWN]) for kind, rows in lists.items() if rows]
    for (part, _), texts in _texts(data).items():
        exact, _, near = duplicate_groups(texts, threshold)
        own = np.arange(len(texts))
        for kind, repeated in (("exact duplicate", exact != own), ("near duplicate", (near != own) & (exact == own))):
            places = np.flatnonzero(repeated)
            if len(places):
                found.append(Finding(kind, part, len(places), False, [shortened(texts[row]) for row in places[:SHOWN]]))
    return found
