"""Head: vectors in, probabilities of classes out, with a threshold for texts that belong to no class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from embedft.errors import WrongModelError
from embedft.evaluation.classification import decided
from embedft.index.exact import exact_search

if TYPE_CHECKING:
    from embedft.encoder import Encoder

Floats = npt.NDArray[np.floating]
Kind = Literal["logistic", "linear", "mlp", "centroids"]
Layer = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Neighbour:
    """A training example near to a text, that speaks for its class.

    Attributes:
        text, labels: of the example.
        similarity: cosine to the text, -1..1.
    """

    text: str
    labels: tuple[str, ...]
    similarity: float


@dataclass(frozen=True)
class Examples:
    """The texts that a head was fitted on, kept to explain what it says.

    Attributes:
        texts: (n,).
        labels: of each text.
        vectors: (n, dim), unit vectors, float16 or float32.
    """

    texts: Sequence[str]
    labels: Sequence[tuple[str, ...]]
    vectors: npt.NDArray[np.floating]

    def nearest(self, vectors: Floats, k: int) -> list[list[Neighbour]]:
        """For each vector the ``k`` examples with the largest cosine, the nearest first."""
        if k < 1:
            return [[] for _ in range(len(vectors))]
        cosines, best = exact_search(unit(vectors), self.vectors.astype(np.float32), k)
        return [
            [Neighbour(self.texts[row], self.labels[row], float(cosine)) for row, cosine in zip(*found, strict=True)]
            for found in zip(best.tolist(), cosines.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class Head:
    """A classifier on the vectors of one encoder.

    Attributes:
        kind: how it was fitted.
        classes: names, in the order of the probabilities.
        several: whether a text may have any number of the classes (one-vs-rest), or has one.
        layers: (weight (out, in), bias (out,)) of each linear layer; ReLU stands between two.
        temperature: logits are divided by it (Guo et al. 2017, arXiv:1706.04599).
        threshold: texts whose `scope_scores` are below it are out of scope; None if nothing is.
        encoder: fingerprint of the encoder whose vectors it takes; empty for vectors of unknown origin.
        record: how it was made and what was measured: C, calibration error before and after, ...
        examples: what it was fitted on, for explanations; None if not kept.
    """

    kind: Kind
    classes: tuple[str, ...]
    several: bool
    layers: tuple[Layer, ...]
    temperature: float = 1.0
    threshold: float | None = None
    encoder: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)
    examples: Examples | None = None

    @property
    def dim(self) -> int:
        """Of the vectors that it takes."""
        return int(self.layers[0][0].shape[1])

    def logits(self, vectors: Floats) -> Floats:
        """What the last layer says, (n, classes), before the temperature.

        In fp64, so that a text alone and in a batch gives the same.
        """
        states: Floats = np.asarray(vectors, np.float64)
        for number, (weight, bias) in enumerate(self.layers):
            states = (np.maximum(states, 0) if number else states) @ weight.T + bias
        return states

    def probabilities(self, vectors: Floats, *, calibrated: bool = True) -> npt.NDArray[np.float64]:
        """Of each class, (n, classes); rows sum to 1 unless a text may have several classes.

        Args:
            vectors: (n, dim), of the encoder.
            calibrated: with the temperature.
        """
        return probabilities_of(self.logits(vectors) / (self.temperature if calibrated else 1.0), self.several)

    def predict(self, vectors: Floats) -> list[tuple[str, ...]]:
        """The classes of each text: the most probable one, or, of several, those above one half."""
        return [self.names(row) for row in decided(self.probabilities(vectors), self.several)]

    def names(self, chosen: npt.NDArray[np.bool_]) -> tuple[str, ...]:
        """The classes that are True in a row of ``(classes,)``."""
        return tuple(self.classes[number] for number in np.flatnonzero(chosen))

    def scope_scores(self, vectors: Floats) -> npt.NDArray[np.float64]:
        """How well each text fits the classes, (n,), higher is better: the energy, log sum exp of the logits.

        Source: Liu et al. 2020, arXiv:2010.03759. Of the texts of clinc150 that belong to no class it finds 79 %, with
        95 % of the others kept; the probability of the best class finds 68 to 76 %, the cosine to the nearest training
        example 70 %.
        """
        return energy(self.logits(vectors), self.several)

    def in_scope(self, vectors: Floats) -> npt.NDArray[np.bool_]:
        """Whether each text belongs to one of the classes, (n,)."""
        if self.threshold is None:
            return np.ones(len(vectors), bool)
        return self.scope_scores(vectors) >= self.threshold

    def explain(self, vectors: Floats, k: int = 3) -> list[list[Neighbour]]:
        """For each text the nearest training examples; empty lists if none were kept."""
        return self.examples.nearest(vectors, k) if self.examples else [[] for _ in range(len(vectors))]

    def check_encoder(self, encoder: Encoder) -> None:
        """Raise WrongModelError if the head was not fitted on vectors of ``encoder``."""
        if self.encoder and self.encoder != encoder.fingerprint:
            raise WrongModelError(
                f"the head was fitted on another encoder ({self.encoder[:12]}) than {encoder.name} "
                f"({encoder.fingerprint[:12]}).",
                hint="take the encoder that stands beside the head, with its own settings, or fit a new head.",
            )

    def without_examples(self) -> Head:
        """The same head without what it was fitted on."""
        return replace(self, examples=None)

    def save(self, folder: str | Path) -> Path:
        """Write ``head.safetensors``, ``head.json`` and the examples into ``folder``, which is made; gives it."""
        from embedft.heads.storage import save_head

        return save_head(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Head:
        """The head that was saved in ``folder``.

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        from embedft.heads.storage import load_head

        return load_head(Path(folder))


def probabilities_of(logits: Floats, several: bool) -> npt.NDArray[np.float64]:
    """Softmax along the classes, or, where a text may have several, a sigmoid each."""
    logits = np.asarray(logits, np.float64)
    if several:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float64)
    logits = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(logits / logits.sum(1, keepdims=True), np.float64)


def energy(logits: Floats, several: bool) -> npt.NDArray[np.float64]:
    """Log sum exp of the logits, (n,); of several classes the largest of each class's own, softplus of its logit."""
    logits = np.asarray(logits, np.float64)
    return np.asarray(np.logaddexp(0, logits).max(1) if several else np.logaddexp.reduce(logits, axis=1))


def unit(vectors: Floats) -> npt.NDArray[np.float32]:
    """The vectors at length 1."""
    vectors = np.asarray(vectors, np.float32)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
