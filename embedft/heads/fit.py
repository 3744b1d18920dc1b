"""Fit a logistic head on vectors: choose C, calibrate, and set the threshold for texts that belong to no class."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embedft.config import HeadConfig
from embedft.errors import DataError
from embedft.evaluation.calibration import expected_calibration_error, threshold_for
from embedft.evaluation.classification import decided
from embedft.heads.head import Examples, Floats, Head, Kind, Layer, energy, probabilities_of
from embedft.heads.logistic import TOLERANCE, Linear, fit_path, sigmoid_loss, softmax_loss

logger = logging.getLogger("embedft")

Labels = Sequence[tuple[str, ...]]
# Each value costs a fit a fold. Of banking77, clinc150 and trec6 the best value lies inside.
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
FOLDS = 3
# Classes that a message names.
SHOWN = 5
# Choosing among values of C needs no more digits.
COARSE = 3e-3
# A temperature outside these bounds is the mark of a held-out set without an error, or without a hit.
HOTTEST = 20.0
# What is thought of log T before a text is seen: normal around 0 with this deviation. Five texts without an error would
# else make a head sure of everything: log loss on trec6 8.7 at worst, 1.6 so; from 40 texts on it changes nothing.
SPREAD = 0.5
# Fewer texts of dev are heard together with the folds. On trec6 and banking77 temperature and threshold of dev alone
# are as good from some 100 texts on; those of 5 to 20 are far off (in scope 0.5 to 1 where 0.95 is asked).
FEW = 100


@dataclass(frozen=True)
class Target:
    """Labels as numbers.

    Attributes:
        classes: names, sorted.
        several: whether a text may have any number of them.
        hot: (n, classes) bool.
    """

    classes: tuple[str, ...]
    several: bool
    hot: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, labels: Labels, *, classes: Sequence[str] | None = None, several: bool | None = None) -> Target:
        """The labels of some texts as numbers; those that are not among ``classes`` are left out."""
        names = tuple(classes) if classes is not None else tuple(sorted({name for row in labels for name in row}))
        number_of = {name: number for number, name in enumerate(names)}
        hot = np.zeros((len(labels), len(names)), bool)
        for row, of_row in enumerate(labels):
            hot[row, [number_of[name] for name in of_row if name in number_of]] = True
        return cls(names, any(len(row) != 1 for row in labels) if several is None else several, hot)

    def __getitem__(self, rows: Any) -> Target:
        return replace(self, hot=self.hot[rows])


def fit_logistic(
    vectors: Floats,
    labels: Labels,
    config: HeadConfig | None = None,
    *,
    dev: tuple[Floats, Labels] | None = None,
    texts: Sequence[str] | None = None,
    encoder: str = "",
    classes: Sequence[str] | None = None,
    class_weight: Mapping[str, float] | None = None,
    several: bool | None = None,
    seed: int = 0,
) -> Head:
    """A logistic head on frozen vectors.

    C is chosen by cross-validation if it is not given. Temperature and threshold are those of ``dev`` if it has
    `FEW` texts at least, else of it and of the vectors that each fold was not fitted on.

    Args:
        vectors: (n, dim).
        labels: of each text.
        config: C, class weights, calibration, share in scope.
        dev: vectors and labels to calibrate on.
        texts: kept with their vectors to explain predictions; None keeps none.
        encoder: fingerprint of the encoder of the vectors.
        classes: of the labels, in the order of the probabilities; sorted by default.
        class_weight: class -> how much its texts count, instead of ``config.class_weight``; 1 where it is missing.
        several: whether a text may have several classes; by default whether one has not exactly one.
        seed: of the folds.

    Raises:
        DataError: the labels are all of one class, or ``class_weight`` has one that they have not and lacks another.
    """
    config = config or HeadConfig()
    target = Target.of(labels, classes=classes, several=several)
    if len(target.classes) < (1 if target.several else 2):
        raise DataError(
            f"all {len(labels)} texts have one label, {', '.join(target.classes) or 'none'}.",
            hint="add texts of another class.",
        )
    vectors = np.asarray(vectors, np.float64 if np.asarray(vectors).dtype == np.float64 else np.float32)
    weights = class_weights(target, class_weight if class_weight is not None else config.class_weight)
    strength, held_out = config.regularisation, None
    few = dev is None or len(dev[1]) < FEW
    if strength is None or (few and (config.calibrate or config.in_scope > 0)):
        strengths = STRENGTHS if strength is None else (strength,)
        strength, held_out = _cross_validated(vectors, target, strengths, weights, seed)
    linear = next(_fits(vectors, target, (strength,), weights, TOLERANCE))
    if not linear.converged:
        logger.warning("the logistic head (C = %g) did not converge: its vectors are badly scaled", strength)
    examples = Examples(list(texts), [tuple(row) for row in labels], vectors) if texts is not None else None
    layers = ((linear.weight.astype(np.float32), linear.bias.astype(np.float32)),)
    head = Head("logistic", target.classes, target.several, layers, encoder=encoder, record={"C": strength},
                examples=examples)  # fmt: skip
    heard: dict[str, tuple[Floats, Labels]] = {}
    if few and held_out is not None:
        heard[f"{FOLDS} folds"] = (held_out, labels)
    if dev is not None:
        heard["dev"] = (head.logits(dev[0]), dev[1])
    if not heard:
        return head
    logits, own = zip(*heard.values(), strict=True)
    return adjusted(head, np.concatenate(logits), list(chain(*own)), config, on=" and ".join(heard))


def _fits(vectors: Floats, target: Target, strengths: Sequence[float], weights: Floats, tolerance: float) -> Any:
    """The linear classifier for each C, with an output for each class."""
    options: dict[str, Any] = {"tolerance": tolerance}
    if target.several or len(target.classes) == 2:
        # Two classes are one decision, as in scikit-learn: its sigmoid, half of it for each class, is a softmax.
        hot = target.hot if target.several else target.hot[:, 1:]
        if not target.several:
            weights = weights[:, None]
        fits = fit_path(
            vectors, hot.astype(vectors.dtype), weights, hot.shape[1], strengths, loss=sigmoid_loss, **options
        )
        if target.several:
            return fits
        return (
            Linear(
                np.concatenate([-fit.weight, fit.weight]) / 2, np.concatenate([-fit.bias, fit.bias]) / 2, fit.converged
            )
            for fit in fits
        )
    codes = target.hot.argmax(1)
    return fit_path(vectors, codes, weights, len(target.classes), strengths, loss=softmax_loss, **options)


def class_weights(
    target: Target, class_weight: Literal["balanced"] | Mapping[str, float] | None
) -> npt.NDArray[np.float64]:
    """How much each text counts, (n,), or, of several classes, each text for each class, (n, classes).

    ``balanced`` as in scikit-learn: texts over (classes times texts of the class), for each class and its absence where
    there are several. A mapping gives the weight of each class; its absence counts 1.

    Raises:
        DataError: the mapping has a class that there is not, and lacks one that there is.
    """
    rows, held = len(target.hot), target.hot.sum(0)
    absent = np.ones(len(target.classes))
    if class_weight is None:
        present = absent
    elif class_weight == "balanced":
        present = rows / ((2 if target.several else len(target.classes)) * np.maximum(held, 1))
        absent = rows / (2 * np.maximum(rows - held, 1))
    else:
        unknown = [name for name in class_weight if name not in target.classes]
        # As in scikit-learn: texts of a fold need not have all classes that are weighted.
        if unknown and not set(target.classes) <= set(class_weight):
            raise DataError(
                f"class_weight has {unknown[0]!r}, which is no class of the texts.",
                hint=f"the classes are {', '.join(target.classes[:SHOWN])}{', ...' * (len(target.classes) > SHOWN)}.",
            )
        present = np.array([float(class_weight.get(name, 1.0)) for name in target.classes])
    if target.several:
        return np.asarray(np.where(target.hot, present, absent), np.float64)
    return np.asarray(present[target.hot.argmax(1)], np.float64)


def folds_of(target: Target, folds: int, seed: int) -> npt.NDArray[np.intp]:
    """The fold of each text, (n,): the texts of each class are dealt out evenly, in an order drawn from ``seed``."""
    order = np.random.default_rng(seed).permutation(len(target.hot))
    first = np.where(target.hot.any(1), target.hot.argmax(1), len(target.classes))[order]
    fold = np.empty(len(order), np.intp)
    fold[order[np.argsort(first, kind="stable")]] = np.arange(len(order)) % folds
    return fold


def _cross_validated(
    vectors: Floats, target: Target, strengths: Sequence[float], weights: Floats, seed: int
) -> tuple[float, Floats]:
    """The C with the smallest log loss at its best temperature, and what it says of texts that it was not fitted on.

    At its best temperature, since a large C is more often right and too sure of it, which calibration mends.
    """
    fold = folds_of(target, FOLDS, seed)
    held_out = np.zeros((len(strengths), *target.hot.shape))
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(inside) or not len(outside):
            continue
        for place, fit in enumerate(_fits(vectors[inside], target[inside], strengths, weights[inside], COARSE)):
            held_out[place, outside] = fit(vectors[outside])
    losses = [log_loss(logits, target, temperature_for(logits, target)) for logits in held_out]
    best = int(np.argmin(losses))
    return strengths[best], held_out[best]


def log_loss(logits: Floats, target: Target, temperature: float = 1.0) -> float:
    """The mean negative log likelihood of the labels."""
    scaled = np.asarray(logits, np.float64) / temperature
    if target.several:
        return float((np.logaddexp(0, scaled) - target.hot * scaled).sum(1).mean())
    # Not by numpy's logaddexp.reduce, which takes ten times as long: this runs for each temperature that is tried.
    top = scaled.max(1)
    return float((np.log(np.exp(scaled - top[:, None]).sum(1)) + top - (scaled * target.hot).sum(1)).mean())


def temperature_for(logits: Floats, target: Target) -> float:
    """The temperature with the smallest log loss, 1 / `HOTTEST` .. `HOTTEST`; of few texts nearer to 1 (`SPREAD`).

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    from scipy.optimize import minimize_scalar

    bound = float(np.log(HOTTEST))
    prior = 0.5 / (SPREAD**2 * len(logits))
    found = minimize_scalar(
        lambda exponent: log_loss(logits, target, float(np.exp(exponent))) + prior * exponent**2,
        bounds=(-bound, bound),
        method="bounded",
        options={"xatol": 1e-3},
    )
    return float(np.exp(found.x))


