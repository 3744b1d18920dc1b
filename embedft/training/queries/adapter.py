"""The adapter of query-only tuning: a linear layer behind the query vectors, trained on vectors alone.

q' = normalise(q + A q): with A = 0 the encoder as it was. Neither documents nor queries pass through the transformer
while A is trained, so that an epoch takes seconds, and an interrupted training begins again instead of being resumed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from embedft.config import TrainingConfig
from embedft.progress import Advance
from embedft.training.queries.stored import Candidates, ranking_loss

# Chosen on dev of medquad, see docs/decisions/0006-query-only-and-anchor.md.
LEARNING_RATE = 1e-3
EPOCHS = 10


@dataclass(frozen=True)
class Adapter:
    """The layer that was best on dev.

    Attributes:
        weight: I + A, (dim, dim).
        step: after which it was so; 0 for the identity.
        value: of the metric on dev.
    """

    weight: torch.Tensor
    step: int
    value: float


def train_adapter(
    queries: torch.Tensor,
    candidates: Candidates,
    score: Callable[[torch.Tensor], float],
    *,
    settings: TrainingConfig,
    scale: float,
    base_value: float,
    metric: str,
    log: Path,
    advance: Advance,
) -> Adapter:
    """The best adapter on dev after any step that was judged: a function of its arguments, without chance.

    AdamW with a linear schedule and warm-up, judged after every epoch if nothing else is set, stopped when dev has not
    risen ``settings.patience`` times.

    Args:
        queries: the vector of each training row's anchor, (rows, dim).
        candidates: of the training rows.
        score: the metric on dev of a weight, (dim, dim).
        settings: batch size, epochs or steps, learning rate and its schedule, weight decay, seed, patience.
        scale: inverse temperature of the loss.
        base_value: the metric on dev of the identity.
        metric: its name, for the log.
        log: a file of JSON lines, begun anew.
        advance: is told the steps.
    """
    from transformers import get_linear_schedule_with_warmup

    batches = max(len(queries) // settings.batch_size, 1)
    steps = settings.max_steps or max(round((settings.epochs or EPOCHS) * batches), 1)
    every = settings.eval_every or min(batches, steps)
    advance(0, total=steps)
    identity = torch.eye(queries.shape[1], device=queries.device)
    change = torch.zeros_like(identity, requires_grad=True)
    rate = settings.learning_rate or LEARNING_RATE
    optimizer = torch.optim.AdamW([change], lr=rate, weight_decay=settings.weight_decay)
    schedule = get_linear_schedule_with_warmup(optimizer, int(settings.warmup * steps), steps)
    best, judged = Adapter(identity, 0, base_value), 0
    with log.open("w") as file:
        for step in range(1, steps + 1):
            epoch, within = divmod(step - 1, batches)
            if within == 0:
                order = np.random.default_rng([settings.seed, epoch]).permutation(len(queries))
            # What is left over at the end of an epoch waits for the next.
            rows = order[within * settings.batch_size : (within + 1) * settings.batch_size]
            chosen = queries[torch.from_numpy(rows).to(queries.device)]
            loss = ranking_loss(normalize(chosen + chosen @ change.T, dim=1), *candidates.of(rows), scale=scale)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_([change], settings.max_grad_norm)
            optimizer.step()
            schedule.step()
            advance(1)
            if step % every and step < steps:
                continue
            weight = identity + change.detach()
            value, judged = score(weight), judged + 1
            entry = {"epoch": step / batches, "loss": loss.item(), f"eval_{metric}": value, "step": step}
            file.write(json.dumps(entry) + "\n")
            file.flush()
            if value > best.value:
                best, judged = Adapter(weight, step, value), 0
            if judged >= settings.patience:
                break
    return best
