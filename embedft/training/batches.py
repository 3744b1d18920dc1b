"""Batches of pairs: their order, a pure function of seed and epoch, and their tokens with the ids of the texts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from embedft.encoder import Encoder, pad_batch
from embedft.training.masks import text_ids


class SeededBatchSampler(DefaultBatchSampler):
    """A permutation of the rows drawn from (seed, epoch), cut into batches.

    It keeps no state between epochs, so that a resumed run sees the batches that an uninterrupted one sees. A last
    batch of one row is left out: it has no negatives.
    """

    def __init__(self, dataset: Any, batch_size: int, *, seed: int) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=False, seed=seed)
        self.rows = len(dataset)
        self.seed = seed

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start : start + self.batch_size].tolist()

    def __len__(self) -> int:
        return number_of_batches(self.rows, self.batch_size)


def number_of_batches(rows: int, batch_size: int) -> int:
    """How many batches an epoch has; a last batch of one row does not count."""
    full, rest = divmod(rows, batch_size)
    return full + (rest > 1)


class PairCollator:
    """Rows of anchor, positive, negatives into features by column, and text ids as the label.

    Queries are padded to queries and documents to documents. The number of negatives may differ from row to row: all
    of them together are one column.
    """

    # Asked for by sentence-transformers' trainer.
    valid_label_columns = ("label",)

    def __init__(self, encoder: Encoder, max_length: int) -> None:
        self.encoder = encoder
        self.max_length = max_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Keys ``anchor_input_ids``, ``anchor_attention_mask``, the same for positive and negative, and ``label``."""
        texts = {
            "anchor": [row["anchor"] for row in rows],
            "positive": [row["positive"] for row in rows],
            "negative": [text for row in rows for text in row["negatives"]],
        }
        batch: dict[str, Any] = {}
        for column, values in texts.items():
            if not values:
                continue
            prompt = self.encoder.prompts["query" if column == "anchor" else "document"]
            features = pad_batch(self.encoder.tokenize(values, prompt, self.max_length), self.encoder.pad_id)
            batch |= {f"{column}_{key}": value for key, value in features.items()}
        batch["label"] = torch.cat([text_ids(values) for values in texts.values()])
        return batch


class ScoredCollator:
    """Rows of sentence1, sentence2, score into features by column, and the scores as the label.

    Both texts are prompted as documents, as they are when they are judged: neither of them asks.
    """

    valid_label_columns = ("label",)

    def __init__(self, encoder: Encoder, max_length: int) -> None:
        self.encoder = encoder
        self.max_length = max_length

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Keys ``sentence1_input_ids``, ``sentence1_attention_mask``, the same for sentence2, and ``label``."""
        batch: dict[str, Any] = {}
        for column in ("sentence1", "sentence2"):
            ids = self.encoder.tokenize(
                [row[column] for row in rows], self.encoder.prompts["document"], self.max_length
            )
            batch |= {f"{column}_{key}": value for key, value in pad_batch(ids, self.encoder.pad_id).items()}
        batch["label"] = torch.tensor([row["score"] for row in rows], dtype=torch.float32)
        return batch