def adjusted(head: Head, logits: Floats, labels: Labels, config: HeadConfig, *, on: str) -> Head:
    """The head with temperature and threshold set by what it says of texts that it was not fitted on.

    Args:
        head: as fitted.
        logits: (n, classes), of the texts.
        labels: of the texts; those without a known one are left out.
        config: whether to calibrate; the share in scope.
        on: what the texts are, for the record.
    """
    target = Target.of(labels, classes=head.classes, several=head.several)
    known = np.ones(len(labels), bool) if head.several else target.hot.any(1)
    if not known.any():
        return head
    logits, target = np.asarray(logits)[known], target[known]
    temperature = temperature_for(logits, target) if config.calibrate else 1.0
    threshold = None
    if config.in_scope > 0:
        # The next text ranks anywhere among n others, so that the chance that it passes is counted of n + 1 (split
        # conformal prediction, Vovk et al. 2005).
        share = min(1.0, config.in_scope * (1 + 1 / len(logits)))
        threshold = threshold_for(energy(logits, head.several), share)
    measured = {
        "calibrated_on": on,
        "calibrated_texts": len(logits),
        "ece_before": calibration_error(logits, target),
        "ece_after": calibration_error(logits / temperature, target),
    }
    return replace(head, temperature=temperature, threshold=threshold, record={**head.record, **measured})


