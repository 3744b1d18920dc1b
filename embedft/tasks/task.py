"""What training and the command line ask of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa

from embedft.config import DataConfig
from embedft.data import Leak, RetrievalData
from embedft.encoder import Encoder
from embedft.evaluation import Evaluation


class Task(Protocol):
    """A task names its data, its losses and its metrics."""

    name: str
    losses: Sequence[str]
    metric: str
    metrics: Sequence[str]

    def read(self, config: DataConfig) -> RetrievalData:
        """The data set at ``config.path``; raises DataError."""
        ...

    def check_metrics(self, names: Sequence[str]) -> None:
        """Raise ConfigError if one of the names is not a metric of this task."""
        ...

    def leakage(self, data: RetrievalData) -> list[Leak]:
        """What the training split shares with the others."""
        ...

    def prepare(self, data: RetrievalData, config: DataConfig, seed: int) -> RetrievalData:
        """The data with a dev split, and with leaking rows dropped if so configured; raises DataError."""
        ...

    def training_pairs(self, data: RetrievalData) -> pa.Table:
        """Columns anchor, positive, negatives."""
        ...

    def dev_view(self, data: RetrievalData, documents: int, seed: int) -> RetrievalData:
        """The data to choose the best step on: split ``dev``, cheap enough to be scored often."""
        ...

    def evaluate(
        self, encoder: Encoder, data: RetrievalData, split: str, metrics: Sequence[str], *, show_progress: bool
    ) -> Evaluation:
        """The scores of an encoder on a split."""
        ...
