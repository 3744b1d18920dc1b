"""The one resampler: short cuts are exact in distribution, blocks change nothing, seeds decide everything."""

import numpy as np
import pytest
from scipy import stats

from embedft.evaluation.significance import exchanges, resampled_weights, resampling
from embedft.evaluation.significance.resampling import (
    blocks,
    every_flipped_sum,
    flipped_sums,
    resampled_means,
    resampled_rows,
)


@pytest.mark.parametrize(("cells", "rounds"), [(1, 10), (3_000_000, 7), (10**9, 3), (0, 5)])
def test_blocks_add_up_to_all_rounds_and_none_is_larger_than_memory_allows(cells, rounds):
    sizes = list(blocks(cells, rounds=rounds))
    assert sum(sizes) == rounds
    assert all(size == 1 or size * cells <= resampling.BLOCK_CELLS for size in sizes)


def test_means_of_few_distinct_values_have_the_distribution_of_means_of_drawn_rows():
    values = np.repeat([0.0, 0.5, -1.0], [380, 12, 8])  # drawn as counts
    jittered = values + np.linspace(0, 1e-9, 400)  # the same values, drawn row by row
    short, long = (
        resampled_means(each, rounds=4000, seed=seed).round(6) for seed, each in enumerate((values, jittered))
    )
    assert stats.ks_2samp(short, long).pvalue > 0.001
    assert short.std() == pytest.approx(values.std() / 20, rel=0.05)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 300])
def test_sums_by_table_are_sums_of_signed_values(n):
    values = np.random.default_rng(n).normal(size=n)
    found = flipped_sums(values, rounds=4000)
    if n <= 9:
        possible = every_flipped_sum(values)
        assert len(possible) == 2**n
        nearest = np.abs(found[:, None] - possible).min(1)
        assert nearest.max() < 1e-12
        # Each of them as often as any other.
        counts = np.bincount(np.abs(found[:, None] - possible).argmin(1), minlength=2**n)
        assert stats.chisquare(counts).pvalue > 0.001
    assert found.std() == pytest.approx(np.sqrt((values**2).sum()), rel=0.05)


def test_weights_count_how_often_each_row_is_drawn():
    rows = np.concatenate(list(resampled_rows(6, rounds=50, seed=3)))
    weights = np.concatenate(list(resampled_weights(6, rounds=50, seed=3)))
    assert (weights.sum(1) == 6).all()
    assert all((np.bincount(drawn, minlength=6) == counts).all() for drawn, counts in zip(rows, weights, strict=True))


def test_exchanges_are_fair_and_independent():
    swapped = np.concatenate(list(exchanges(10, rounds=4000, seed=0))).astype(float)
    assert np.abs(swapped.mean(0) - 0.5).max() < 4 * 0.5 / 4000**0.5
    assert np.abs(np.corrcoef(swapped.T) - np.eye(10)).max() < 5 / 4000**0.5


def test_small_blocks_lose_no_round(monkeypatch):
    values = np.random.default_rng(0).normal(size=30)
    monkeypatch.setattr(resampling, "BLOCK_CELLS", 100)
    monkeypatch.setattr(resampling, "CACHED_CELLS", 100)
    assert len(resampled_means(values, rounds=500)) == len(flipped_sums(values, rounds=500)) == 500


def test_a_seed_decides_everything():
    values = np.random.default_rng(0).normal(size=30)
    for draw in (resampled_means, flipped_sums):
        assert (draw(values, rounds=100, seed=5) == draw(values, rounds=100, seed=5)).all()
        assert (draw(values, rounds=100, seed=5) != draw(values, rounds=100, seed=6)).any()
