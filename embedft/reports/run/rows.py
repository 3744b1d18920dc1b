"""What was scored one by one, as the columns that the page's script shows and its figures are drawn from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.reports.html import cleaned, shortened
from embedft.reports.page import json_block
from embedft.reports.run.record import RunRecord

Floats = npt.NDArray[np.float64]
# A page of this many rows stays under 5 MB.
MOST = 10_000
# Bytes that all texts together may take on the page, and characters of one of them at most and at least.
TEXT_BYTES, LONGEST, SHORTEST = 2_400_000, 300, 8
DIGITS = 4


@dataclass(frozen=True)
class View:
    """Numbers of each row, by one metric.

    Attributes:
        name: the metric.
        columns: name -> (rows,) numbers, NaN where there is none.
        gains: (rows,), by how much a row became better; zeros without another model.
        own: the column of what this model has: a metric, a cosine, right or not.
        off: the column of how many ranks it is off; empty where there is none.
        hidden: columns that the table leaves out: figures are drawn from them, and a sign beside the prediction shows
            them in the table.
    """

    name: str
    columns: dict[str, Floats]
    gains: Floats
    own: str
    off: str = ""
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rows:
    """Rows of the table.

    Attributes:
        unit: what a row is, in the plural.
        texts: name of a column -> (rows,) texts, not cut.
        views: the metrics, the main one first.
        total: how many rows there were before the number was limited.
        compared: whether there is another model.
        sides: what the other model and this one are called.
    """

    unit: str
    texts: dict[str, list[str]]
    views: list[View]
    total: int
    compared: bool
    sides: tuple[str, str]

    @property
    def count(self) -> int:
        """How many rows are shown."""
        return len(self.views[0].gains)

    def as_json(self) -> dict[str, Any]:
        """For the script: texts cut to what a page may hold, numbers rounded, outcome 1, 0 or -1 of each row."""
        return {
            "unit": self.unit,
            "compared": self.compared,
            "texts": [{"name": name, "values": values} for name, values in _cut(self.texts).items()],
            "views": [
                {
                    "name": view.name,
                    "columns": [
                        {"name": name, "values": _rounded(values)}
                        for name, values in view.columns.items()
                        if name not in view.hidden
                    ],
                    "outcome": np.sign(view.gains).astype(int).tolist(),
                }
                for view in self.views
            ],
        }


def read_rows(record: RunRecord, *, most: int | None = MOST) -> Rows | None:
    """The rows of a record, those that changed most if there are more than ``most``; None if they were not kept."""
    if record.rows is None or record.rows.num_rows == 0:
        return None
    columns = {name: record.rows[name] for name in record.rows.column_names}
    if "query_id" in columns:
        texts, views = _queries(columns, record)
    elif "sentence1" in columns:
        texts, views = _pairs(columns, record.sides)
    elif "predicted" in columns:
        texts, views = _labelled(columns, record.sides)
    else:
        return None
    if not views:
        return None
    compared = any(name.startswith("against:") for name in columns)
    whole = Rows(record.unit, texts, views, record.rows.num_rows, compared, record.sides)
    return whole if most is None else limited(whole, most)


def _queries(columns: dict[str, Any], record: RunRecord) -> tuple[dict[str, list[str]], list[View]]:
    texts = {"query": _strings(columns["query"])} if "query" in columns else {}
    texts["id"] = _strings(columns["query_id"])
    names = [name for name in record.values if name in columns]
    names.sort(key=lambda name: name != record.metric)
    other, own = record.sides
    views = []
    for name in names:
        after = _floats(columns[name])
        if f"against:{name}" not in columns:
            views.append(View(name, {name: after}, np.zeros(len(after)), own=name))
            continue
        before = _floats(columns[f"against:{name}"])
        gains = np.where(np.isclose(after, before, rtol=0, atol=1e-12), 0.0, after - before)
        views.append(View(name, {other: before, own: after, "difference": gains}, np.nan_to_num(gains), own))
    return texts, views


def _pairs(columns: dict[str, Any], sides: tuple[str, str]) -> tuple[dict[str, list[str]], list[View]]:
    texts = {name: _strings(columns[name]) for name in ("sentence1", "sentence2")}
    gold, after = _floats(columns["score"]), _floats(columns["cosine"])
    off = _ranks(after) - _ranks(gold)
    if "against:cosine" not in columns:
        shown = {"score": gold, "cosine": after, "ranks off": off}
        return texts, [View("rank by cosine", shown, np.zeros(len(gold)), "cosine", "ranks off")]
    before = _floats(columns["against:cosine"])
    off_before = _ranks(before) - _ranks(gold)
    other, own = sides
    shown = {
        "score": gold, f"cosine {other}": before, f"cosine {own}": after,
        f"ranks off {other}": off_before, f"ranks off {own}": off,
    }  # fmt: skip
    gains = np.abs(off_before) - np.abs(off)
    return texts, [View("rank by cosine", shown, gains, f"cosine {own}", f"ranks off {own}")]


def _labelled(columns: dict[str, Any], sides: tuple[str, str]) -> tuple[dict[str, list[str]], list[View]]:
    texts = {"text": _strings(columns["text"]), "label": _listed(columns["label"])}
    after, right = _floats(columns["probability"]), _floats(columns["correct"])
    if "against:correct" not in columns:
        texts["predicted"] = _marked(columns["predicted"], right)
        shown, none = {"right": right, "probability": after}, np.zeros(len(after))
        return texts, [View("right or wrong", shown, none, "right", hidden=frozenset({"right"}))]
    right_before = _floats(columns["against:correct"])
    other, own = sides
    texts[other] = _marked(columns["against:predicted"], right_before)
    texts[own] = _marked(columns["predicted"], right)
    shown = {
        f"right {other}": right_before, f"right {own}": right,
        f"probability {other}": _floats(columns["against:probability"]), f"probability {own}": after,
    }  # fmt: skip
    hidden = frozenset({f"right {other}", f"right {own}"})
    return texts, [View("right or wrong", shown, right - right_before, f"right {own}", hidden=hidden)]


def _marked(labels: Any, right: Floats) -> list[str]:
    """The predicted labels, with a sign that says whether they are right."""
    signs = ["✓" if one > 0 else "✗" for one in right.tolist()]
    return [f"{sign} {label}" for sign, label in zip(signs, _listed(labels), strict=True)]


def limited(rows: Rows, most: int = MOST) -> Rows:
    """The ``most`` rows that changed most, in their order; without another model the first ones."""
    if rows.count <= most:
        return rows
    order = np.argsort(-np.abs(rows.views[0].gains), kind="stable")[:most]
    kept = np.sort(order)
    texts = {name: [values[row] for row in kept.tolist()] for name, values in rows.texts.items()}
    views = [
        replace(view, columns={name: values[kept] for name, values in view.columns.items()}, gains=view.gains[kept])
        for view in rows.views
    ]
    return replace(rows, texts=texts, views=views)


def _cut(texts: dict[str, list[str]]) -> dict[str, list[str]]:
    length = LONGEST
    while True:
        found = {name: [shortened(text, length) for text in values] for name, values in texts.items()}
        # As they are written: signs of markup take six bytes each there.
        size = len(json_block(found).encode("utf-8", "replace"))
        if size <= TEXT_BYTES or length <= SHORTEST:
            return found
        length = max(int(length * min(TEXT_BYTES / size, 0.9)), SHORTEST)


def _rounded(values: Floats) -> list[float | int | None]:
    """Numbers as short as they can be told apart; those that are none are null."""
    rounded = np.round(values, DIGITS if np.nanmax(np.abs(values), initial=0) < 10 else 1)
    return [None if value != value else int(value) if value == int(value) else value for value in rounded.tolist()]


def _ranks(values: Floats) -> Floats:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values), np.float64)


def _floats(column: Any) -> Floats:
    import pyarrow as pa

    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _strings(column: Any) -> list[str]:
    return [cleaned(value) if value is not None else "" for value in column.to_pylist()]


def _listed(column: Any) -> list[str]:
    return [
        cleaned(", ".join(map(str, value)) if isinstance(value, list) else value or "") for value in column.to_pylist()
    ]
