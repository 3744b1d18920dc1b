"""Exact and near duplicates among many texts: equal, equal after normalisation, or alike by MinHash.

Two texts are near duplicates if their sets of shingles (runs of `SHINGLE` bytes of the normalised text) have a Jaccard
index of at least the threshold. Candidates come from MinHash signatures cut into bands (locality-sensitive hashing);
each candidate is then checked by its exact index, so what is reported is true, and what is missed is rare: at an index
of 0.85 a pair escapes all 16 bands of 4 with a probability of 1e-5.

Source: Broder 1997, On the resemblance and containment of documents; Leskovec, Rajaraman, Ullman 2020, Mining of
Massive Datasets, ch. 3. Signatures are computed for blocks of shingles that stay in the processor's cache.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from embedft.progress import progress

SHINGLE = 5
BANDS, BAND = 16, 4
THRESHOLD = 0.85
# Shingles a block: 64-bit hashes of half a megabyte.
BLOCK = 2**16
# In a bucket of more texts than this, each is compared with the first few alone.
BUCKET, FIRSTS = 64, 4

Item = TypeVar("Item", bound=Hashable)
VARIATION_SELECTORS = frozenset((*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))
ASCII_FOLD = str.maketrans({chr(code): " " for code in range(128) if not chr(code).isalnum()})


class _Signs(dict[int, int]):
    """For `str.translate`: a space for whatever is no letter, number or mark of a letter; found as signs are met."""

    def __missing__(self, code: int) -> int:
        sign = chr(code)
        # Without its marks a word of Hindi or Thai is another word; those that choose the form of an emoji say nothing.
        mark = unicodedata.category(sign) in ("Mn", "Mc") and code not in VARIATION_SELECTORS
        self[code] = code if sign.isalnum() or mark else ord(" ")
        return self[code]


SIGNS = _Signs()


def normalised(text: str) -> str:
    """``text`` without what no reader minds: case, punctuation, white space, compatibility forms.

    A text of signs alone keeps them.
    """
    if text.isascii():
        folded = " ".join(text.translate(ASCII_FOLD).lower().split())
    else:
        folded = " ".join(unicodedata.normalize("NFKC", text).casefold().translate(SIGNS).split())
    return folded or " ".join(text.split())


def near_pairs(
    texts: Sequence[str], threshold: float = THRESHOLD, *, seed: int = 0, show_progress: bool = False
) -> np.ndarray:
    """Pairs of near duplicates, (pairs, 2) int64, the smaller index first, sorted.

    Args:
        texts: n distinct normalised texts.
        threshold: lowest Jaccard index, 0..1.
        seed: of the hash functions.
        show_progress: on standard error.
    """
    if len(texts) < 2:
        return np.empty((0, 2), np.int64)
    hashes, starts = shingle_hashes(texts)
    signatures = _signatures(hashes, starts, seed, show_progress=show_progress)
    candidates = _candidates(signatures, threshold - 0.2)
    del signatures
    found = [pair for pair in candidates if _jaccard(hashes, starts, *pair) >= threshold]
    return np.array(found, np.int64).reshape(-1, 2)


def shingle_hashes(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """32-bit hashes of the shingles of each text, one after the other, and where each text begins.

    A text shorter than a shingle counts as one shingle.

    Returns:
        hashes (shingles,) uint32; starts (n + 1,) int64.
    """
    raw = [text.encode("utf-8", "surrogatepass").ljust(SHINGLE, b"\0") for text in texts]
    lengths = np.fromiter(map(len, raw), np.int64, len(raw))
    data = np.frombuffer(b"".join(raw), np.uint8)
    del raw
    begins = np.concatenate([[0], np.cumsum(lengths)])
    counts = lengths - SHINGLE + 1
    starts = np.concatenate([[0], np.cumsum(counts)])
    hashes = np.empty(starts[-1], np.uint32)
    # A window every byte, those across two texts left out, in blocks of whole texts.
    edges = np.unique(np.append(np.searchsorted(begins, np.arange(0, begins[-1], 16 * BLOCK)), len(texts)))
    for first, last in pairwise(edges.tolist()):
        part = data[begins[first] : begins[last]]
        windows = np.zeros(max(len(part) - SHINGLE + 1, 0), np.uint64)
        for place in range(SHINGLE):
            windows |= part[place : len(part) - SHINGLE + 1 + place].astype(np.uint64) << np.uint64(8 * place)
        keep = np.ones(len(windows), bool)
        inner = (begins[first + 1 : last] - begins[first])[:, None] - np.arange(1, SHINGLE)
        keep[inner.ravel()] = False
        # A multiplication and a shift spread 40 bits over 32 (Dietzfelbinger's multiply-shift).
        mixed = windows[keep] * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
        mixed *= np.uint64(0xBF58476D1CE4E5B9)
        hashes[starts[first] : starts[last]] = (mixed >> np.uint64(32)).astype(np.uint32)
    return hashes, starts


def _signatures(hashes: np.ndarray, starts: np.ndarray, seed: int, *, show_progress: bool) -> np.ndarray:
    """Minimum of each hash function over the shingles of each text, (n, BANDS * BAND) uint32."""
    random = np.random.default_rng(seed)
    factors = random.integers(0, 2**31, BANDS * BAND, np.int64).astype(np.uint32) * np.uint32(2) + np.uint32(1)
    offsets = random.integers(0, 2**32, BANDS * BAND, np.int64).astype(np.uint32)
    count = len(starts) - 1
    signatures = np.empty((count, BANDS * BAND), np.uint32)
    edges = np.unique(np.append(np.searchsorted(starts[:-1], np.arange(0, starts[-1], BLOCK)), count))
    with progress("signatures", count, "texts", enabled=show_progress) as advance:
        for first, last in pairwise(edges.tolist()):
            part = hashes[starts[first] : starts[last]]
            begins = starts[first:last] - starts[first]
            scratch = np.empty_like(part)
            for number, (factor, offset) in enumerate(zip(factors, offsets, strict=True)):
                np.bitwise_xor(part, offset, out=scratch)
                np.multiply(scratch, factor, out=scratch)
                signatures[first:last, number] = np.minimum.reduceat(scratch, begins)
            advance(last - first)
    return signatures


def _candidates(signatures: np.ndarray, agreement: float) -> np.ndarray:
    """Pairs that agree in all rows of a band, and in a share of at least ``agreement`` of all rows, (pairs, 2), sorted.

    The share estimates the Jaccard index with a standard error of at most 0.0625.
    """
    count = len(signatures)
    codes = np.empty(0, np.int64)
    for band in range(BANDS):
        new = np.unique(np.concatenate([codes, *_same_band(signatures[:, band * BAND : (band + 1) * BAND])]))
        new = np.setdiff1d(new, codes, assume_unique=True)
        alike = np.empty(len(new), bool)
        for begin in range(0, len(new), BLOCK):
            left, right = np.divmod(new[begin : begin + BLOCK], count)
            alike[begin : begin + BLOCK] = (signatures[left] == signatures[right]).mean(1) >= agreement
        codes = np.union1d(codes, new[alike])
    return np.stack(np.divmod(codes, count), 1)


def _same_band(rows: np.ndarray) -> list[np.ndarray]:
    """Codes (smaller index times n, plus the larger one) of pairs with equal rows."""
    count = len(rows)
    key = np.zeros(count, np.uint64)
    for place in range(rows.shape[1]):
        key = (key ^ rows[:, place]) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(32)
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    edges = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    sizes = np.diff(edges)
    position = np.arange(count) - np.repeat(edges[:-1], sizes)
    size_of = np.repeat(sizes, sizes)
    found = []
    # Each text with those before it in its bucket: all of them in a small bucket, the first ones in a large one. The
    # sort is stable, so the smaller index comes first.
    small = np.flatnonzero((position > 0) & (size_of <= BUCKET))
    for step in range(1, BUCKET):
        small = small[position[small] >= step]
        if not len(small):
            break
        found.append(order[small - step] * count + order[small])
    large = np.flatnonzero((size_of > BUCKET) & (position > 0))
    for step in range(FIRSTS if len(large) else 0):
        later = large[position[large] > step]
        found.append(order[later - position[later] + step] * count + order[later])
    return found


def _jaccard(hashes: np.ndarray, starts: np.ndarray, left: int, right: int) -> float:
    one = set(hashes[starts[left] : starts[left + 1]].tolist())
    other = set(hashes[starts[right] : starts[right + 1]].tolist())
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def groups(count: int, pairs: Iterable[Sequence[int]]) -> np.ndarray:
    """The smallest index that each of ``count`` items is linked with, directly or through others, (count,) int64."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = np.array(list(pairs), np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(count, count))
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)
    return np.asarray(first[component])


