"""What training and the command line ask of a task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from embedft.config import DataConfig, RunConfig
from embedft.data import Leak, UnknownIds
from embedft.data.clean import CleanConfig, clean
from embedft.data.dataset import Dataset, read_dataset
from embedft.data.roles import Kind, named_columns, way_out
from embedft.data.scores import stated_scale
from embedft.data.split import SplitConfig, split
from embedft.encoder import Encoder
from embedft.errors import ConfigError, DataError
from embedft.evaluation import Evaluation
from embedft.evaluation.analysis import analyse
from embedft.evaluation.forgetting import forgetting
from embedft.evaluation.geometry import Method, geometry_of
from embedft.evaluation.ladder import NO_LADDER, ladder_of
from embedft.evaluation.stress import StressTable

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
        """The data set at ``config.path``; raises ConfigError and DataError."""
        ...

    def check_metrics(self, names: Sequence[str]) -> None:
        """Raise ConfigError if one of the names is not a metric of this task."""
        ...

    def leakage(self, data: Any) -> list[Leak]:
        """What the training split shares with the others."""
        ...

    def prepare(self, data: Any, config: DataConfig, seed: int) -> Prepared:
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

    def options(self, encoder: Encoder, data: Any, *, show_progress: bool) -> dict[str, Any]:
        """What `evaluate`, `errors` and `stress` take besides: ``head``, if the task has one; raises DataError."""
        ...

    def errors(self, evaluation: Any, against: Any, data: Any, **options: Any) -> dict[str, Any]:
        """Where the score comes from (`embedft.evaluation.errors`); ``against`` may be None. Raises DataError."""
        ...

    def stress(
        self, encoder: Encoder, data: Any, evaluation: Any, metric: str, *, show_progress: bool, **options: Any
    ) -> StressTable:
        """How the score stands up to stress (`embedft.evaluation.stress`); raises DataError."""
        ...


@dataclass(frozen=True)
class Prepared:
    """Data that is ready to be trained on.

    Attributes:
        data: with a dev split.
        leakage: what its training rows share with the splits that it came with; of those that are left, if some were
            dropped.
        dropped: how many training rows were left out because they stand in another split too.
    """

    data: Any
    leakage: list[Leak]
    dropped: int = 0


@dataclass(frozen=True)
class Looked:
    """What is looked into behind the scores of a model, and of another one.

    Attributes:
        task, data: what was judged, and for what.
        metric: that decides.
        encoders: the model's, and the other's, if there is one.
        evaluations: of each, with their vectors if they were kept.
        options: of each, what `Task.options` says.
        show_progress: on standard error.
    """

    task: Task
    data: Any
    metric: str
    encoders: tuple[Encoder, Encoder | None]
    evaluations: tuple[Evaluation, Evaluation | None]
    options: tuple[dict[str, Any], dict[str, Any]]
    show_progress: bool = False

    def analysis(
        self,
        *,
        errors: bool = True,
        method: Method = "pca",
        guard: Path | Literal["bundled"] | None = None,
        unknown_ids: UnknownIds = "error",
        ladder: bool = False,
        stress: bool = False,
        trained_dims: Collection[int] | None = None,
    ) -> dict[str, Any]:
        """What ``analysis.json`` holds (`embedft.evaluation.analysis`); a fault of the data costs its part alone.

        Args:
            errors: also the errors, and of vectors that were kept the geometry.
            method: of the geometry's map, pca or umap.
            guard: what the other model may have known that this one has forgotten; None: not looked at.
            unknown_ids: of the guard: what to do with qrels that name ids which do not exist.
            ladder: dimensions and storages.
            stress: typos, wording, noise.
            trained_dims: dimensions that the model was trained for, where they are known.
        """
        parts: dict[str, Callable[[], dict[str, Any] | None]] = {}
        evaluation, against = self.evaluations
        if errors:
            parts["errors"] = lambda: self.task.errors(evaluation, against, self.data, **self.options[0])
            if evaluation.vectors is not None:
                parts["geometry"] = lambda: self._geometry(method)
        if ladder:
            parts["ladder"] = lambda: self._ladder(trained_dims)
        if guard is not None:
            parts["guard"] = lambda: self._guard(None if guard == "bundled" else Path(guard), unknown_ids)
        if stress:
            parts["stress"] = self._stress
        return analyse(parts)

    def _geometry(self, method: Method) -> dict[str, Any]:
        evaluation, against = self.evaluations
        other = against if against is not None and against.vectors is not None else None
        return geometry_of(evaluation, other, self.data, evaluation.split, method=method)

    def _ladder(self, trained_dims: Collection[int] | None) -> dict[str, Any]:
        evaluation, _ = self.evaluations
        found = ladder_of(evaluation, self.data, evaluation.split, metric=self.metric, trained_dims=trained_dims)
        if found is None:
            raise DataError(NO_LADDER)
        return found

    def _guard(self, path: Path | None, unknown_ids: UnknownIds) -> dict[str, Any] | None:
        after, before = self.encoders
        if before is None:
            return None
        return forgetting(before, after, path, unknown_ids=unknown_ids, show_progress=self.show_progress)

    def _stress(self) -> dict[str, Any]:
        tables = [
            self.task.stress(encoder, self.data, evaluation, self.metric, show_progress=self.show_progress, **options)
            for encoder, evaluation, options in zip(self.encoders, self.evaluations, self.options, strict=True)
            if encoder is not None and evaluation is not None
        ]
        return (tables[0].beside(tables[1]) if len(tables) > 1 else tables[0]).as_dict()


def read_kind(config: DataConfig, kind: Kind, *, task: str, columns: str) -> Dataset:
    """The rows of a task, read as its settings say.

    Args:
        config: of the data.
        kind: of rows that the task is trained on.
        task: its name, for errors.
        columns: of such rows, for errors.

    Raises:
        ConfigError: a scale is stated for rows without scores.
        DataError: as `read_dataset`, or the rows are of another kind.
    """
    if kind != "scored pairs":
        refuse_scale(config)
    data = read_dataset(
        config.path,
        columns=named_columns(config.columns),
        scale=stated_scale(*config.scale, "data.scale") if config.scale else None,
        max_bad=config.max_bad,
    )
    if data.kind != kind:
        raise DataError(
            f"{config.path}: holds {data.kind}; {task} is trained on {kind}.", hint=way_out(data.kind, columns)
        )
    return data


def refuse_scale(config: DataConfig) -> None:
    """Raise ConfigError if a scale is stated, for a task whose data has no scores."""
    if config.scale:
        raise ConfigError("data.scale is stated, and only scored pairs have scores.", hint="leave it out.")


def require_split(task: Task, data: Any, split: str) -> None:
    """Raise DataError if the data has no such split."""
    there = task.splits(data)
    if split not in there:
        raise DataError(
            f"{data.path}: has no split {split!r}; it has {', '.join(there) or 'none'}.",
            hint="name one of them, or add the missing file.",
        )


def without_leaks(
    data: Any, config: DataConfig, find: Callable[[Any], list[Leak]], drop: Callable[[Any], tuple[Any, int]]
) -> Prepared:
    """The data without the training rows that leak, if they are to be dropped, and what leakage it then has.

    Args:
        data: of a task.
        config: says what is to happen to training rows that are judged elsewhere.
        find: the leakage of the data.
        drop: the data without the rows that leak, and how many these were.

    Raises:
        DataError: it leaks, and ``config.leakage`` is "fail".
    """
    dropped = 0
    if config.leakage == "drop":
        data, dropped = drop(data)
    if dropped:
        logger.warning("leakage: %d training rows stand in another split too and were left out", dropped)
    leakage = find(data)
    severe = [leak for leak in leakage if leak.severe]
    if severe and config.leakage == "fail":
        found = ", ".join(f"{leak.count} x {leak.kind} in {leak.split}" for leak in severe)
        raise DataError(f"{data.path}: the training split leaks: {found}.", hint="use data.leakage: drop.")
    return Prepared(data, leakage, dropped)


def require_train(data: Dataset) -> None:
    """Raise DataError if rows have no split train."""
    if "train" not in data.splits:
        raise DataError(f"{data.path}: has no split train, only {', '.join(data.splits)}.", hint="add train.jsonl.")


def with_dev(data: Dataset, config: DataConfig, seed: int, find: Callable[[Dataset], list[Leak]]) -> Prepared:
    """Rows with a dev split, and without the training rows that leak if they are to be dropped.

    Args:
        data: with a split train.
        config: what is dropped, and how much of train becomes dev where there is none.
        seed: of what becomes dev.
        find: the leakage of the data.

    Raises:
        DataError: no dev split can be made, all of train was dropped, or rows leak and ``config.leakage`` is "fail".
    """
    found = without_leaks(data, config, find, _drop)
    data = found.data
    if found.dropped and not data.splits["train"].num_rows:
        raise DataError(
            f"{data.path}: all {found.dropped} training rows stand in another split too, and data.leakage is drop.",
            hint="add training rows of their own, or use data.leakage: report.",
        )
    if "dev" not in data.splits:
        ratios = {"train": 1 - config.dev_share, "dev": config.dev_share}
        divided = split(replace(data, splits={"train": data.splits["train"]}), SplitConfig(ratios, seed=seed))
        data = replace(data, splits={**data.splits, **divided.splits})
    return replace(found, data=data)


def _drop(data: Dataset) -> tuple[Dataset, int]:
    kept, changes = clean(data, CleanConfig(steps=(), duplicates="keep", leakage="drop"))
    return kept, len(changes.dropped)
