"""Candidates that repeat a known positive in nearly the same words, found among the few that were chosen.

Two texts are near duplicates as in `embedft.data.near`: by the Jaccard index of their shingles. Here pairs are given,
so their indexes are computed, exactly and many at once, where the number of shingles alone does not rule it out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedft.data.near import normalised, shingle_hashes
from embedft.index.nearest import Rows
from embedft.training.mining.negatives import RowLists

# Shingles at once; 8 bytes each, a few times over.
SHINGLES_AT_ONCE = 2**22


class NearPositives:
    """Says which documents are near duplicates of a known positive of a query.

    Args:
        texts: of the documents.
        positives: rows of the known positives of each query.
        threshold: lowest Jaccard index of near duplicates, 0..1.
    """

    def __init__(self, texts: Sequence[str], positives: RowLists, threshold: float) -> None:
        self.texts = texts
        self.positives = positives
        self.threshold = threshold

    def __call__(self, queries: Rows, rows: Rows) -> np.ndarray:
        """Whether each row is a near duplicate for its query, (n,) bool."""
        counts = self.positives.counts[queries]
        number = np.repeat(np.arange(len(queries)), counts)
        inner = np.arange(len(number)) - np.repeat(np.cumsum(counts) - counts, counts)
        positives = self.positives.rows[self.positives.starts[queries][number] + inner]
        pairs, place = np.unique(np.stack([rows[number], positives], 1), axis=0, return_inverse=True)
        alike = near_duplicates(self.texts, pairs, self.threshold)[place.reshape(-1)]
        return np.bincount(number[alike], minlength=len(queries)) > 0


def near_duplicates(texts: Sequence[str], pairs: Rows, threshold: float) -> np.ndarray:
    """Whether the two texts of each pair are near duplicates, (p,) bool.

    Args:
        texts: any number.
        pairs: indices of texts, (p, 2).
        threshold: lowest Jaccard index, 0..1.
    """
    found = np.zeros(len(pairs), bool)
    begin = 0
    lengths = np.array([len(texts[left]) + len(texts[right]) for left, right in pairs.tolist()], np.int64)
    ends = np.cumsum(lengths)
    while begin < len(pairs):
        before = int(ends[begin - 1]) if begin else 0
        end = max(int(np.searchsorted(ends, before + SHINGLES_AT_ONCE, "right")), begin + 1)
        found[begin:end] = _near(texts, pairs[begin:end], threshold)
        begin = end
    return found


def _near(texts: Sequence[str], pairs: Rows, threshold: float) -> np.ndarray:
    used, place = np.unique(pairs, return_inverse=True)
    place = place.reshape(-1, 2)
    hashes, starts = shingle_hashes([normalised(texts[number]) for number in used.tolist()])
    owner = np.repeat(np.arange(len(used), dtype=np.uint64), np.diff(starts))
    # Sorted by text, each shingle of a text once.
    shingles = np.unique((owner << np.uint64(32)) | hashes)
    sizes = np.bincount((shingles >> np.uint64(32)).astype(np.int64), minlength=len(used))
    begins = np.cumsum(sizes) - sizes
    left, right = sizes[place].T
    possible = np.flatnonzero(np.minimum(left, right) >= threshold * np.maximum(left, right))
    both = place[possible].reshape(-1)
    number = np.repeat(np.arange(len(both)), sizes[both])
    inner = np.arange(len(number)) - np.repeat(np.cumsum(sizes[both]) - sizes[both], sizes[both])
    of_pair = (number // 2).astype(np.uint64) << np.uint64(32)
    joined = np.sort(of_pair | (shingles[begins[both][number] + inner] & np.uint64(0xFFFFFFFF)))
    twice = joined[:-1][joined[1:] == joined[:-1]]
    shared = np.bincount((twice >> np.uint64(32)).astype(np.int64), minlength=len(possible))
    found = np.zeros(len(pairs), bool)
    found[possible] = shared >= threshold * (left[possible] + right[possible] - shared)
    return found
