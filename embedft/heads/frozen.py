"""A head on the vectors of an encoder that is not trained with it, from the splits of a data set."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedft.config import HeadConfig
from embedft.data.dataset import Dataset
from embedft.encoder import Encoder
from embedft.heads.fit import Labels, Target, adjusted, fit_centroids, fit_logistic
from embedft.heads.head import Examples, Floats, Head

logger = logging.getLogger("embedft")

# To choose a step in training: enough texts to tell encoders apart, few enough to encode each time.
QUICK_TEXTS = 4000
QUICK_C = 10.0
# Texts of each class that are among them in any case: a class without one could only be told wrongly.
QUICK_OF_CLASS = 2


def labels_of(data: Dataset, split: str) -> Labels:
    """The labels of each text of a split."""
    return [tuple(row) for row in data.splits[split]["labels"].to_pylist()]


def texts_of(data: Dataset, split: str) -> list[str]:
    """The texts of a split."""
    texts: list[str] = data.splits[split]["text"].to_pylist()
    return texts


def several_of(data: Dataset) -> bool:
    """Whether texts of train may have several labels: one has not exactly one."""
    return any(len(row) != 1 for row in labels_of(data, "train"))


def classes_of(data: Dataset) -> tuple[str, ...]:
    """The labels of train, sorted: the classes of every head that is trained on it."""
    return tuple(sorted({name for row in labels_of(data, "train") for name in row}))


def _dev(encoder: Encoder, data: Dataset, *, show_progress: bool = False) -> tuple[Floats, Labels] | None:
    if "dev" not in data.splits:
        return None
    vectors = encoder.encode_documents(texts_of(data, "dev"), show_progress=show_progress)
    return vectors, labels_of(data, "dev")


def logistic_head(
    encoder: Encoder, data: Dataset, config: HeadConfig | None = None, *, seed: int = 0, show_progress: bool = False
) -> Head:
    """The logistic head of an encoder: fitted on train, calibrated on dev, or on folds of train where dev is small.

    Args:
        encoder: of the texts, which are encoded as documents.
        data: labelled texts with a split train.
        config: see `embedft.config.HeadConfig`.
        seed: of the folds.
        show_progress: on standard error.

    Raises:
        DataError: train has one class alone.
    """
    texts = texts_of(data, "train")
    vectors = encoder.encode_documents(texts, show_progress=show_progress)
    head = fit_logistic(
        vectors,
        labels_of(data, "train"),
        config,
        dev=_dev(encoder, data, show_progress=show_progress),
        texts=texts,
        encoder=encoder.fingerprint,
        seed=seed,
    )
    record = head.record
    if show_progress and "ece_before" in record:
        logger.info(
            "logistic head: C %g, calibration error on %s %.3f, %.3f at temperature %.2f",
            record["C"], record["calibrated_on"], record["ece_before"], record["ece_after"], head.temperature,
        )  # fmt: skip
    return head


def centroid_head(
    encoder: Encoder, data: Dataset, config: HeadConfig | None = None, *, vectors: Floats | None = None
) -> Head:
    """The head that says the class with the nearest mean vector of train; calibrated on dev if there is one.

    Args:
        encoder: of the texts.
        data: labelled texts with a split train.
        config: whether to calibrate; the share in scope.
        vectors: of the texts of train, where they are there already.
    """
    if vectors is None:
        vectors = encoder.encode_documents(texts_of(data, "train"))
    labels = labels_of(data, "train")
    head = fit_centroids(vectors, labels, encoder=encoder.fingerprint)
    dev = _dev(encoder, data)
    return adjusted(head, head.logits(dev[0]), dev[1], config or HeadConfig(), on="dev") if dev else head


def quick_head(encoder: Encoder, data: Dataset, *, seed: int = 0) -> Head:
    """A logistic head to choose a step by: of some 4,000 texts, C 10, not calibrated, bound to no encoder."""
    labels = labels_of(data, "train")
    rows = _drawn(labels, seed)
    texts = texts_of(data, "train")
    vectors = encoder.encode_documents([texts[row] for row in rows.tolist()])
    settings = HeadConfig(regularisation=QUICK_C, calibrate=False, in_scope=0.0)
    return fit_logistic(vectors, [labels[row] for row in rows.tolist()], settings, several=several_of(data))


def _drawn(labels: Labels, seed: int) -> npt.NDArray[np.intp]:
    """`QUICK_TEXTS` rows, ascending; more where `QUICK_OF_CLASS` of each class are more."""
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    held: Counter[str] = Counter()
    needed: list[int] = []
    others: list[int] = []
    for row in order:
        lacking = any(held[name] < QUICK_OF_CLASS for name in labels[row])
        (needed if lacking else others).append(row)
        held.update(labels[row])
    return np.sort([*needed, *others[: max(QUICK_TEXTS - len(needed), 0)]])


def examples_of(encoder: Encoder, data: Dataset) -> Examples:
    """The texts of train with their vectors, to explain predictions."""
    texts = texts_of(data, "train")
    return Examples(texts, [tuple(row) for row in labels_of(data, "train")], encoder.encode_documents(texts))


def training_rows(data: Dataset) -> pa.Table:
    """Columns text and label of train: the number of the class, or 0 and 1 for each where a text may have several."""
    target = Target.of(labels_of(data, "train"), classes=classes_of(data), several=several_of(data))
    label: Any = target.hot.argmax(1) if not target.several else target.hot.astype(np.float32).tolist()
    return pa.table({"text": texts_of(data, "train"), "label": pa.array(label)})
