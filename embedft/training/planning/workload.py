"""What a run computes: texts and tokens a step, what is cut off, and what padding would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from embedft.training.job import Job
from embedft.training.losses.needs import COLUMNS
from embedft.training.losses.registry import LOSSES
from embedft.training.sets import TrainingSet

if TYPE_CHECKING:
    from embedft.training.trainer import PairTrainer

# Enough that the mean is within a percent of that of all batches; more would only be waited for.
MOST_BATCHES = 64
MOST_TEXTS = 2000
MASK = "_attention_mask"
# Columns that hold no text.
VALUES = ("score", "label")

Batch = Mapping[str, Any]


@dataclass(frozen=True)
class Workload:
    """The batches of a run, counted by its own sampler and tokenizer.

    Attributes:
        batches: how many were looked at, from the first on; they are drawn at random, so they stand for the others.
        texts: (batches,) texts of each.
        tokens: (batches,) tokens of each, padding left out.
        padded: (batches,) tokens of each if every column were padded to its longest text.
    """

    batches: int
    texts: np.ndarray
    tokens: np.ndarray
    padded: np.ndarray

    def as_dict(self, a_step: int) -> dict[str, Any]:
        """For JSON; of a step, which is ``a_step`` batches."""
        return {
            "batches_counted": self.batches,
            "texts": round(a_step * float(self.texts.mean()), 1),
            "tokens_mean": round(a_step * float(self.tokens.mean()), 1),
            "tokens_p95": round(a_step * float(np.quantile(self.tokens, 0.95)), 1),
            "tokens_largest": a_step * int(self.tokens.max()),
            "tokens_padded_mean": round(a_step * float(self.padded.mean()), 1),
            "padding_saved": round(1 - float(self.tokens.sum() / self.padded.sum()), 4),
        }


def count(trainer: PairTrainer, keep: int) -> tuple[Workload, list[Batch]]:
    """The first batches of the first epoch, counted, and the ``keep`` largest of them, as the loss gets them."""
    texts, tokens, padded = [], [], []
    largest: list[tuple[int, Batch]] = []
    for batch in islice(iter(trainer.get_train_dataloader()), MOST_BATCHES):
        masks = [value for key, value in batch.items() if key.endswith(MASK)]
        texts.append(sum(len(mask) for mask in masks))
        tokens.append(sum(int(mask.sum()) for mask in masks))
        padded.append(sum(mask.numel() for mask in masks))
        largest = sorted([*largest, (tokens[-1], batch)], key=lambda entry: -entry[0])[:keep]
    work = Workload(len(texts), np.asarray(texts), np.asarray(tokens), np.asarray(padded))
    return work, [batch for _, batch in largest]


def cut_texts(job: Job) -> dict[str, Any]:
    """How many texts of the training rows are longer than training may see, and how much of them is lost.

    Keys: ``texts`` looked at (drawn at random where there are many), ``max_length``, ``cut`` and ``cut_share`` of the
    texts, ``tokens_lost_share`` of all tokens, ``longest`` in tokens.
    """
    limit = min(job.config.training.max_length, job.base.max_length)
    rng = np.random.default_rng(job.config.training.seed)
    lengths: list[int] = []
    for part in job.sets:
        rows = part.rows.take(rng.permutation(part.rows.num_rows)[:MOST_TEXTS])
        for column in columns_of(part):
            prompt = job.base.prompts["query" if column == "anchor" else "document"]
            texts = rows[column].to_pylist()
            flat = [text for row in texts for text in row] if column == "negatives" else texts
            lengths += _lengths(job, [prompt + text for text in flat[:MOST_TEXTS]])
    sizes = np.asarray(lengths, np.int64)
    over = np.maximum(sizes - limit, 0)
    return {
        "texts": len(sizes),
        "max_length": limit,
        "cut": int((over > 0).sum()),
        "cut_share": round(float((over > 0).mean()), 4),
        "tokens_lost_share": round(float(over.sum() / sizes.sum()), 4),
        "longest": int(sizes.max()),
    }


def columns_of(part: TrainingSet) -> tuple[str, ...]:
    """The columns of a set whose texts are embedded."""
    return tuple(name for name in COLUMNS[LOSSES[part.loss].needs] if name not in VALUES)


def _lengths(job: Job, texts: list[str]) -> list[int]:
    if not texts:
        return []
    # The encoder's own tokenizer call cuts; this one says nothing of what it would have cut.
    ids = job.base.sentence_transformer.tokenizer(texts, truncation=False, padding=False, verbose=False)["input_ids"]
    return [len(row) for row in ids]
