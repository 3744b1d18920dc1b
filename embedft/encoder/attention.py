"""Attention on a flat token stream: each group of equal-length texts is one call of PyTorch's kernel, without padding.

Three things make it fast on a CPU; figures for 12 heads of 32 and 4,096 tokens on 2 cores with AMX:

- The kernel is slow where the number of keys is not a multiple of its vector width (24 keys take 4.7 ms, 32 take 2.2).
  In inference each text's keys therefore begin some tokens early, in the text before it, and those are masked. Nothing
  is copied or padded for it: the keys are an overlapping view of the stream.
- Local layers cut texts much longer than their window into blocks that see their neighbourhood only, so that their
  cost grows with the length and not with its square.
- In training under bf16, attention alone runs in fp32: PyTorch's CPU gradient of attention is several times slower in
  bf16 (16 texts of 128 tokens: 41 ms against 13), and fp32 is the more exact of the two.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from embedft.encoder.layout import Layout

# Keys a call is rounded up to: 16 fp32 numbers are one AVX-512 register.
KEY_STEP = 16
# Queries of a block in local layers, and the length from which blocks are faster than one masked call.
BLOCK = 64
BLOCKS_FROM = 256


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    layout: Layout,
    *,
    window: int | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> torch.Tensor:
    """Each text's tokens attend to the tokens of that text, (tokens, heads, dim).

    Differentiable; gradients are those of padded attention with a mask.

    Args:
        query: (tokens, heads, dim), the last dimension contiguous.
        key: as query.
        value: as query.
        layout: of the stream.
        window: tokens to each side that a token sees; None for all.
        scale: of the scores; None for 1 / sqrt(dim).
        dropout: share of the attention weights that is dropped.
    """
    import torch

    if query.is_cuda and dropout == 0.0 and (varlen := _varlen(query.dtype)):
        ends = torch.tensor([*layout.starts.tolist(), layout.tokens], dtype=torch.int32, device=query.device)
        longest, sides = max(layout.lengths), (-1, -1) if window is None else (window, window)
        flat: torch.Tensor = varlen(query, key, value, ends, ends, longest, longest, scale=scale, window_size=sides)
        return flat
    # The views of the groups: split, since the gradient of a slice is as large as what was sliced.
    sizes = [group.texts * group.length for group in layout.groups]
    parts = zip(*(torch.split(tensor, sizes) for tensor in (query, key, value)), layout.groups, strict=True)
    # In inference alone: gradient caching needs the same random numbers with gradients and without.
    aligned = torch.is_inference_mode_enabled() and not query.is_cuda
    outputs = []
    for q, k, v, group in parts:
        length = group.length
        if window is not None and length >= BLOCKS_FROM and length > 2 * window:
            texts = zip(torch.split(q, length), torch.split(k, length), torch.split(v, length), strict=True)
            outputs += [_in_blocks(*text, window=window, scale=scale, dropout=dropout) for text in texts]
            continue
        extra = -length % KEY_STEP if aligned else 0
        if extra and group.start >= extra:
            k, v = key[group.start - extra : group.end], value[group.start - extra : group.end]
        elif extra:
            k, v = (torch.nn.functional.pad(tensor, (0, 0, 0, 0, extra, 0)) for tensor in (k, v))
        seen = window if window is not None and length > window + 1 else None
        mask = _mask(extra, seen, length, q) if extra or seen is not None else None
        q = _by_text(q, group.texts)  # (texts, heads, length, dim)
        if extra:
            k, v = (tensor.unfold(0, length + extra, length).transpose(2, 3) for tensor in (k, v))
        else:
            k, v = (_by_text(tensor, group.texts) for tensor in (k, v))
        output = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale
        )
        outputs.append(output.transpose(1, 2).flatten(0, 1))
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


def _by_text(tensor: torch.Tensor, texts: int) -> torch.Tensor:
    """Rows of equal-length texts, (texts * length, heads, dim), as (texts, heads, length, dim), a view."""
    rows, heads, dim = tensor.shape
    return tensor.view(texts, rows // texts, heads, dim).transpose(1, 2)


def _in_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, window: int, scale: float | None, dropout: float
) -> torch.Tensor:
    """Attention of one text within ``window`` tokens to each side, (length, heads, dim), block by block."""
    import torch

    length = len(query)
    blocks = -(-length // BLOCK)
    rest = blocks * BLOCK - length
    pad = torch.nn.functional.pad
    q = _by_text(pad(query, (0, 0, 0, 0, 0, rest)), blocks)
    k, v = (
        pad(tensor, (0, 0, 0, 0, window, window + rest)).unfold(0, BLOCK + 2 * window, BLOCK).transpose(2, 3)
        for tensor in (key, value)
    )  # (blocks, heads, BLOCK + 2 * window, dim), overlapping
    output = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=_block_mask(length, window, q.dtype, q.device), dropout_p=dropout, scale=scale
    )
    return output.transpose(1, 2).flatten(0, 1)[:length]


def _mask(extra: int, window: int | None, length: int, like: torch.Tensor) -> torch.Tensor:
    """0 where a query sees a key and -inf where not, (1, 1, 1 or length, extra + length)."""
    if window is None:
        return _master_mask(extra, None, like.dtype, like.device, _rounded(length))[None, None, :1, : extra + length]
    master = _master_mask(extra, window, like.dtype, like.device, _rounded(length))
    return master[None, None, :length, : extra + length]


def _rounded(length: int) -> int:
    """The size of the master mask that a length is cut from: few sizes, so that few masks are kept."""
    return max(1 << (length - 1).bit_length(), 256)


@lru_cache(maxsize=256)
def _master_mask(extra: int, window: int | None, dtype: torch.dtype, device: torch.device, size: int) -> torch.Tensor:
    """The mask for texts of up to ``size`` tokens whose keys begin ``extra`` tokens early; a corner for shorter."""
    import torch

    with torch.inference_mode(False):
        queries = torch.arange(size if window is not None else 1, device=device)[:, None]
        keys = torch.arange(size + extra, device=device)[None] - extra
        seen = (keys >= 0).expand(len(queries), -1)
        if window is not None:
            seen = seen & ((queries - keys).abs() <= window)
        return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, -torch.inf)


# As many as the lengths that the batches in work have: a mask of 8,192 tokens is 6 MB in fp32.
@lru_cache(maxsize=24)
def _block_mask(length: int, window: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """0 where a query sees a key and -inf where not, (blocks, 1, BLOCK, BLOCK + 2 * window)."""
    import torch

    with torch.inference_mode(False):
        blocks = -(-length // BLOCK)
        queries = torch.arange(blocks * BLOCK, device=device).view(blocks, BLOCK, 1)
        keys = torch.arange(BLOCK + 2 * window, device=device) - window
        keys = keys + BLOCK * torch.arange(blocks, device=device)[:, None, None]  # (blocks, 1, keys)
        # A query past the end sees what is not there: without any key its softmax would be NaN, and so the gradients.
        inside = (keys >= 0) & (keys < length) | (queries >= length)
        seen = inside & ((queries - keys).abs() <= window)
        return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill_(~seen, -torch.inf)[:, None]


def _varlen(dtype: torch.dtype) -> Any:
    """The GPU kernel for texts of any lengths in one call, or None where this PyTorch or this type has none."""
    import torch

    if dtype not in (torch.bfloat16, torch.float16) or torch.cuda.get_device_capability() < (8, 0):
        return None
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn
