"""transformers' own modules on a flat token stream, through its `AttentionInterface`: training, and other families.

The stream is one row, ``(1, tokens)``; position ids restart with each text, no mask is built, and attention is
`embedft.encoder.attention.attend`. A model whose attention does not go through the interface, or whose vectors come
out different, runs on batches padded to a token budget instead.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from embedft.encoder.attention import attend
from embedft.encoder.layout import Layout, flatten

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("embedft")

# A text longer than the window is among those that a model is tried with, unless that alone would take long.
LONGEST_PROBED_WINDOW = 256

NAME = "embedft_unpadded"
LAYOUT = "embedft_layout"
# What was found out about each model: whether it runs flat, and its first position id.
_PROBED: WeakKeyDictionary[Any, tuple[bool, int]] = WeakKeyDictionary()
_NO_MASKS: ContextVar[bool] = ContextVar("embedft_no_masks", default=False)


def attention(
    _module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: Any,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """`attend` in the signature of transformers' attention functions.

    Args:
        query: (1, heads, tokens, dim).
        key: as query.
        value: as query.
        scaling: of the scores.
        dropout: share of the attention weights that is dropped.
        sliding_window: transformers' number, one more than the tokens to each side.
        options: holds the layout under ``embedft_layout``.
    """
    import torch

    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    if not torch.is_inference_mode_enabled() and query.dtype != torch.float32 and query.device.type == "cpu":
        q, k, v = q.float(), k.float(), v.float()
    window = None if sliding_window is None else sliding_window - 1
    with torch.autocast(query.device.type, enabled=False):
        output = attend(q, k, v, options[LAYOUT], window=window, scale=scaling, dropout=dropout)
    return output[None].to(value.dtype), None


class FlatTransformer:
    """transformers' model of a sentence-transformers module, run without padding where that gives the same states.

    Attributes:
        model: transformers' model.
        unpadded: whether it runs on the flat stream.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        if model not in _PROBED:
            self._first_position, self.unpadded = 0, False
            _PROBED[model] = (self._probe(), self._first_position)
            if not _PROBED[model][0]:
                logger.info(
                    "%s does not run on a flat token stream: batches are padded to a token budget", type(model).__name__
                )
        self.unpadded, self._first_position = _PROBED[model]

    def states(self, input_ids: torch.Tensor, layout: Layout) -> torch.Tensor:
        """The last layer's state of each token, (tokens, hidden), of a flat stream of ids, (tokens,)."""
        if not self.unpadded:
            return self._padded_states(input_ids, layout)
        positions = layout.positions(input_ids.device) + self._first_position
        with _without_masks():
            output = self.model(input_ids=input_ids[None].long(), position_ids=positions[None], **{LAYOUT: layout})
        states: torch.Tensor = output.last_hidden_state[0]
        return states

    def _padded_states(self, input_ids: torch.Tensor, layout: Layout) -> torch.Tensor:
        import torch

        lengths = torch.tensor(layout.lengths, device=input_ids.device)
        mask = torch.arange(max(layout.lengths), device=input_ids.device) < lengths[:, None]
        padded = torch.zeros(mask.shape, dtype=torch.int64, device=input_ids.device)
        padded[mask] = input_ids.long()
        states: torch.Tensor = self.model(input_ids=padded, attention_mask=mask.long()).last_hidden_state
        return states[mask]

    def _probe(self) -> bool:
        """Whether the flat stream gives the states that the padded batch gives; finds the first position id."""
        import torch

        if self.model.config._attn_implementation not in ("sdpa", NAME):
            return False
        _register()
        before, self.model.config._attn_implementation = self.model.config._attn_implementation, NAME
        training = self.model.training
        self.model.eval()
        device = next(self.model.parameters()).device
        words = int(getattr(self.model.config, "vocab_size", 0)) or 100
        window = getattr(self.model.config, "sliding_window", None)
        lengths = [9, 5, 5, 2]
        if isinstance(window, int) and window <= LONGEST_PROBED_WINDOW:
            lengths.insert(0, 2 * window + 9)
        rows = [(torch.arange(length, dtype=torch.int32) * 7 + 11).remainder(words).numpy() for length in lengths]
        pad = getattr(self.model.config, "pad_token_id", None)
        tolerance = 1e-4 if next(self.model.parameters()).dtype == torch.float32 else 2e-2
        try:
            # Outside any autocast: it would keep the casts it makes here, which know no gradient, for training.
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                ids, layout = flatten(rows, device)
                padded = self._padded_states(ids, layout).float()
                # RoBERTa-like models count positions from the padding id onwards.
                for first in (0, int(pad or 0) + 1):
                    self._first_position, self.unpadded = first, True
                    if torch.allclose(self.states(ids, layout).float(), padded, rtol=tolerance, atol=tolerance):
                        return True
        except (TypeError, ValueError, KeyError, RuntimeError, IndexError, AttributeError) as error:
            logger.debug("the flat token stream failed: %s", error)
        finally:
            self.model.train(training)
        self.model.config._attn_implementation = before
        return False


@contextmanager
def _without_masks() -> Iterator[None]:
    """Let transformers build no mask: the layout says what sees what."""
    token = _NO_MASKS.set(True)
    try:
        yield
    finally:
        _NO_MASKS.reset(token)


def _register() -> None:
    """Make our attention known to transformers; without a layout it is its own SDPA attention."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def forward(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> Any:
        if LAYOUT in options:
            return attention(module, query, key, value, attention_mask, **options)
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)

    def mask(*args: Any, **options: Any) -> Any:
        return None if _NO_MASKS.get() else sdpa_mask(*args, **options)

    AttentionInterface.register(NAME, forward)
    AttentionMaskInterface.register(NAME, mask)
