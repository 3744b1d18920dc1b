"""Vectors with gradients: sentence-transformers' modules on the flat token stream, as training needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from embedft.encoder.head import apply_modules
from embedft.encoder.layout import Ids, Layout, flatten, pack
from embedft.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from embedft.encoder.unpadded import FlatTransformer

# Tokens a chunk. Each chunk's backward pass fills a gradient of the whole token embedding with zeros, so larger ones
# win over those of inference. Measured for a step of 32 pairs: 0.79 s at 2k, 0.76 s at 4k and 8k.
TRAINING_TOKEN_BUDGET = 4096

# Is told the model, the features and the vectors of each column of a batch.
Observer = Callable[[Any, "dict[str, torch.Tensor]", "torch.Tensor"], None]
_OBSERVER: ContextVar[Observer | None] = ContextVar("embedft_observer", default=None)


def flat_transformer(model: Any) -> FlatTransformer:
    """The flat forward pass around the transformer of a SentenceTransformer; it is tried out the first time."""
    from embedft.encoder.unpadded import FlatTransformer

    return FlatTransformer(model[0].model)


def pad_batch(rows: Sequence[Ids], pad_id: int) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``attention_mask``, (rows, longest), padded on the right, as trainers pass them."""
    import torch

    longest = max(map(len, rows))
    input_ids = torch.full((len(rows), longest), pad_id, dtype=torch.int64)
    attention_mask = torch.zeros((len(rows), longest), dtype=torch.int64)
    for index, row in enumerate(rows):
        input_ids[index, : len(row)] = torch.from_numpy(row)
        attention_mask[index, : len(row)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def embed(model: Any, features: dict[str, torch.Tensor], budget: int = TRAINING_TOKEN_BUDGET) -> torch.Tensor:
    """Vectors of padded ``features`` with gradients, (rows, dim) in fp32 and in the order of the rows.

    Args:
        model: a SentenceTransformer whose first module is the transformer.
        features: ``input_ids`` and ``attention_mask``, (rows, longest), padded on the right.
        budget: tokens a chunk; the mathematics is that of one batch, whatever it is.
    """
    import torch

    vectors, order = [], []
    for rows, ids, layout in chunks(features, budget, padded=not flat_transformer(model).unpadded):
        vectors.append(embed_chunk(model, ids, layout))
        order.append(rows)
    back = torch.argsort(torch.cat(order))
    column = torch.cat(vectors)[back]
    tell_observer(model, features, column)
    return column


def chunks(
    features: dict[str, torch.Tensor], budget: int, *, padded: bool = False
) -> Iterator[tuple[torch.Tensor, torch.Tensor, Layout]]:
    """Yield the row numbers, the flat ids and the layout of each chunk, longest rows first."""
    import torch

    ids, device = features["input_ids"].cpu().numpy().astype(np.int32), features["input_ids"].device
    lengths = features["attention_mask"].sum(dim=1).tolist()
    for rows in pack(lengths, budget, padded=padded):
        flat, layout = flatten([ids[row, : lengths[row]] for row in rows], device)
        yield torch.from_numpy(rows).to(device), flat, layout


def embed_chunk(model: Any, ids: torch.Tensor, layout: Layout) -> torch.Tensor:
    """Vectors of one flat stream, (texts, dim) in fp32: pooling and what follows it run in fp32 under any autocast."""
    import torch

    states = flat_transformer(model).states(ids, layout)
    with torch.autocast(states.device.type, enabled=False):
        return apply_modules(states, layout, list(model)[1:])


def recompute_activations(model: Any) -> None:
    """Keep the input of each layer alone while training, and compute the layer again when its gradient is needed.

    Chen et al. 2016, arXiv:1604.06174, by transformers' own layers, which the flat forward pass runs too. Gradients are
    those without it, to the bit.

    Args:
        model: a SentenceTransformer.

    Raises:
        ConfigError: the transformer's layers cannot be computed again.
    """
    transformer = model[0].model
    if not transformer.supports_gradient_checkpointing:
        raise ConfigError(
            f"training.gradient_checkpointing: {type(transformer).__name__} does not support it.",
            hint="leave it out, or use training.gradient_cache, which bounds memory too.",
        )
    transformer.activation_checkpointing_enable({"use_reentrant": False})
    # It lets the embeddings' output ask for a gradient, which only re-entrant checkpoints need: frozen layers, and all
    # below the first adapter, would be differentiated for nothing.
    transformer.disable_input_require_grads()


@contextmanager
def observed(observer: Observer) -> Iterator[None]:
    """Inside, ``observer`` is told of each column of a batch that is embedded with `embed` or the gradient cache."""
    token = _OBSERVER.set(observer)
    try:
        yield
    finally:
        _OBSERVER.reset(token)


def tell_observer(model: Any, features: dict[str, torch.Tensor], vectors: torch.Tensor) -> None:
    """Show the vectors of a whole column, (rows, dim), to whoever observes, without their gradients."""
    observer = _OBSERVER.get()
    if observer is not None:
        observer(model, features, vectors.detach())
