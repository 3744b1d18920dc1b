"""Similarity: the cosine of two texts follows the score that people gave the pair."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from embedft.config import DataConfig, RunConfig
from embedft.data import Leak
from embedft.data.dataset import Dataset
from embedft.data.leakage import between
from embedft.encoder import Encoder
from embedft.evaluation import SimilarityEvaluation, check_statistics, evaluate_similarity
from embedft.evaluation.analysis import installed_thesaurus
from embedft.evaluation.errors import similarity_errors
from embedft.evaluation.stress import StressTable, stress_similarity
from embedft.tasks.task import Prepared, read_kind, require_train, with_dev


class Similarity:
    """Trained on scored pairs, chosen by Spearman's correlation of cosines and scores."""

    name = "similarity"
    losses = ("cosent", "angle", "cosine", "contrastive", "online_contrastive")
    metric = "spearman"
    metrics = ("spearman", "pearson")

    lower_is_better: Collection[str] = ()
    headed = False

    def default_loss(self, _config: RunConfig) -> str:
        """The first of ``losses``."""
        return self.losses[0]

    def read(self, config: DataConfig) -> Dataset:
        """Scored pairs, on 0..1; raises DataError."""
        return read_kind(config, "scored pairs", task=self.name, columns="sentence1, sentence2 and score")

    def check_metrics(self, names: Sequence[str]) -> None:
        """Raise ConfigError if one of the names is no correlation."""
        check_statistics(names)

    def leakage(self, data: Dataset) -> list[Leak]:
        """Pairs of train that stand, exactly, swapped or nearly, in other splits."""
        return between(data, data)

    def prepare(self, data: Dataset, config: DataConfig, seed: int) -> Prepared:
        """The data with a dev split, and without the training rows that leak if they are to be dropped.

        Raises:
            DataError: there is no training split or no dev split can be made, or it leaks and ``config.leakage`` is
                "fail".
        """
        require_train(data)
        return with_dev(data, config, seed, self.leakage)

    def splits(self, data: Dataset) -> Sequence[str]:
        """All there are."""
        return list(data.splits)

    def size(self, data: Dataset, split: str) -> str:
        """Pairs."""
        return f"{data.splits[split].num_rows} pairs"

    def training_rows(self, data: Dataset) -> pa.Table:
        """Columns sentence1, sentence2, score (0..1)."""
        return data.splits["train"].select(["sentence1", "sentence2", "score"])

    def dev_view(self, data: Dataset, documents: int, seed: int) -> Dataset:  # noqa: ARG002 - what other tasks take
        """The split dev; pairs are scored in a moment, so none is left out."""
        return replace(data, splits={"dev": data.splits["dev"]})

    def evaluate(
        self,
        encoder: Encoder,
        data: Dataset,
        split: str,
        metrics: Sequence[str],
        *,
        show_progress: bool,
        keep_vectors: bool = False,
    ) -> SimilarityEvaluation:
        """The correlations of an encoder on a split."""
        return evaluate_similarity(
            encoder,
            data.splits[split],
            data=str(data.path),
            split=split,
            metrics=metrics,
            show_progress=show_progress,
            keep_vectors=keep_vectors,
        )

    def options(self, encoder: Encoder, data: Dataset, *, show_progress: bool) -> dict[str, Any]:  # noqa: ARG002
        """Nothing."""
        return {}

    def errors(
        self,
        evaluation: SimilarityEvaluation,
        against: SimilarityEvaluation | None,
        data: Dataset,  # noqa: ARG002 - what other tasks take
    ) -> dict[str, Any]:
        """The worst pairs, slices, and what biases the cosines."""
        return similarity_errors(evaluation, against)

    def stress(
        self, encoder: Encoder, data: Dataset, evaluation: SimilarityEvaluation, metric: str, *, show_progress: bool
    ) -> StressTable:
        """What stress on the second text of a pair takes from a correlation."""
        return stress_similarity(
            encoder,
            data.splits[evaluation.split],
            data=str(data.path),
            split=evaluation.split,
            metric=metric,
            thesaurus=installed_thesaurus(),
            show_progress=show_progress,
        )


TASK = Similarity()
