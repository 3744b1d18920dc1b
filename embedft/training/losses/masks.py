"""Which candidates of a batch must not serve as negatives, by the identity of their texts.

Comparing vectors would not do: with dropout two embeddings of one text differ (sentence-transformers' attempt to mask
by similarity 1 failed on this). So text ids travel with the batch, and what is known about them is looked up by them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

Ids = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
HASHED_AT_ONCE = 65_536


def text_ids(texts: Iterable[str]) -> torch.Tensor:
    """A 63-bit hash of each text, (n,) int64: equal texts, equal ids."""
    digests = (hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests], dtype=torch.int64)


def column_ids(column: pa.ChunkedArray) -> Ids:
    """`text_ids` of a column of strings, (rows,); each distinct text is hashed once."""
    # Large strings: together the texts of a column may be longer than 2 GB.
    chunks = column.cast(pa.large_string()).dictionary_encode().chunks
    if not chunks:
        return np.empty(0, np.int64)
    # Each chunk's dictionary is that of the whole column.
    distinct = chunks[-1].dictionary
    places = np.concatenate([chunk.indices.to_numpy(zero_copy_only=False) for chunk in chunks])
    starts = range(0, len(distinct), HASHED_AT_ONCE)
    parts = [text_ids(distinct.slice(start, HASHED_AT_ONCE).to_pylist()).numpy() for start in starts]
    ids: Ids = np.concatenate([np.empty(0, np.int64), *parts])[places]
    return ids


class PairSet:
    """Which texts belong to which anchors, by their ids: 16 bytes a pair and 16 an anchor."""

    def __init__(self, anchor_ids: Ids, other_ids: Ids) -> None:
        """Of the pairs ``anchor_ids[i]``, ``other_ids[i]``, in any order, repeated ones once."""
        order = np.lexsort((other_ids, anchor_ids))
        anchors, others = anchor_ids[order], other_ids[order]
        new = np.ones(len(anchors), bool)
        new[1:] = (anchors[1:] != anchors[:-1]) | (others[1:] != others[:-1])
        self._others = others[new]
        self._anchors, starts = np.unique(anchors[new], return_index=True)
        self._starts = np.append(starts, len(self._others))

    @classmethod
    def positives(cls, rows: pa.Table) -> PairSet:
        """Every known positive of every anchor of ``rows``, which has the columns anchor and positive."""
        return cls(column_ids(rows["anchor"]), column_ids(rows["positive"]))

    @classmethod
    def candidates(cls, rows: pa.Table) -> PairSet:
        """The positives and the negatives that ``rows`` list for each anchor."""
        anchors, others = listed_pairs(rows)
        return cls(anchors, others)

    def __len__(self) -> int:
        return len(self._others)

    def among(self, anchor_ids: Ids, candidate_ids: Ids) -> Flags:
        """Which candidates belong to which anchors, (anchors, candidates).

        It takes time for the pairs of these anchors and the size of the answer, not for all pairs there are.
        """
        anchors, anchor_of = np.unique(anchor_ids, return_inverse=True)
        candidates, candidate_of = np.unique(candidate_ids, return_inverse=True)
        table = np.zeros((len(anchors), len(candidates)), bool)
        if len(self._anchors) and table.size:
            place = np.minimum(np.searchsorted(self._anchors, anchors), len(self._anchors) - 1)
            known = np.flatnonzero(self._anchors[place] == anchors)
            starts, counts = self._starts[place[known]], np.diff(self._starts)[place[known]]
            # The ranges starts[i] .. starts[i] + counts[i], one after the other.
            before = np.cumsum(counts) - counts
            others = self._others[np.repeat(starts - before, counts) + np.arange(counts.sum())]
            column = np.minimum(np.searchsorted(candidates, others), len(candidates) - 1)
            there = candidates[column] == others
            table[np.repeat(known, counts)[there], column[there]] = True
        # Ten times faster than table[anchor_of][:, candidate_of].
        flags: Flags = np.take(table[anchor_of], candidate_of, axis=1)
        return flags


def negatives_of(rows: pa.Table) -> tuple[pa.ChunkedArray, Ids]:
    """All negatives of ``rows``, row after row, and the number of the row that each belongs to."""
    counts = pc.fill_null(pc.list_value_length(rows["negatives"]), 0).to_numpy()
    return pc.list_flatten(rows["negatives"]), np.repeat(np.arange(rows.num_rows), counts)


def listed_pairs(rows: pa.Table) -> tuple[Ids, Ids]:
    """Ids of anchor and candidate of all (anchor, positive), then of all (anchor, negative) of ``rows``."""
    anchors, positives = column_ids(rows["anchor"]), column_ids(rows["positive"])
    negatives, row_of = negatives_of(rows)
    return np.concatenate([anchors, anchors[row_of]]), np.concatenate([positives, column_ids(negatives)])


class Relations:
    """What the ids of a batch say about its texts: who is whose positive, and which texts are the same.

    Candidates are all positives of the batch, then all negatives.
    """

    def __init__(
        self,
        anchor_ids: torch.Tensor,
        positive_ids: torch.Tensor,
        negative_ids: torch.Tensor,
        known: PairSet | None = None,
    ) -> None:
        """Of a batch.

        Args:
            anchor_ids: (batch,) text ids.
            positive_ids: (batch,).
            negative_ids: (negatives,), of all rows together.
            known: positives of anchors anywhere in the training data; those of the batch are known without it.
        """
        self._device = anchor_ids.device
        self._anchors, self._positives = anchor_ids.cpu().numpy(), positive_ids.cpu().numpy()
        self._candidates = np.concatenate([self._positives, negative_ids.cpu().numpy()])
        # (batch, batch + negatives): the candidate is a known positive of the anchor.
        self._known = PairSet(self._anchors, self._positives).among(self._anchors, self._candidates)
        if known is not None:
            self._known |= known.among(self._anchors, self._candidates)

    def candidates(self) -> torch.Tensor:
        """True where a candidate must not be a negative of an anchor, (batch, batch + negatives).

        It equals the anchor, or a positive of it. A row's own positive is never masked.
        """
        return self._tensor(self._known | (self._anchors[:, None] == self._candidates[None]))

    def anchors(self) -> torch.Tensor:
        """True where an anchor must not be a negative of a row's positive, (batch, batch).

        It equals the row's anchor or its positive, or has this positive too. A row's own anchor is never masked.
        """
        same = self._anchors[:, None] == self._anchors[None]
        same |= self._positives[:, None] == self._anchors[None]
        return self._tensor(same | self._known[:, : len(self._anchors)].T)

    def _tensor(self, mask: Flags) -> torch.Tensor:
        mask[np.arange(len(mask)), np.arange(len(mask))] = False
        return torch.from_numpy(mask).to(self._device)


def false_negative_mask(
    anchor_ids: torch.Tensor, positive_ids: torch.Tensor, negative_ids: torch.Tensor, known: PairSet | None = None
) -> torch.Tensor:
    """`Relations.candidates` of a batch, (batch, batch + negatives)."""
    return Relations(anchor_ids, positive_ids, negative_ids, known).candidates()
