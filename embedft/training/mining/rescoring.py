"""A cross-encoder's scores of anchors and documents, in place of an encoder's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedft.index.nearest import NONE, Floats, Rows
from embedft.progress import progress
from embedft.training.losses.crossencoder import open_cross_encoder

# Their pairs are sorted by length together, so that few tokens are padding.
QUERIES_AT_ONCE = 64
BATCH = 32


class CrossEncoderScores:
    """Scores of (anchor, document) pairs as the model gives them: from 0 to 1 unless its files say otherwise."""

    def __init__(
        self, model: Any, anchors: Sequence[str], documents: Sequence[str], *, show_progress: bool = False
    ) -> None:
        self.model = model
        self.anchors = anchors
        self.documents = documents
        self.show_progress = show_progress

    @classmethod
    def load(
        cls, name: str, anchors: Sequence[str], documents: Sequence[str], *, device: str, show_progress: bool = False
    ) -> CrossEncoderScores:
        """The scores of a cross-encoder's folder or hub name.

        Raises:
            ModelError: it cannot be opened, or gives more than one score for a pair.
        """
        model = open_cross_encoder(name, device)
        return cls(model, anchors, documents, show_progress=show_progress)

    def __call__(self, queries: Rows, rows: Rows) -> Floats:
        """Scores of each query's documents, (b, m) float32; -inf where a row is -1."""
        scores = np.full(rows.shape, -np.inf, np.float32)
        with progress("cross-encoder", int((rows != NONE).sum()), "pairs", enabled=self.show_progress) as advance:
            for begin in range(0, len(queries), QUERIES_AT_ONCE):
                part = slice(begin, begin + QUERIES_AT_ONCE)
                number, place = np.nonzero(rows[part] != NONE)
                asked = zip(queries[part][number].tolist(), rows[part][number, place].tolist(), strict=True)
                pairs = [(self.anchors[query], self.documents[row]) for query, row in asked]
                if pairs:
                    found = self.model.predict(pairs, batch_size=BATCH, show_progress_bar=False)
                    scores[part][number, place] = np.asarray(found, np.float32)
                advance(len(pairs))
        return scores
