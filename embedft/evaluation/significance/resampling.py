"""Random resamples and exchanges of what was judged, in blocks, so that memory does not grow with their number.

Everything here draws from `numpy.random.default_rng(seed)`: same seed, same answer. Two short cuts for means are exact
in distribution, not approximations (benchmarks/coverage.py has the times):

- Two systems agree on most queries, so their differences have few distinct values. How often each *distinct* value is
  drawn is multinomial, and one draws counts of values instead of queries.
- Random signs come eight to a byte. The sum of eight signed differences has 256 values, and a table of them turns eight
  additions into one look-up (Arlazarov et al. 1970, the "four Russians").
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

ROUNDS = 10_000
# Random numbers drawn at a time; bounds the memory whatever the number of queries.
BLOCK_CELLS = 4_000_000
# Where a block is drawn, looked up and summed at once, it is faster if it stays in the processor's cache: 22 ms against
# 50 for 1,000 resamples of 10,000, measured.
CACHED_CELLS = 200_000
# A multinomial count costs about this many times a drawn row and its look-up: 90 ns against 2.2 ns, measured.
COUNT_COST = 40


def blocks(cells: int, *, rounds: int = ROUNDS, most: int = BLOCK_CELLS) -> Iterator[int]:
    """How many rounds to draw at a time, so that no block has more than ``most`` numbers; at least one.

    Args:
        cells: numbers that one round draws.
        rounds: in all.
        most: numbers of a block.
    """
    size = max(min(rounds, most // max(cells, 1)), 1)
    for start in range(0, rounds, size):
        yield min(size, rounds - start)


def resampled_rows(count: int, *, rounds: int = ROUNDS, seed: int = 0, arrays: int = 4) -> Iterator[Rows]:
    """Rows drawn with replacement, (block, count) at a time.

    Args:
        count: how many rows there are.
        rounds: resamples in all.
        seed: same seed, same rows.
        arrays: how many arrays of this size the caller makes of a block.
    """
    rng = np.random.default_rng(seed)
    for size in blocks(count, rounds=rounds, most=BLOCK_CELLS // arrays):
        yield rng.integers(0, count, (size, count))


def resampled_weights(count: int, *, rounds: int = ROUNDS, seed: int = 0, arrays: int = 4) -> Iterator[Floats]:
    """How often each row is drawn, (block, count) at a time: for statistics that are functions of sums over rows."""
    for rows in resampled_rows(count, rounds=rounds, seed=seed, arrays=arrays):
        size = len(rows)
        flat = (rows + np.arange(size)[:, None] * count).ravel()
        yield np.bincount(flat, minlength=size * count).reshape(size, count).astype(np.float64)


def exchanges(count: int, *, rounds: int = ROUNDS, seed: int = 0, arrays: int = 4) -> Iterator[npt.NDArray[np.bool_]]:
    """Which rows swap their two systems, each with probability one half, (block, count) at a time."""
    rng = np.random.default_rng(seed)
    for size in blocks(count, rounds=rounds, most=BLOCK_CELLS // arrays):
        yield _random_bits(rng, size, count).astype(bool)


def resampled_means(values: Floats, *, rounds: int = ROUNDS, seed: int = 0) -> Floats:
    """Means of resamples of ``values`` (n,) with replacement, (rounds,)."""
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    rng = np.random.default_rng(seed)
    if len(distinct) * COUNT_COST <= n:
        drawn = [rng.multinomial(n, counts / n, size) @ distinct for size in blocks(len(distinct), rounds=rounds)]
    else:
        sizes = blocks(n, rounds=rounds, most=CACHED_CELLS)
        drawn = [values.take(rng.integers(0, n, (size, n))).sum(axis=1) for size in sizes]
    return np.asarray(np.concatenate(drawn) / n, np.float64)


def flipped_sums(values: Floats, *, rounds: int = ROUNDS, seed: int = 0) -> Floats:
    """Sums of ``values`` (n,), each with a random sign, (rounds,)."""
    rng = np.random.default_rng(seed)
    table = _signed_sums(values)
    groups = np.arange(len(table))
    drawn = [
        table[groups, rng.integers(0, 256, (size, len(table)), dtype=np.uint8)].sum(axis=1)
        for size in blocks(len(table), rounds=rounds, most=CACHED_CELLS)
    ]
    return np.concatenate(drawn)


def every_flipped_sum(values: Floats) -> Floats:
    """Sums of ``values`` (n,) with every assignment of signs, (2^n,)."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate((sums - value, sums + value))
    return sums


def _signed_sums(values: Floats) -> Floats:
    """(groups, 256): sums of eight values whose signs are the bits of the column's number; 0 pads the last group."""
    padded = np.zeros(-(-len(values) // 8) * 8)
    padded[: len(values)] = values
    signs = 2.0 * np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) - 1
    return np.asarray(padded.reshape(-1, 8) @ signs.T, np.float64)


def _random_bits(rng: np.random.Generator, size: int, count: int) -> npt.NDArray[np.uint8]:
    drawn = rng.integers(0, 256, (size, -(-count // 8)), dtype=np.uint8)
    return np.unpackbits(drawn, axis=1, count=count)
