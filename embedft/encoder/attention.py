"""Attention for training in bf16 on a CPU: the same mathematics, in the precision whose gradient is fast.

PyTorch's CPU kernel computes the gradient of attention in bf16 several times slower than in fp32. Measured on 2 cores
with AMX, 12 heads of 32, 2,048 tokens, forward and backward in ms: 64 texts of 32 tokens 35 (bf16) against 5.5 (fp32),
16 of 128 41 against 13, 4 of 512 37 against 31. So everything else stays in bf16 and attention alone runs in fp32,
which is also the more exact of the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAME = "embedft_float32"


@contextmanager
def float32_attention(transformer: Any) -> Iterator[None]:
    """Let a sentence-transformers Transformer module compute its attention in fp32, whatever the autocast.

    Uses transformers' `AttentionInterface`; a model whose attention does not go through it is left as it is.
    """
    _register()
    model = transformer.model
    before = model.config._attn_implementation
    if before != "sdpa":
        yield
        return
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _register() -> None:
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **options: Any
    ) -> Any:
        with torch.autocast(query.device.type, enabled=False):
            output, weights = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **options)
        return output.to(value.dtype), weights

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
