"""What a run works on, once its settings have been checked and its data and model opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embedft.config import RunConfig
from embedft.data import Leak
from embedft.encoder import Encoder
from embedft.errors import ConfigError
from embedft.tasks import Task, require_split
from embedft.training.rundir import RunDirectory
from embedft.training.sets import FROZEN, TrainingSet


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        config: its settings.
        task, data: what it is trained for, and on, with a dev split.
        sets: the task's own training rows first, then those of ``data.also``.
        base: the encoder that it starts from.
        directory: where it is written.
        metric: chooses the best step on dev.
        metrics: computed at the end, ``metric`` first.
        split: judged at the end.
        leakage: what the training rows share with other splits.
        dropped: how many training rows were left out because another split has them too.
        show_progress: on standard error.
    """

    config: RunConfig
    task: Task
    data: Any
    sets: list[TrainingSet]
    base: Encoder
    directory: RunDirectory
    metric: str
    metrics: list[str]
    split: str
    leakage: list[Leak]
    dropped: int
    show_progress: bool

    @property
    def loss(self) -> str:
        """Of the task's own rows."""
        return self.sets[0].loss

    @property
    def trains_encoder(self) -> bool:
        """Whether the encoder is trained, not its head alone."""
        return self.loss != FROZEN


def open_base(config: RunConfig) -> Encoder:
    """The encoder that ``config.model`` describes."""
    model = config.model
    return Encoder.load(
        model.name,
        prompts=model.prompts,
        max_length=model.max_length,
        truncate_dim=model.truncate_dim,
        precision=model.precision,
        device=model.device,
    )


def judged_split(config: RunConfig, task: Task, data: Any) -> str:
    """The split that proves the run: the one named, else test if there is one, else dev; raises DataError."""
    split = config.evaluation.split or ("test" if "test" in task.splits(data) else "dev")
    require_split(task, data, split)
    if split == "train":
        raise ConfigError("evaluation.split is 'train'.", hint="judge on a split that was not trained on: dev or test.")
    return split
