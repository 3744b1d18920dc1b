"""The training texts nearest to a text that was judged: what the model has learned it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.evaluation.texts import shown
from embedft.index.exact import exact_search

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
NEAREST = 5
# Products of a text and a training text: two seconds at 384 dimensions on two cores.
MOST_PRODUCTS = 100_000_000


def _unit(vectors: npt.ArrayLike) -> Floats:
    given = np.asarray(vectors, np.float32)
    return np.asarray(given / np.maximum(np.linalg.norm(given, axis=1, keepdims=True), 1e-12), np.float32)


@dataclass(frozen=True)
class Neighbours:
    """Training texts with their labels and vectors, and the vectors of the texts that were judged.

    Attributes:
        texts, labels: of the training texts.
        vectors: (training texts, dim), unit.
        judged: (n, dim), unit.
    """

    texts: Sequence[str]
    labels: Sequence[Sequence[str]]
    vectors: Floats
    judged: Floats

    @classmethod
    def of(
        cls,
        texts: Sequence[str] | None,
        labels: Sequence[Sequence[str]] | None,
        vectors: npt.ArrayLike | None,
        judged: npt.ArrayLike | None,
    ) -> Neighbours | None:
        """The neighbours, or None if something of them is not given."""
        if texts is None or labels is None or vectors is None or judged is None or not len(texts):
            return None
        return cls(texts, labels, _unit(vectors), _unit(judged))

    def nearest(self, rows: Rows, k: int = NEAREST) -> tuple[Floats, Rows]:
        """Cosines and training rows of the ``k`` nearest training texts of some judged texts, both (rows, k)."""
        return exact_search(self.judged[rows], self.vectors, k)

    def describe(self, rows: Rows) -> list[list[dict[str, Any]]]:
        """For each of some judged texts its nearest training texts: text, label, cosine."""
        cosines, found = self.nearest(rows)
        return [
            [
                {
                    "text": shown(self.texts[row]),
                    "label": ", ".join(self.labels[row]),
                    "cosine": round(float(cosine), 4),
                }
                for row, cosine in zip(places.tolist(), line.tolist(), strict=True)
            ]
            for places, line in zip(found, cosines, strict=True)
        ]

    def labels_near(self, rows: Rows) -> list[list[Sequence[str]]]:
        """For each of some judged texts the labels of its nearest training texts."""
        return [[self.labels[row] for row in line] for line in self.nearest(rows)[1].tolist()]

    def held(self, rows: Rows, classes: Sequence[str]) -> npt.NDArray[np.float64]:
        """The share of the nearest training texts that have each class, (rows, classes)."""
        number_of = {name: number for number, name in enumerate(classes)}
        shares = np.zeros((len(rows), len(classes)))
        for place, line in enumerate(self.labels_near(rows)):
            for name in (name for labels in line for name in labels if name in number_of):
                shares[place, number_of[name]] += 1 / len(line)
        return shares

    def closeness(self) -> npt.NDArray[np.float64]:
        """The cosine of each judged text with its nearest training text, (n,); NaN for those not looked at.

        Of many texts so many are looked at, spread evenly, that it takes seconds.
        """
        count = len(self.judged)
        found = np.full(count, np.nan)
        looked = min(count, max(MOST_PRODUCTS // len(self.texts), 1))
        rows = np.unique(np.linspace(0, count - 1, looked).astype(np.int64))
        found[rows] = self.nearest(rows, 1)[0][:, 0]
        return found