def duplicate_groups(
    texts: Sequence[str], threshold: float | None = THRESHOLD, *, show_progress: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each text repeats, as the smallest index of its group.

    Args:
        texts: n texts.
        threshold: lowest Jaccard index of near duplicates; None looks for exact and normalised ones alone.
        show_progress: on standard error.

    Returns:
        three (n,) int64: by equal text, by equal normalised text, by near duplicates (each contains the one before).
    """
    exact, _ = _firsts(texts)
    same, distinct = _firsts([normalised(text) for text in texts])
    if threshold is None:
        return exact, same, same
    first_of = np.unique(same)
    linked = groups(len(distinct), near_pairs(distinct, threshold, show_progress=show_progress))
    number_of = np.searchsorted(first_of, same)
    return exact, same, first_of[linked[number_of]]


def duplicate_rows(
    rows: Sequence[Sequence[str]], threshold: float | None = THRESHOLD, *, ordered: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each row of one or several texts repeats: a row repeats another if each of its texts does.

    Text by text, since joined together the longest text would decide alone.

    Args:
        rows: n rows of texts.
        threshold: as in `duplicate_groups`.
        ordered: so many texts of a row keep their places; those after them may stand in any order.

    Returns:
        three (n,) int64, as `duplicate_groups`.
    """
    texts = [text for row in rows for text in row]
    found = duplicate_groups(texts, threshold)
    if all(len(row) == 1 for row in rows):
        return found
    ends = np.cumsum([len(row) for row in rows]).tolist()
    spans = [(end - len(row), end) for row, end in zip(rows, ends, strict=True)]
    exact, same, near = (_firsts(_row_keys(first_of.tolist(), spans, ordered))[0] for first_of in found)
    return exact, same, near


def _row_keys(first_of: list[int], spans: Sequence[tuple[int, int]], ordered: int) -> list[tuple[int, ...]]:
    return [(*first_of[begin:end][:ordered], *sorted(first_of[begin:end][ordered:])) for begin, end in spans]


def _firsts(items: Sequence[Item]) -> tuple[np.ndarray, list[Item]]:
    """Index of the first equal item for each, (n,), and the distinct items in order."""
    seen: dict[Item, int] = {}
    first = np.fromiter((seen.setdefault(item, number) for number, item in enumerate(items)), np.int64, len(items))
    return first, list(seen)
