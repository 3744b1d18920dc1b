"""The sets of rows that a run is trained on: the task's own, and those of ``data.also``, each with its loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from embedft.config import MixedSet, RunConfig
from embedft.data import Leak, RetrievalData, find_leakage
from embedft.data.dataset import Dataset, read_dataset
from embedft.data.leakage import between
from embedft.data.roles import named_columns
from embedft.errors import ConfigError, DataError
from embedft.tasks import Task
from embedft.training.losses import needs
from embedft.training.losses.registry import LOSSES, check_loss, is_guided, rows_for

OWN = "own"
# In place of a loss: the encoder is not trained, only the head on it.
FROZEN = "frozen"
# What a further set is trained with if its loss is not named, by the kind of its rows.
DEFAULT_LOSSES = {"pairs": "mnrl", "retrieval": "mnrl", "scored pairs": "cosent"}
COLUMNS = {"pairs": ["anchor", "positive", "negatives"], "scored pairs": ["sentence1", "sentence2", "score"]}


@dataclass(frozen=True)
class TrainingSet:
    """Rows of one kind and the loss that they are trained with.

    Attributes:
        name: ``"own"`` for the task's own, else ``also-1``, ``also-2``, ... in the order of the configuration.
        rows: with the columns that the loss needs.
        loss, options: a name in `LOSSES` and its options.
        files: file name -> SHA-256 of a further set; empty for the task's own, which its data lists.
        leakage: what a further set shares with the splits that judge; empty for the task's own, which it looks for.
    """

    name: str
    rows: pa.Table
    loss: str
    options: Mapping[str, Any]
    files: Mapping[str, str]
    leakage: tuple[Leak, ...] = ()


def further_sets(config: RunConfig, judged: Any, dim: int | None = None) -> list[TrainingSet]:
    """The sets of ``data.also``, read and checked against the splits of the task's data that judge.

    Args:
        config: of the run.
        judged: the task's data.
        dim: of the encoder's vectors, once it is known.

    Raises:
        ConfigError: a loss does not exist, or does not fit the rows.
        DataError: a set is missing, broken, or of a kind that no loss takes; or it leaks, and ``data.leakage`` is not
            "report".
    """
    return [_read(entry, number, config, judged, dim) for number, entry in enumerate(config.data.also, start=1)]


def own_set(config: RunConfig, task: Task, data: Any) -> TrainingSet:
    """The task's own training rows with the loss of the configuration.

    Raises:
        DataError: the rows lack what the loss needs.
    """
    loss = loss_name(config, task)
    rows = task.training_rows(data)
    # Mined negatives come later: they take long, and need the encoder.
    if loss != FROZEN and config.training.hard_negatives is None:
        rows = rows_for(loss, rows, options=config.training.loss_options, source=str(data.path))
    return TrainingSet(OWN, rows, loss, config.training.loss_options, {})


def loss_name(config: RunConfig, task: Task) -> str:
    """The loss of the configuration, else the task's own."""
    return config.training.loss or task.default_loss(config)


def _read(entry: MixedSet, number: int, config: RunConfig, judged: Any, dim: int | None) -> TrainingSet:
    name = f"also-{number}"
    data = read_dataset(
        entry.path,
        columns=named_columns(entry.columns),
        max_bad=config.data.max_bad,
        unknown_ids=config.data.unknown_ids,
    )
    if data.kind not in DEFAULT_LOSSES:
        raise DataError(
            f"data.also: {entry.path} holds {data.kind}.", hint="name pairs, scored pairs or a BEIR folder."
        )
    loss = entry.loss or DEFAULT_LOSSES[data.kind]
    wanted = set(COLUMNS["scored pairs" if data.kind == "scored pairs" else "pairs"])
    fitting = tuple(key for key, value in LOSSES.items() if set(needs.COLUMNS[value.needs]) == wanted)
    if loss not in fitting:
        raise ConfigError(
            f"data.also: {entry.path} holds {data.kind}, which the loss {loss!r} does not take.",
            hint=f"use {', '.join(fitting)}.",
        )
    check_loss(
        loss,
        entry.loss_options,
        fitting,
        matryoshka=config.training.matryoshka,
        guide=config.training.guide if is_guided(loss) else None,
        dim=dim,
        field=f"data.also[{number - 1}]",
    )
    rows = rows_for(loss, _rows(data, entry.path), options=entry.loss_options, source=str(entry.path))
    leakage = _leaks(data, judged, name)
    if config.data.leakage != "report" and any(leak.severe for leak in leakage):
        found = ", ".join(f"{leak.count} x {leak.kind} in {leak.split}" for leak in leakage if leak.severe)
        raise DataError(
            f"data.also: {entry.path} leaks: {found}.",
            hint=f"'embedft data check {entry.path} --against {config.data.path}' names the rows; take them out.",
        )
    return TrainingSet(name, rows, loss, entry.loss_options, data.files, leakage)


def _leaks(data: Dataset, judged: Any, name: str) -> tuple[Leak, ...]:
    """What a further set shares with the splits of the task's data that judge, each kind marked with its name."""
    found: list[Leak] = []
    if isinstance(judged, RetrievalData):
        judged = replace(judged, qrels={key: table for key, table in judged.qrels.items() if key != "train"})
        if data.retrieval is not None:
            found += find_leakage(data.retrieval, other=judged)
        judged = Dataset(judged.path, "retrieval", {}, judged)
    else:
        judged = replace(judged, splits={key: table for key, table in judged.splits.items() if key != "train"})
    found += between(data, judged)
    return tuple(replace(leak, kind=f"{leak.kind}, {name}") for leak in found)


def _rows(data: Any, path: Path) -> pa.Table:
    if data.retrieval is not None:
        return data.retrieval.training_pairs("train")
    if "train" not in data.splits:
        raise DataError(f"data.also: {path} has no split train, only {', '.join(data.splits)}.", hint="name the file.")
    return data.splits["train"].select(COLUMNS[data.kind])
