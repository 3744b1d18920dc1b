"""Alarms of training: a loss or gradient that is no number, and vectors that all become one; each names its batch.

They look at what the loss has computed anyway: its value, and the vectors that `embedft.encoder.differentiable` shows
to an observer. The same vectors give the cosines that stand in the log.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback, TrainerState

from embedft.encoder.differentiable import observed
from embedft.errors import TrainingError

logger = logging.getLogger("embedft")

# The spread of a batch is 1 - the mean cosine of its different documents. Encoders differ much in the spread they begin
# with (0.9 for a good one, 0.05 for a bare language model), so it must also have shrunk.
WARN_SPREAD, WARN_SHRUNK = 0.02, 0.5
STOP_SPREAD, STOP_SHRUNK = 0.002, 0.1
# Steps in a row at the second level before the run is stopped: one batch may hold near-copies of one text.
STOP_AFTER = 5
ROWS_NAMED, TEXTS_QUOTED, QUOTED_LENGTH = 8, 3, 60
WATCHED = "cosine_documents"


@dataclass(frozen=True)
class Batch:
    """Where a batch comes from: its step, its data set if there are several, and the numbers of its rows there."""

    step: int
    name: str | None
    rows: torch.Tensor | Sequence[int]


class Alarms(TrainerCallback):
    """Watches every batch of a training.

    Args:
        model: the SentenceTransformer that is trained; vectors of others (a guide) are not looked at.
        text_of: from the name of the data set and the number of a row to its first text.
    """

    def __init__(self, model: Any, text_of: Callable[[str | None, int], str]) -> None:
        self.model = model
        self.text_of = text_of
        self._batches: list[Batch] = []
        self._columns: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._started_with: float | None = None
        self._warned = False
        self._collapsed_steps = 0
        self._rate = 0.0
        self._bf16 = False

    def on_train_begin(self, args: Any, state: TrainerState, _control: Any, **_: Any) -> None:
        """Take the spread that training began with from the log, where it is resumed."""
        self._rate, self._bf16 = args.learning_rate, bool(args.bf16)
        logged = [entry[WATCHED] for entry in state.log_history if WATCHED in entry]
        self._started_with = 1 - logged[0] if logged else None

    def on_step_begin(self, _args: Any, _state: TrainerState, _control: Any, **_: Any) -> None:
        """Forget the batches of the step before."""
        self._batches.clear()

    def on_pre_optimizer_step(self, _args: Any, _state: TrainerState, _control: Any, **kwargs: Any) -> None:
        """Stop before gradients that are no numbers reach the weights.

        Raises:
            TrainingError: naming the batches of the step.
        """
        groups = kwargs["optimizer"].param_groups
        gradients = [value.grad for group in groups for value in group["params"] if value.grad is not None]
        # 6 ms for 40 million numbers on one core; the largest of each, in place of the norm, takes 20 times that.
        if gradients and not torch.stack(torch._foreach_norm(gradients)).isfinite().all():
            raise self._diverged("a gradient is not finite", self._batches)

    @contextmanager
    def watching(self, step: int, rows: torch.Tensor | Sequence[int], name: str | None = None) -> Iterator[None]:
        """Around the loss of a batch: takes the vectors that it embeds.

        Args:
            step: that the batch belongs to, from 1.
            rows: their numbers in the data set.
            name: of the data set, where there are several.
        """
        self._batches.append(Batch(step, name, rows))
        self._columns.clear()
        with observed(self._see):
            yield

    def check(self, loss: torch.Tensor) -> None:
        """Judge the batch whose loss this is.

        Raises:
            TrainingError: it is no number, or all documents have had the same vector for several steps.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise self._diverged(f"the loss is {value}")
        spread = self._spread()
        if spread is None:
            return
        if self._started_with is None:
            self._started_with = spread
        if spread < WARN_SPREAD and spread < WARN_SHRUNK * self._started_with and not self._warned:
            self._warned = True
            logger.warning(
                "step %d: vectors collapse: the mean cosine of the batch's different documents is %.3f, at the start "
                "it was %.3f. The usual cause is a high learning rate: training.learning_rate is %g. Batch: %s",
                self._batches[-1].step, 1 - spread, 1 - self._started_with, self._rate,
                self._describe(self._batches[-1:]),
            )  # fmt: skip
        collapsed = spread < STOP_SPREAD and spread < STOP_SHRUNK * self._started_with
        self._collapsed_steps = self._collapsed_steps + 1 if collapsed else 0
        if self._collapsed_steps >= STOP_AFTER:
            raise self._diverged(
                f"all documents have nearly the same vector, for {STOP_AFTER} batches in a row: their mean cosine is "
                f"{1 - spread:.4f}, at the start it was {1 - self._started_with:.3f}"
            )

    def figures(self) -> dict[str, float]:
        """Cosines of the last batch, for the log: their mean, and the values that 10 % and 90 % of them are below.

        ``cosine_documents``: of different documents with each other; ``cosine_pairs``: of the two texts of a row;
        ``cosine_others``: of the first text of a row with the second of other rows; ``cosine_negatives``: of the first
        texts with all negatives that the data names. Where a batch has one column of texts, only the first of these.
        """
        found: dict[str, float] = {}
        spread = self._spread()
        if spread is not None:
            found[WATCHED] = 1 - spread
        if len(self._columns) < 2 or len(self._columns[0][1]) != len(self._columns[1][1]):
            return found
        (_, anchors), (other_ids, others), *negatives = self._columns
        cosines = anchors @ others.T  # (rows, rows)
        pairs = cosines.diagonal()
        same = _numbers(other_ids)
        found |= _summary("cosine_pairs", pairs)
        found |= _summary("cosine_others", cosines[same[:, None] != same[None]])
        for _, vectors in negatives[:1]:
            found |= _summary("cosine_negatives", anchors @ vectors.T)
        return found

    def _see(self, model: Any, features: dict[str, torch.Tensor], vectors: torch.Tensor) -> None:
        if model is self.model:
            unit = torch.nn.functional.normalize(vectors.float(), dim=1)
            self._columns.append((features["input_ids"], unit))

    def _spread(self) -> float | None:
        """1 - the mean cosine of the batch's different documents; None where there are fewer than two."""
        if not self._columns:
            return None
        ids, vectors = self._columns[:2][-1]
        numbers = _numbers(ids)
        count = int(numbers.max()) + 1
        if count < 2:
            return None
        first = torch.full((count,), len(numbers), device=numbers.device)
        first.scatter_reduce_(0, numbers, torch.arange(len(numbers), device=numbers.device), "amin")
        # The sum over all pairs, without making them.
        total = vectors[first].sum(0).square().sum()
        return 1 - float((total - count) / (count * (count - 1)))

    def _diverged(self, what: str, batches: Sequence[Batch] = ()) -> TrainingError:
        precision = ", compute with model.precision: float32" if self._bf16 else ""
        return TrainingError(
            f"step {self._batches[-1].step}: {what}. Batch: {self._describe(batches or self._batches[-1:])}",
            hint=f"lower training.learning_rate, which is {self._rate:g}{precision}, or look at these texts.",
        )

    def _describe(self, batches: Sequence[Batch]) -> str:
        """The rows and first texts of batches, in words."""
        parts = []
        for batch in batches:
            rows = batch.rows.tolist() if isinstance(batch.rows, torch.Tensor) else list(batch.rows)
            listed = ", ".join(map(str, rows[:ROWS_NAMED]))
            more = f" and {len(rows) - ROWS_NAMED} more" if len(rows) > ROWS_NAMED else ""
            texts = [repr(self.text_of(batch.name, row)[:QUOTED_LENGTH]) for row in rows[:TEXTS_QUOTED]]
            of = f" of {batch.name}" if batch.name else ""
            parts.append(f"rows {listed}{more}{of}, which begin with {', '.join(texts)}")
        return "; ".join(parts) + "."


def _numbers(ids: torch.Tensor) -> torch.Tensor:
    """A number for each row of tokens, from 0; equal rows have equal numbers."""
    numbers: torch.Tensor = torch.unique(ids, dim=0, return_inverse=True)[1]
    return numbers


def _summary(name: str, cosines: torch.Tensor) -> dict[str, float]:
    if not cosines.numel():
        return {}
    values = cosines.cpu().numpy()
    low, high = np.quantile(values, [0.1, 0.9])
    return {name: float(values.mean()), f"{name}_p10": float(low), f"{name}_p90": float(high)}
