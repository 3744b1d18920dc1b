"""Batches: their order, a pure function of seed and epoch, and their tokens with what the losses ask beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from sentence_transformers.base.sampler import DefaultBatchSampler, MultiDatasetDefaultBatchSampler

from embedft.encoder import Encoder, pad_batch
from embedft.training.losses.masks import text_ids
from embedft.training.processes import world_size


class SeededBatchSampler(DefaultBatchSampler):
    """A permutation of the rows drawn from (seed, epoch), cut into batches.

    It keeps no state between epochs, so that a resumed run sees the batches that an uninterrupted one sees. A last
    batch of one row is left out: it has no negatives. Where several processes train, so are the last batches that
    do not go round.
    """

    def __init__(self, dataset: Any, batch_size: int, *, seed: int) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=False, seed=seed)
        self.rows = len(dataset)
        self.seed = seed
        self._drawn: tuple[int, np.ndarray] | None = None
        # Epoch and number of the batch that is being made; read by what depends on how far training has come.
        self.place = (0, 0)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(len(self)):
            self.place = (self.epoch, number)
            yield self.rows_of(self.epoch, number)

    def rows_of(self, epoch: int, number: int) -> list[int]:
        """The rows of one batch of an epoch."""
        rows: list[int] = self._order(epoch)[number * self.batch_size : (number + 1) * self.batch_size].tolist()
        return rows

    def __len__(self) -> int:
        return number_of_batches(self.rows, self.batch_size)

    def _order(self, epoch: int) -> np.ndarray:
        if self._drawn is None or self._drawn[0] != epoch:
            self._drawn = (epoch, self.draw(epoch))
        return self._drawn[1]

    def draw(self, epoch: int) -> np.ndarray:
        """The order of the rows in an epoch, (rows,)."""
        return np.random.default_rng([self.seed, epoch]).permutation(self.rows)


def number_of_batches(rows: int, batch_size: int) -> int:
    """How many batches an epoch has; a last batch of one row does not count, nor do those that do not go round."""
    full, rest = divmod(rows, batch_size)
    batches = full + (rest > 1)
    return batches - batches % world_size()


class MixedBatchSampler(MultiDatasetDefaultBatchSampler):
    """Batches of several sets in one drawn order; each batch is of one set.

    An epoch has as many batches as all sets together. A set of n rows gets a share of them in proportion to
    n ** (1 / temperature); where that is more than it has, it begins again in another order. The order depends on
    (seed, epoch) alone.
    """

    def __init__(self, dataset: Any, samplers: Sequence[SeededBatchSampler], *, seed: int, temperature: float) -> None:
        super().__init__(dataset, batch_samplers=list(samplers), seed=seed)
        # Short batches may stand anywhere: a size, which it would have from the first set, makes accelerate leave out
        # every round of the processes whose last batch has not that many rows.
        self.batch_size = None
        # Of each set as many batches side by side as there are processes: their losses exchange vectors, so all
        # processes must be at the same loss.
        self.world = world_size()
        rounds = shares([len(sampler) // self.world for sampler in samplers], [s.rows for s in samplers], temperature)
        self.counts = [self.world * count for count in rounds]
        self.offsets = np.concatenate([[0], np.cumsum([sampler.rows for sampler in samplers])])
        self.place = (0, 0)

    def __iter__(self) -> Iterator[list[int]]:
        places = np.repeat(np.arange(len(self.counts)), np.asarray(self.counts) // self.world)
        order = np.random.default_rng([self.seed, self.epoch, len(self.counts)]).permutation(places)
        # How often each set has been drawn before this epoch.
        drawn = [self.epoch * count for count in self.counts]
        for number, place in enumerate(np.repeat(order, self.world).tolist()):
            self.place = (self.epoch, number)
            sampler = self.batch_samplers[place]
            epoch, within = divmod(drawn[place], len(sampler))
            drawn[place] += 1
            yield [int(self.offsets[place]) + row for row in sampler.rows_of(epoch, within)]

    def __len__(self) -> int:
        return sum(self.counts)


def shares(batches: Sequence[int], rows: Sequence[int], temperature: float) -> list[int]:
    """How many rounds of batches of an epoch each set gets: as many in all as the sets have, but each at least 1."""
    weights = np.asarray(rows, np.float64) ** (1 / temperature)
    total = sum(batches)
    exact = weights / weights.sum() * total
    counts = np.maximum(np.floor(exact), 1).astype(int)
    for place in np.argsort(counts - exact)[: max(total - int(counts.sum()), 0)]:
        counts[place] += 1
    return [int(count) for count in counts]


class Negatives(Protocol):
    """Negatives that change while training goes on."""

    def of(self, rows: Sequence[int], step: int) -> list[list[str]]:
        """The negatives of rows (their numbers in the training set) for a batch of that step, from 0."""
        ...


class PairCollator:
    """Rows of anchor, positive, negatives into features by column, and text ids as the label.

    Queries are padded to queries and documents to documents. The number of negatives may differ from row to row: all
    of them together are one column.
    """

    # Asked for by sentence-transformers' trainer.
    valid_label_columns = ("label",)

    def __init__(self, encoder: Encoder, max_length: int, negatives: Negatives | None = None) -> None:
        self.encoder = encoder
        self.max_length = max_length
        self.negatives = negatives

    def __call__(self, rows: list[dict[str, Any]], step: int = 0) -> dict[str, Any]:
        """Keys ``anchor_input_ids``, ``anchor_attention_mask``, the same for positive and negative, and ``label``."""
        negatives = [row["negatives"] for row in rows]
        if self.negatives is not None:
            negatives = self.negatives.of([row["row"] for row in rows], step)
        texts = {
            "anchor": [row["anchor"] for row in rows],
            "positive": [row["positive"] for row in rows],
            "negative": [text for of_row in negatives for text in of_row],
        }
        batch: dict[str, Any] = {}
        for column, values in texts.items():
            if not values:
                continue
            prompt = self.encoder.prompts["query" if column == "anchor" else "document"]
            batch |= features_of(column, values, prompt, self.encoder, self.max_length)
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

    def __call__(self, rows: list[dict[str, Any]], _step: int = 0) -> dict[str, Any]:
        """Keys ``sentence1_input_ids``, ``sentence1_attention_mask``, the same for sentence2, and ``label``."""
        batch: dict[str, Any] = {}
        for column in ("sentence1", "sentence2"):
            texts = [row[column] for row in rows]
            batch |= features_of(column, texts, self.encoder.prompts["document"], self.encoder, self.max_length)
        batch["label"] = torch.tensor([row["score"] for row in rows], dtype=torch.float32)
        return batch


class SetCollator:
    """Batches of one or several sets: each by the collator of its set, with its name and its rows.

    Rows have their number in the set as ``row``. Sampler and collator work in lockstep (no worker processes), so the
    sampler's ``place`` is that of the batch being collated.
    """

    valid_label_columns = ("label",)

    def __init__(self, collators: Mapping[str, Any], batches_a_step: int = 1) -> None:
        self.collators = collators
        self.batches_a_step = batches_a_step
        self.sampler: SeededBatchSampler | MixedBatchSampler | None = None

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """As the set's collator, with the ``rows``, and ``dataset_name`` where there are several sets."""
        name = rows[0].get("dataset_name") or next(iter(self.collators))
        batch: dict[str, Any] = self.collators[name](rows, self._step())
        batch["rows"] = torch.tensor([row["row"] for row in rows])
        return batch | ({"dataset_name": name} if len(self.collators) > 1 else {})

    def _step(self) -> int:
        """The update that the batch belongs to; the last one of an epoch may have fewer batches than others."""
        if self.sampler is None:
            return 0
        epoch, number = self.sampler.place
        return epoch * -(-len(self.sampler) // self.batches_a_step) + number // self.batches_a_step


def features_of(column: str, texts: list[str], prompt: str, encoder: Encoder, max_length: int) -> dict[str, Any]:
    """``COLUMN_input_ids`` and ``COLUMN_attention_mask`` of the texts behind the prompt, (texts, longest)."""
    ids = encoder.tokenize(texts, prompt, max_length)
    return {f"{column}_{key}": value for key, value in pad_batch(ids, encoder.pad_id).items()}
