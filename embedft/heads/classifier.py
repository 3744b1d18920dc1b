"""An encoder and its head together: texts in, labels out, with what speaks for them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from embedft.encoder import Encoder, Precision
from embedft.errors import ArtifactError
from embedft.evaluation.classification import decided
from embedft.heads.head import Head, Neighbour
from embedft.heads.storage import HEAD_FOLDER, head_beside

# Texts that are encoded and answered at a time.
WINDOW = 4096


@dataclass(frozen=True)
class Answer:
    """What is said of a text.

    Attributes:
        text: that was asked.
        labels: one, or any number where texts may have several.
        probabilities: of each of ``labels``; of the most probable class where there is none.
        in_scope: whether the text belongs to one of the classes at all, as far as the head can tell.
        nearest: training texts that are most like it, the nearest first.
    """

    text: str
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    in_scope: bool
    nearest: tuple[Neighbour, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class TextClassifier:
    """The encoder and the head of a run; open one with `TextClassifier.open`."""

    def __init__(self, encoder: Encoder, head: Head) -> None:
        head.check_encoder(encoder)
        self.encoder = encoder
        self.head = head

    @classmethod
    def open(cls, run: str | Path, *, precision: Precision = "auto") -> TextClassifier:
        """The classifier of a run's folder, or of the ``model`` in it.

        Raises:
            ArtifactError: there is no head, or it is damaged.
            ModelError: the encoder cannot be opened.
            WrongModelError: the head was fitted on another encoder.
        """
        path = Path(run)
        model = path / "model" if (path / "model").is_dir() else path
        beside = head_beside(model)
        if beside is None:
            raise ArtifactError(
                f"{path}: holds no classifier; expected {HEAD_FOLDER}/ beside model/.",
                hint="name the run of 'embedft train --task classification'.",
            )
        return cls(Encoder.load(model, precision=precision), Head.load(beside))

    def classify(self, texts: Iterable[str], *, nearest: int = 3) -> Iterator[Answer]:
        """Yield what is said of each text, in their order; memory does not grow with their number.

        Args:
            texts: any iterable.
            nearest: training texts to name for each, if the head keeps them.
        """
        left = iter(texts)
        while window := list(islice(left, WINDOW)):
            vectors = self.encoder.encode_documents(window)
            chances, inside = self.head.probabilities(vectors), self.head.in_scope(vectors)
            chosen = decided(chances, self.head.several)
            near = self.head.explain(vectors, nearest) if nearest else [[] for _ in window]
            for row, text in enumerate(window):
                labels = self.head.names(chosen[row])
                own = chances[row][chosen[row]] if labels else chances[row].max(keepdims=True)
                order = np.argsort(-own, kind="stable").tolist()
                yield Answer(
                    text,
                    tuple(labels[place] for place in order) if labels else (),
                    tuple(float(own[place]) for place in order),
                    bool(inside[row]),
                    tuple(near[row]),
                )
