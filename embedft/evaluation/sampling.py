"""Which of many are judged, the same ones whatever order they come in, and which pairs count as the same in meaning."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# Of scores from 0 to 1, from this one on: 4 of STS' 5, "equivalent, but for details".
SAME_MEANING = 0.8


def drawn_by_hash(names: Sequence[str], most: int, seed: int = 0) -> npt.NDArray[np.int64]:
    """Rows of all ``names``, or of ``most`` of them drawn by a hash of each; ascending.

    Args:
        names: ids or texts; they may hold lone surrogates, as broken files do.
        most: how many, if there are more.
        seed: another one draws others.
    """
    if len(names) <= most:
        return np.arange(len(names))

    def draw(row: int) -> bytes:
        return hashlib.blake2b(f"{seed} {names[row]}".encode("utf-8", "surrogatepass"), digest_size=8).digest()

    return np.array(sorted(sorted(range(len(names)), key=draw)[:most]), np.int64)


def same_in_meaning(scores: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which scores of pairs, (n,) from 0 to 1, say that both texts mean the same: those from `SAME_MEANING` on."""
    return np.asarray(np.asarray(scores, np.float64) >= SAME_MEANING)