def calibration_error(logits: Floats, target: Target) -> float:
    """The expected calibration error of what is predicted; of several classes that of all their decisions."""
    chances = probabilities_of(logits, target.several)
    if target.several:
        return expected_calibration_error(
            np.maximum(chances, 1 - chances).ravel(), (decided(chances, True) == target.hot).ravel()
        )
    return expected_calibration_error(chances.max(1), target.hot[np.arange(len(chances)), chances.argmax(1)])


def fit_centroids(vectors: Floats, labels: Labels, *, encoder: str = "", several: bool | None = None) -> Head:
    """The head that says the class with the nearest mean, without anything learned: what a trained head must beat.

    The logits are ten times the cosine to the mean of each class; of several classes, less ten times what lies half-way
    between the mean cosine of the texts that have the class and that of the others.
    """
    target = Target.of(labels, several=several)
    members = np.maximum(target.hot.sum(0), 1)[:, None]
    means = (target.hot.T.astype(np.float64) @ vectors) / members
    means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    cosines = np.asarray(vectors) @ means.T
    # One-vs-rest: half-way between those that have the class and those that lack it.
    inside = (cosines * target.hot).sum(0) / members[:, 0]
    outside = (cosines * ~target.hot).sum(0) / np.maximum((~target.hot).sum(0), 1)
    bias = -(inside + outside) / 2 if target.several else np.zeros(len(means))
    layer: Layer = ((10 * means).astype(np.float32), (10 * bias).astype(np.float32))
    kind: Kind = "centroids"
    return Head(kind, target.classes, target.several, (layer,), encoder=encoder)


def lone_classes(labels: Labels) -> list[str]:
    """Classes that one text alone has."""
    counts = Counter(name for row in labels for name in row)
    return sorted(name for name, count in counts.items() if count == 1)
