"""Is a difference between two systems real? Paired tests on the scores of the same queries.

Both methods are those recommended for retrieval by Smucker, Allan and Carterette (CIKM 2007): they assume nothing about
the distribution of the scores.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]

ROUNDS = 10_000
# Random numbers drawn at a time; bounds the memory whatever the number of queries.
BLOCK_CELLS = 4_000_000


def bootstrap_interval(
    differences: Scores, *, confidence: float = 0.95, rounds: int = ROUNDS, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean difference (Efron 1979).

    Args:
        differences: (queries,), score of one system minus that of the other.
        confidence: 0..1.
        rounds: resamples.
        seed: same seed, same interval.
    """
    rng = np.random.default_rng(seed)
    n = len(differences)
    means = [differences[rng.integers(0, n, (size, n))].mean(axis=1) for size in _blocks(rounds, n)]
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def randomization_p_value(differences: Scores, *, rounds: int = ROUNDS, seed: int = 0) -> float:
    """The two-sided p-value of Fisher's paired randomisation test, by random sign flips.

    The observed assignment counts as one of the rounds, so the smallest answer is 1 / (rounds + 1).

    Args:
        differences: (queries,), score of one system minus that of the other.
        rounds: random assignments.
        seed: same seed, same answer.
    """
    rng = np.random.default_rng(seed)
    n = len(differences)
    # Flips that give the observed sum must count as equal despite rounding.
    observed = abs(differences.sum()) * (1 - 1e-12)
    extreme = 0
    for size in _blocks(rounds, n):
        flipped = rng.integers(0, 2, (size, n), dtype=np.int8)
        sums = differences.sum() - 2.0 * (flipped @ differences)
        extreme += int((np.abs(sums) >= observed).sum())
    return (extreme + 1) / (rounds + 1)


def _blocks(rounds: int, n: int) -> Iterator[int]:
    size = max(min(rounds, BLOCK_CELLS // max(n, 1)), 1)
    for start in range(0, rounds, size):
        yield min(size, rounds - start)
