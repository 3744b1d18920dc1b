"""Split a data set so that no text, and no near duplicate of one, stands on two sides.

Rows that share a text (but for case, punctuation and white space), a near duplicate, a group or a parent row are one
component, and components move as a whole. Which one goes where depends on the texts and the seed, not on the order of
the rows. Rows of a graph that hangs together, such as pairs of a few recurring sentences, may leave one large
component; it goes to the largest side.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.data.dataset import Dataset, row_texts
from embedft.data.faults import SHOWN
from embedft.data.near import THRESHOLD, duplicate_groups, groups, normalised
from embedft.data.parents import parent_of
from embedft.data.retrieval import RetrievalData, document_text
from embedft.errors import ConfigError, DataError

logger = logging.getLogger("embedft")

NAMES = ("train", "dev", "test")
# Between the labels of a row, and the texts of a pair.
SEVERAL = "\x1f"


@dataclass(frozen=True)
class SplitConfig:
    """How rows are divided.

    Attributes:
        ratios: share of each side, in any unit: ``{"train": 80, "dev": 10, "test": 10}``.
        group: a metadata field; rows with one value stay together.
        time: a metadata field; earlier rows come first (text that sorts, such as ISO dates, or numbers).
        shots: so many rows of each class go to train, all others to the last side.
        threshold: Jaccard index of near duplicates.
        seed: another seed, another choice.
    """

    ratios: Mapping[str, float]
    group: str | None = None
    time: str | None = None
    shots: int | None = None
    threshold: float = THRESHOLD
    seed: int = 0

    def __post_init__(self) -> None:
        if self.time is not None and self.shots is not None:
            raise ConfigError("rows are divided by time or by shots, not by both.", hint="leave one of the two out.")


def parse_ratios(text: str) -> dict[str, float]:
    """``80,10,10`` as train, dev, test; ``80,20`` as train, test.

    Raises:
        DataError: it is not two or three positive numbers.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (2, 3) or not all(0 < number < 1e9 for number in numbers):
        raise DataError(f"--ratios {text}: expected two or three positive numbers.", hint="for example 80,10,10.")
    return dict(zip(NAMES if len(numbers) == 3 else ("train", "test"), numbers, strict=True))


def split(data: Dataset, config: SplitConfig) -> Dataset:
    """The rows of all splits of ``data``, divided anew.

    Raises:
        DataError: a named field is missing, or one side would be empty.
    """
    if config.shots is not None and data.kind != "labelled texts":
        raise DataError(f"{data.path}: holds {data.kind}; shots are counted by label.", hint="leave --shots out.")
    there = list(data.retrieval.qrels) if data.retrieval else list(data.splits)
    if len(there) > 1:
        logger.warning("%s are put together and divided anew", " and ".join(there))
    if data.retrieval is not None:
        return replace(data, retrieval=_split_retrieval(data.retrieval, config))
    table = pa.concat_tables(list(data.splits.values()), promote_options="default").unify_dictionaries()
    component = _components(data, table, config)
    keys = [normalised(key) for key in row_keys(data, table)]
    classes = _classes(data, table)
    times = _times(_field(table, config.time), config.time) if config.time else None
    side = assign_sides(component, keys, classes, times, config)
    if config.shots is not None and classes is not None:
        _tell_short(classes, side, config.shots)
    side = _without_made_rows([parent_of(text) for text in table["metadata"].to_pylist()], side)
    splits = {name: table.filter(pa.array(side == number)) for number, name in enumerate(config.ratios)}
    if config.shots is not None:
        splits = {name: part for name, part in splits.items() if name in ("train", "test")}
    _require_all({name: part.num_rows for name, part in splits.items()}, data)
    return replace(data, splits=splits)


def assign_sides(
    component: np.ndarray,
    keys: Sequence[str],
    classes: Sequence[str] | None,
    times: Sequence[Any] | None,
    config: SplitConfig,
) -> np.ndarray:
    """The side of each row, (n,) int64, as positions in ``config.ratios``.

    Args:
        component: number of the component of each row, (n,).
        keys: text of each row, from which the draw is made.
        classes: of each row; each side gets its share of every class.
        times: of each row.
        config: ratios, shots, seed.
    """
    members: dict[int, list[int]] = {}
    for row, number in enumerate(component.tolist()):
        members.setdefault(number, []).append(row)
    parts = list(members.values())
    if times is not None:
        parts.sort(key=lambda rows: (max(times[row] for row in rows), min(keys[row] for row in rows)))
        return _in_order(parts, len(component), config)
    parts.sort(key=lambda rows: _draw(min(keys[row] for row in rows), config.seed))
    if config.shots is not None:
        return _few(parts, classes or [""] * len(component), config)
    parts.sort(key=len, reverse=True)
    return _balanced(parts, classes or [""] * len(component), config)


