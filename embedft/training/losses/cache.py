"""Gradient caching: the loss of a large batch with the activations of one chunk in memory.

Three steps (Gao et al. 2021, arXiv:2101.06983): (1) embed every chunk without keeping activations; (2) compute the loss
from all vectors and its gradient for each vector; (3) when the loss is differentiated, embed each chunk again, with
activations, and send its vectors' gradients through it. One chunk's activations are alive at a time, which bounds the
memory; every token is embedded twice, which is the price. The random state of step 1 is replayed in step 3, so that
dropout drops the same.

It wraps any loss that is a function of vectors, with or without weights of its own, and gives the loss and the
gradients that it has without the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from embedft.encoder.differentiable import TRAINING_TOKEN_BUDGET, chunks, embed_chunk, flat_transformer, tell_observer
from embedft.encoder.layout import Layout

Features = dict[str, torch.Tensor]
FromVectors = Callable[[Sequence[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Chunk:
    """A chunk of one column: its rows there, its tokens, and the random state before it was embedded."""

    column: int
    rows: torch.Tensor
    ids: torch.Tensor
    layout: Layout
    random_state: list[torch.Tensor]


def cached_loss(
    model: Any,
    features: Sequence[Features],
    loss_of: FromVectors,
    budget: int = TRAINING_TOKEN_BUDGET,
    *,
    weights: Sequence[torch.nn.Parameter] = (),
) -> torch.Tensor:
    """``loss_of`` the vectors of each column, a scalar whose ``backward`` fills the gradients of model and loss.

    Args:
        model: a SentenceTransformer.
        features: for each column ``input_ids`` and ``attention_mask``, (rows, longest).
        loss_of: from the columns' vectors, each (rows, dim) in fp32, to the loss.
        budget: tokens a chunk.
        weights: of the loss itself.
    """
    padded = not flat_transformer(model).unpadded
    kept: list[Chunk] = []
    columns: list[torch.Tensor] = []
    with torch.no_grad():
        for number, column in enumerate(features):
            parts, order = [], []
            for rows, ids, layout in chunks(column, budget, padded=padded):
                kept.append(Chunk(number, rows, ids, layout, _random_state(ids.device)))
                parts.append(embed_chunk(model, ids, layout))
                order.append(rows)
            columns.append(torch.cat(parts)[torch.argsort(torch.cat(order))])
            tell_observer(model, column, columns[-1])
    if not torch.is_grad_enabled():
        return loss_of(columns)
    with torch.enable_grad():
        leaves = [column.requires_grad_() for column in columns]
        loss = loss_of(leaves)
        trained = [weight for weight in weights if weight.requires_grad]
        gradients = torch.autograd.grad(loss, [*leaves, *trained], allow_unused=True)
    device = loss.device.type
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

    def replay(scale: torch.Tensor) -> None:
        for weight, gradient in zip(trained, gradients[len(leaves) :], strict=True):
            if gradient is not None:
                weight.grad = gradient * scale if weight.grad is None else weight.grad + gradient * scale
        with torch.random.fork_rng(devices=[loss.device] if device == "cuda" else []), torch.enable_grad():
            for chunk in kept:
                gradient = gradients[chunk.column]
                if gradient is None:
                    continue
                _set_random_state(chunk.random_state, loss.device)
                with torch.autocast(device, dtype=dtype, enabled=enabled):
                    vectors = embed_chunk(model, chunk.ids, chunk.layout)
                torch.autograd.backward(vectors, gradient[chunk.rows] * scale)

    value: Any = loss.detach().requires_grad_()
    value.register_hook(replay)
    whole: torch.Tensor = value
    return whole


def _random_state(device: torch.device) -> list[torch.Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random_state(states: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1], device)
