"""What training and the command line ask of a task."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa

from embedft.config import DataConfig, RunConfig
from embedft.data import Leak
from embedft.data.clean import CleanConfig, clean
from embedft.data.dataset import Dataset
from embedft.data.split import SplitConfig, split
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.evaluation import Evaluation

logger = logging.getLogger("embedft")


class Task(Protocol):
    """A task names its data, its losses and its metrics."""

    name: str
    losses: Sequence[str]
    metric: str
    metrics: Sequence[str]
    lower_is_better: Collection[str]  # those of the metrics of which less is better
    headed: bool  # whether it has a head on the vectors; `evaluate` then takes one as ``head``

    def default_loss(self, config: RunConfig) -> str:
        """The loss of a run that names none, one of ``losses``; ``frozen`` trains the head alone."""
        ...

    def read(self, config: DataConfig) -> Any:
        """The data set at ``config.path``; raises DataError."""
        ...

    def check_metrics(self, names: Sequence[str]) -> None:
        """Raise ConfigError if one of the names is not a metric of this task."""
        ...

    def leakage(self, data: Any) -> list[Leak]:
        """What the training split shares with the others."""
        ...

    def prepare(self, data: Any, config: DataConfig, seed: int) -> Any:
        """The data with a dev split, and with leaking rows dropped if so configured; raises DataError."""
        ...

    def splits(self, data: Any) -> Sequence[str]:
        """The splits that can be judged."""
        ...

    def training_rows(self, data: Any) -> pa.Table:
        """The rows of train, with the columns that the task's losses need."""
        ...

    def dev_view(self, data: Any, documents: int, seed: int) -> Any:
        """The data to choose the best step on: split ``dev``, cheap enough to be scored often."""
        ...

    def size(self, data: Any, split: str) -> str:
        """How much is judged on a split, in words."""
        ...

    def evaluate(
        self,
        encoder: Encoder,
        data: Any,
        split: str,
        metrics: Sequence[str],
        *,
        show_progress: bool,
        keep_vectors: bool = False,
        **options: Any,
    ) -> Evaluation:
        """The scores of an encoder on a split."""
        ...


def require_split(task: Task, data: Any, split: str) -> None:
    """Raise DataError if the data has no such split."""
    there = task.splits(data)
    if split not in there:
        raise DataError(
            f"{data.path}: has no split {split!r}; it has {', '.join(there) or 'none'}.",
            hint="name one of them, or add the missing file.",
        )


def refuse_leakage(data: Any, leaks: Sequence[Leak], config: DataConfig) -> None:
    """Raise DataError if training rows are judged elsewhere and ``config.leakage`` is "fail"."""
    severe = [leak for leak in leaks if leak.severe]
    if severe and config.leakage == "fail":
        found = ", ".join(f"{leak.count} x {leak.kind} in {leak.split}" for leak in severe)
        raise DataError(f"{data.path}: the training split leaks: {found}.", hint="use data.leakage: drop.")


def require_train(data: Dataset) -> None:
    """Raise DataError if rows have no split train."""
    if "train" not in data.splits:
        raise DataError(f"{data.path}: has no split train, only {', '.join(data.splits)}.", hint="add train.jsonl.")


def with_dev(data: Dataset, leaks: Sequence[Leak], config: DataConfig, seed: int) -> Dataset:
    """Rows with a dev split, and without the training rows that leak if they are to be dropped.

    Raises:
        DataError: no dev split can be made, or rows leak and ``config.leakage`` is "fail".
    """
    refuse_leakage(data, leaks, config)
    if config.leakage == "drop":
        data, changes = clean(data, CleanConfig(steps=(), duplicates="keep", leakage="drop"))
        logger.warning("leakage: %d training rows were left out", len(changes.dropped))
    if "dev" not in data.splits:
        ratios = {"train": 1 - config.dev_share, "dev": config.dev_share}
        divided = split(replace(data, splits={"train": data.splits["train"]}), SplitConfig(ratios, seed=seed))
        data = replace(data, splits={**data.splits, **divided.splits})
    return data
