"""Classification: which label, or labels, a text has."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from embedft.config import DataConfig, RunConfig
from embedft.data import Leak
from embedft.data.dataset import Dataset
from embedft.data.leakage import between
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.evaluation import ClassificationEvaluation, check_class_metrics, evaluate_classification
from embedft.evaluation.analysis import installed_thesaurus
from embedft.evaluation.classification import DEFAULT_STATISTICS
from embedft.evaluation.errors import classification_errors
from embedft.evaluation.stress import StressTable, stress_classification
from embedft.evaluation.tally import LOWER_IS_BETTER
from embedft.heads.fit import lone_classes
from embedft.heads.frozen import classes_of, labels_of, logistic_head, training_rows
from embedft.heads.head import Head
from embedft.heads.storage import head_beside
from embedft.tasks.task import Prepared, read_kind, require_train, with_dev

logger = logging.getLogger("embedft")

SHOWN = 5


class Classification:
    """A head on the vectors of texts, chosen by accuracy."""

    name = "classification"
    losses = ("frozen", "cross_entropy", "supcon", "paired")
    metric = "accuracy"
    metrics = DEFAULT_STATISTICS

    lower_is_better = LOWER_IS_BETTER
    headed = True

    def default_loss(self, config: RunConfig) -> str:
        """``frozen`` for a logistic head, ``cross_entropy`` for one that is trained with the encoder."""
        return "frozen" if config.head.kind == "logistic" else "cross_entropy"

    def read(self, config: DataConfig) -> Dataset:
        """Labelled texts; raises ConfigError and DataError."""
        return read_kind(config, "labelled texts", task=self.name, columns="text and label")

    def check_metrics(self, names: Sequence[str]) -> None:
        """Raise ConfigError if one of the names is no metric of classification."""
        check_class_metrics(names)

    def leakage(self, data: Dataset) -> list[Leak]:
        """Texts of train that stand, exactly or nearly, in other splits."""
        return between(data, data)

    def prepare(self, data: Dataset, config: DataConfig, seed: int) -> Prepared:
        """The data with a dev split, and without the training rows that leak if they are to be dropped.

        Labels that stand in other splits alone, and those that are left with one text in train, are told in the log.

        Raises:
            DataError: there is no training split or no dev split can be made; train has one class, or a class with one
                text; or it leaks and ``config.leakage`` is "fail".
        """
        require_train(data)
        require_classes(data)
        found = with_dev(data, config, seed, self.leakage)
        _require_several_classes(found.data)
        _report_lone(found.data)
        report_unknown(found.data)
        return found

    def splits(self, data: Dataset) -> Sequence[str]:
        """All there are."""
        return list(data.splits)

    def size(self, data: Dataset, split: str) -> str:
        """Texts and classes."""
        classes = {name for row in labels_of(data, split) for name in row}
        return f"{data.splits[split].num_rows} texts of {len(classes)} classes"

    def training_rows(self, data: Dataset) -> pa.Table:
        """Columns text and label: the number of the class, or 0 and 1 for each class where a text may have several."""
        return training_rows(data)

    def dev_view(self, data: Dataset, documents: int, seed: int) -> Dataset:  # noqa: ARG002 - what other tasks take
        """The splits train, which a head is fitted on, and dev."""
        return replace(data, splits={"train": data.splits["train"], "dev": data.splits["dev"]})

    def evaluate(
        self,
        encoder: Encoder,
        data: Dataset,
        split: str,
        metrics: Sequence[str],
        *,
        show_progress: bool,
        keep_vectors: bool = False,
        head: Head | None = None,
    ) -> ClassificationEvaluation:
        """What a head says of a split.

        Splits without a single label that the head knows are texts out of scope: they are judged beside ``split``.

        Args:
            encoder: of the texts.
            data: labelled texts.
            split: to be judged.
            metrics: names in `embedft.evaluation.tally.STATISTICS`.
            show_progress: on standard error.
            keep_vectors: of the texts, with the evaluation.
            head: on the encoder's vectors; by default the one that stands beside the encoder (``RUN/head``), else a
                logistic one, fitted on train.

        Raises:
            WrongModelError: the head was fitted on another encoder.
            ArtifactError: the head beside the encoder is damaged.
            DataError: there is no head and no train to fit one on, or no label that the head knows.
        """
        chosen = head or self.head_for(encoder, data, show_progress=show_progress)
        chosen.check_encoder(encoder)
        unknown = [
            table.select(["text", "labels"])
            for name, table in data.splits.items()
            if name not in (split, "train", "dev")
            and not {label for row in table["labels"].to_pylist() for label in row} & set(chosen.classes)
        ]
        return evaluate_classification(
            encoder,
            chosen,
            data.splits[split],
            data=str(data.path),
            split=split,
            metrics=metrics,
            out_of_scope=pa.concat_tables(unknown, promote_options="default") if unknown else None,
            show_progress=show_progress,
            keep_vectors=keep_vectors,
        )

    def options(self, encoder: Encoder, data: Dataset, *, show_progress: bool) -> dict[str, Any]:
        """The head, of `head_for`."""
        return {"head": self.head_for(encoder, data, show_progress=show_progress)}

    def errors(
        self,
        evaluation: ClassificationEvaluation,
        against: ClassificationEvaluation | None,
        data: Dataset,  # noqa: ARG002 - what other tasks take
        *,
        head: Head | None = None,
    ) -> dict[str, Any]:
        """What is taken for what, likely label errors, and the nearest of the texts that the head was fitted on."""
        known = head.examples if head is not None else None
        return classification_errors(
            evaluation,
            against,
            train_texts=known.texts if known else None,
            train_labels=known.labels if known else None,
            vectors=evaluation.vectors.documents if evaluation.vectors is not None else None,
            train_vectors=known.vectors if known else None,
        )

    def stress(
        self,
        encoder: Encoder,
        data: Dataset,
        evaluation: ClassificationEvaluation,
        metric: str,
        *,
        show_progress: bool,
        head: Head | None = None,
    ) -> StressTable:
        """What stress on the texts takes from a metric."""
        return stress_classification(
            encoder,
            head or self.head_for(encoder, data, show_progress=show_progress),
            data.splits[evaluation.split],
            data=str(data.path),
            split=evaluation.split,
            metric=metric,
            thesaurus=installed_thesaurus(),
            show_progress=show_progress,
        )

    def head_for(self, encoder: Encoder, data: Dataset, *, show_progress: bool = False) -> Head:
        """The head beside the encoder, else a logistic one, fitted on train.

        Raises:
            ArtifactError: the head beside the encoder is damaged.
            DataError: there is none, and no split train.
        """
        beside = head_beside(encoder.name)
        if beside is not None:
            return Head.load(beside)
        if "train" not in data.splits:
            raise DataError(
                f"{encoder.name}: has no head, and {data.path} no split train to fit one on.",
                hint="name the model of a classification run, or add train.jsonl.",
            )
        require_classes(data)
        logger.info("%s has no head: a logistic one is fitted on train", encoder.name)
        return logistic_head(encoder, data, show_progress=show_progress)


def require_classes(data: Dataset) -> None:
    """Raise DataError if train has one class, a class with one text, or a text without a label in a set of one each."""
    _require_several_classes(data)
    lone = lone_classes(labels_of(data, "train"))
    if lone:
        raise DataError(
            f"{data.path}: {len(lone)} classes of train have one text each: {_shown(lone)}; expected two at least.",
            hint="add texts of these classes, or leave the classes out.",
        )


def _require_several_classes(data: Dataset) -> None:
    classes = classes_of(data)
    several = any(len(row) != 1 for row in labels_of(data, "train"))
    if len(classes) < (1 if several else 2):
        raise DataError(
            f"{data.path}: all {data.splits['train'].num_rows} texts of train have one label, "
            f"{', '.join(map(repr, classes)) or 'none'}.",
            hint="add texts of another class.",
        )


def _report_lone(data: Dataset) -> None:
    """Say in the log which classes have one text in train, now that dev and what leaked are out of it."""
    lone = lone_classes(labels_of(data, "train"))
    if lone:
        logger.warning(
            "%d classes are left with one text in train, the others are in dev or were left out: %s",
            len(lone), _shown(lone),
        )  # fmt: skip


def report_unknown(data: Dataset) -> None:
    """Say in the log which labels stand in other splits alone."""
    known = set(classes_of(data))
    for name in data.splits:
        labels = labels_of(data, name)
        unknown = sorted({label for row in labels for label in row} - known)
        if unknown:
            rows = sum(not known & set(row) for row in labels)
            logger.warning(
                "split %s has %d labels that are not in train (%s): its %d texts without another are out of scope",
                name, len(unknown), _shown(unknown), rows,
            )  # fmt: skip


def _shown(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (", ..." if len(names) > SHOWN else "")


TASK = Classification()
