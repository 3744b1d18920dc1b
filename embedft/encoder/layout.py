"""The flat token stream: texts one after the other, without a padding token, and where each of them stands.

Texts of one length stand side by side, so that attention takes each such group in one call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Group:
    """Texts of equal length that stand side by side: first token, number of texts, tokens of each."""

    start: int
    texts: int
    length: int

    @property
    def end(self) -> int:
        """One past the last token."""
        return self.start + self.texts * self.length


@dataclass(frozen=True)
class Layout:
    """Where each text of a flat stream stands.

    Attributes:
        lengths: tokens of each text, in the order of the stream; at least 1 each.
    """

    lengths: tuple[int, ...]

    @cached_property
    def tokens(self) -> int:
        """Tokens of the stream."""
        return sum(self.lengths)

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """Runs of texts of equal length, in the order of the stream."""
        groups, start = [], 0
        for length, run in groupby(self.lengths):
            groups.append(Group(start, len(list(run)), length))
            start = groups[-1].end
        return tuple(groups)

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """The first token of each text, (texts,)."""
        return np.concatenate([[0], np.cumsum(self.lengths[:-1], dtype=np.int64)])

    def positions(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """The position of each token in its text, (tokens,) int64."""
        import torch

        positions = np.arange(self.tokens) - np.repeat(self.starts, self.lengths)
        return torch.from_numpy(positions).to(device)


def flatten(rows: Sequence[Ids], device: torch.device | str = "cpu") -> tuple[torch.Tensor, Layout]:
    """The token ids of ``rows`` as one stream, (tokens,) int32, and its layout."""
    import torch

    return torch.from_numpy(np.concatenate(rows)).to(device), Layout(tuple(map(len, rows)))


def pack(lengths: Sequence[int], budget: int, *, padded: bool = False) -> Iterator[npt.NDArray[np.int64]]:
    """Yield index arrays that together name every row once, longest rows first.

    Each batch has at most ``budget`` tokens, or is one longer row.

    Args:
        lengths: tokens of each row.
        budget: tokens a batch.
        padded: count each row as long as the longest of its batch.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-sizes, kind="stable")
    ends = np.cumsum(sizes[order])
    start = 0
    while start < len(order):
        if padded:
            stop = start + max(budget // max(int(sizes[order[start]]), 1), 1)
        else:
            done = int(ends[start - 1]) if start else 0
            stop = max(int(np.searchsorted(ends, done + budget, side="right")), start + 1)
        yield order[start:stop]
        start = stop
