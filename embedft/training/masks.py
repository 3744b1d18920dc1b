"""Which candidates of a batch must not serve as negatives, by the identity of their texts.

Comparing vectors would not do: with dropout two embeddings of one text differ (sentence-transformers' attempt to mask
by similarity 1 failed on this). So text ids travel with the batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch


def text_ids(texts: Iterable[str]) -> torch.Tensor:
    """A 63-bit hash of each text, (n,) int64: equal texts, equal ids."""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests], dtype=torch.int64)


def false_negative_mask(
    anchor_ids: torch.Tensor, positive_ids: torch.Tensor, negative_ids: torch.Tensor
) -> torch.Tensor:
    """True where a candidate must not be a negative of a row, (batch, batch + negatives).

    Candidates are all positives, then all negatives. Of row i, candidate j is masked if its text equals row i's
    positive or anchor, or if it is the positive of a row with the same anchor. A row's own positive is never masked.

    Args:
        anchor_ids: (batch,) text ids.
        positive_ids: (batch,).
        negative_ids: (negatives,), of all rows together.
    """
    candidates = torch.cat([positive_ids, negative_ids])  # (batch + negatives,)
    mask = (candidates[None] == positive_ids[:, None]) | (candidates[None] == anchor_ids[:, None])
    batch = len(anchor_ids)
    same_anchor = anchor_ids[:, None] == anchor_ids[None]  # (batch, batch)
    known_positive = same_anchor.float() @ (positive_ids[:, None] == candidates[None]).float() > 0
    mask = mask | known_positive
    mask[torch.arange(batch), torch.arange(batch)] = False
    return mask