def _in_order(parts: list[list[int]], total: int, config: SplitConfig) -> np.ndarray:
    ends = np.cumsum(list(config.ratios.values())) / sum(config.ratios.values()) * total
    side = np.empty(total, np.int64)
    done = 0
    for rows in parts:
        side[rows] = min(int(np.searchsorted(ends, done, side="right")), len(ends) - 1)
        done += len(rows)
    return side


def _few(parts: list[list[int]], classes: Sequence[str], config: SplitConfig) -> np.ndarray:
    """Components are taken for train while none of their classes has more than its shots."""
    side = np.full(len(classes), len(config.ratios) - 1, np.int64)
    taken: Counter[str] = Counter()
    for rows in parts:
        wanted = Counter(classes[row] for row in rows)
        if all(taken[name] + count <= (config.shots or 0) for name, count in wanted.items()):
            taken += wanted
            side[rows] = 0
    return side


def _tell_short(classes: Sequence[str], side: np.ndarray, shots: int) -> None:
    """Name the classes that got fewer rows than asked: their rows are few, or hang together."""
    taken = Counter(name for name, place in zip(classes, side.tolist(), strict=True) if place == 0)
    short = [f"{name.replace(SEVERAL, '+')} ({taken[name]})" for name in dict.fromkeys(classes) if taken[name] < shots]
    if short:
        more = f", and {len(short) - SHOWN} more" if len(short) > SHOWN else ""
        logger.warning("fewer than %d rows of train for %s%s", shots, ", ".join(short[:SHOWN]), more)


def _balanced(parts: list[list[int]], classes: Sequence[str], config: SplitConfig) -> np.ndarray:
    """Each component goes where its classes lack most, the large ones first."""
    names = {name: number for number, name in enumerate(dict.fromkeys(sorted(classes)))}
    shares = np.array(list(config.ratios.values())) / sum(config.ratios.values())
    code = np.array([names[name] for name in classes])
    lacking = shares[:, None] * np.bincount(code, minlength=len(names))  # (sides, classes)
    side = np.empty(len(classes), np.int64)
    for rows in parts:
        wanted = np.bincount(code[rows], minlength=len(names))
        present = wanted > 0
        # Relative to its share a small side is as hungry as a large one; what does not fit goes to the hungriest.
        need = (lacking[:, present] / shares[:, None]) @ wanted[present]
        room = lacking.sum(1) >= len(rows)
        place = int(np.argmax(np.where(room, need, -np.inf))) if room.any() else int(np.argmax(lacking.sum(1)))
        side[rows] = place
        lacking[place] -= wanted
    return _none_empty(side, parts, len(shares))


def _none_empty(side: np.ndarray, parts: list[list[int]], sides: int) -> np.ndarray:
    """A side that got nothing, since components are large, takes the smallest one of the side that has the most."""
    for empty in range(sides):
        if (side == empty).any():
            continue
        held = [[rows for rows in parts if side[rows[0]] == number] for number in range(sides)]
        richest = max(held, key=len)
        if len(richest) > 1:
            side[min(richest, key=len)] = empty
    return side


def _draw(text: str, seed: int) -> bytes:
    salt = seed.to_bytes(16, "little", signed=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, salt=salt).digest()


def row_keys(data: Dataset, table: pa.Table) -> list[str]:
    """What is drawn by: the text of a row, or both of a pair, of a scored one in an order of their own."""
    rows = [row[:2] for row in row_texts(data.kind, table)]
    return [SEVERAL.join(sorted(row) if data.kind == "scored pairs" else row) for row in rows]


def _components(data: Dataset, table: pa.Table, config: SplitConfig) -> np.ndarray:
    """Number of the component of each row, (n,)."""
    if data.kind == "tags":
        columns = [row_keys(data, table)]
    else:
        columns = [table[name].to_pylist() for name in data.texts(next(iter(data.splits)))]
    rows = table.num_rows
    texts = [text for column in columns for text in column]
    _, _, near = duplicate_groups(texts, config.threshold)
    # Nodes: the rows, then the texts.
    links = [(row, rows + int(near[place * rows + row])) for place in range(len(columns)) for row in range(rows)]
    links += _parents(table, columns)
    if config.group:
        first: dict[Any, int] = {}
        links += [(row, first.setdefault(value, row)) for row, value in enumerate(_field(table, config.group))]
    return groups(rows + len(texts), links)[:rows]


def _parents(table: pa.Table, columns: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """(augmented row, a row with the text it was made of, or another that was made of it)."""
    found = [parent_of(text) for text in table["metadata"].to_pylist()]
    if not any(found):
        return []
    first: dict[str, int] = {}
    for row, (parent, *texts) in enumerate(zip(found, *columns, strict=True)):
        if parent is None:
            for text in texts:
                first.setdefault(normalised(text), row)
    return [(row, first.setdefault(normalised(parent), row)) for row, parent in enumerate(found) if parent is not None]


def _field(table: pa.Table, name: str) -> list[Any]:
    """The values of a column, whatever its role; lists and objects as JSON text."""
    name = "labels" if name == "label" and "labels" in table.column_names else name
    if name in table.column_names and name not in ("metadata", "file", "line"):
        values = table[name].to_pylist()
    else:
        values = [json.loads(text).get(name) if text else None for text in table["metadata"].to_pylist()]
    lacking = sum(value is None or value == "" for value in values)
    if lacking:
        raise DataError(
            f"{lacking} of {len(values)} rows have nothing in a column {name!r}.",
            hint="name a column that every row has.",
        )
    return [json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value for value in values]


def _times(values: Sequence[Any], name: str) -> list[float]:
    """Points in time as numbers that sort: all numbers, or all ISO 8601 dates."""
    for read in (float, lambda value: _timestamp(str(value))):
        try:
            found = [read(value) for value in values]
        except (TypeError, ValueError):
            continue
        if all(map(math.isfinite, found)):
            return found
    odd = next((value for value in values if not _is_date(value)), values[0])
    raise DataError(
        f"column {name!r} does not tell a time: found {odd!r}; expected numbers alone, or ISO dates alone.",
        hint="write dates as 2026-01-31 or 2026-01-31T12:00:00Z.",
    )


def _timestamp(text: str) -> float:
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=found.tzinfo or UTC).timestamp()


def _is_date(value: Any) -> bool:
    try:
        _timestamp(str(value))
    except ValueError:
        return False
    return True


def _classes(data: Dataset, table: pa.Table) -> list[str] | None:
    if data.kind == "labelled texts":
        return [SEVERAL.join(sorted(row)) for row in table["labels"].to_pylist()]
    if data.kind == "scored pairs":
        # Tenths of the scale, so that each side has low and high ones.
        return [f"{min(int(score * 10), 9)}" for score in table["score"].to_pylist()]
    return None


def _without_made_rows(parents: Sequence[str | None], side: np.ndarray) -> np.ndarray:
    """The sides, with -1 for augmented rows outside of train: a model is judged on what people wrote."""
    out = np.array([parent is not None for parent in parents], bool) & (side != 0)
    if out.any():
        logger.warning("%d augmented rows are left out: they fell to a split that judges", int(out.sum()))
    return np.where(out, -1, side)


def _require_all(counts: Mapping[str, int], data: Dataset) -> None:
    empty = [name for name, count in counts.items() if not count]
    if empty:
        raise DataError(
            f"{data.path}: nothing would be left for {empty[0]}: the rows hang together too much, or are too few.",
            hint="choose other ratios; look at what --group and near duplicates hold together.",
        )


def _split_retrieval(data: RetrievalData, config: SplitConfig) -> RetrievalData:
    """Judged queries, divided: those that are near duplicates or share a relevant document stay together."""
    if config.time or config.group or config.shots:
        raise DataError(f"{data.path}: a BEIR folder is split by ratios alone.", hint="use --ratios.")
    qrels = pa.concat_tables(list(data.qrels.values()))
    text_of = dict(zip(data.queries["id"].to_pylist(), data.queries["text"].to_pylist(), strict=True))
    rows = data.corpus.select(["id", "title", "text"]).to_pylist()
    body_of = {row["id"]: normalised(document_text(row["title"], row["text"])) for row in rows}
    queries = list(dict.fromkeys(qrels["query_id"].to_pylist()))
    number_of = {query: number for number, query in enumerate(queries)}
    _, _, near = duplicate_groups([text_of[query] for query in queries], config.threshold)
    links = [(number, int(first)) for number, first in enumerate(near)]
    first_with: dict[str, int] = {}
    judgments = zip(*(qrels[name].to_pylist() for name in ("query_id", "corpus_id", "grade")), strict=True)
    for query, document, grade in judgments:
        if grade > 0:
            links.append((number_of[query], first_with.setdefault(body_of[document], number_of[query])))
    component = groups(len(queries), links)
    side = assign_sides(component, [normalised(text_of[query]) for query in queries], None, None, config)
    made_of = dict(
        zip(data.queries["id"].to_pylist(), map(parent_of, data.queries["metadata"].to_pylist()), strict=True)
    )
    side = _without_made_rows([made_of[query] for query in queries], side)
    of_row = side[[number_of[query] for query in qrels["query_id"].to_pylist()]]
    divided = {name: qrels.filter(pa.array(of_row == number)) for number, name in enumerate(config.ratios)}
    done = replace(data, qrels=divided, pairs={})
    _require_all({name: table.num_rows for name, table in divided.items()}, Dataset(data.path, "retrieval", {}))
    return done
