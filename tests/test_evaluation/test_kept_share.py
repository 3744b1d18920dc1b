"""The share of a quality that variants keep: its bound holds for all of them at once."""

import numpy as np
import pytest

from embedft.evaluation.ladder import Kept, kept_correlations, kept_means
from embedft.evaluation.similarity import pearson, spearman


def test_the_lower_bounds_hold_together_in_nearly_all_samples():
    """Twenty variants that keep 98 % of a skewed score on average: too high a bound for any of them is a mistake."""
    rng = np.random.default_rng(0)
    variants, samples, mistakes, alone = 20, 200, 0, 0
    for _ in range(samples):
        whole = rng.beta(0.5, 0.5, 100)
        common = rng.normal(size=100)
        noise = 0.7 * common + 0.7 * rng.normal(size=(variants, 100))
        kept = kept_means(np.vstack([whole, 0.98 * whole + 0.05 * noise]), rounds=1000, seed=1)
        shares, bounds = kept.shares()
        mistakes += bool((bounds[1:] > 0.98).any())
        ratios = kept.replicates[1:] / kept.replicates[0]
        alone += bool((np.quantile(ratios, 0.025, axis=1) > 0.98).any())
        assert (bounds <= shares + 1e-12).all()
    # 2.5 % are allowed; of 200 samples, 11 is three standard errors above that.
    assert mistakes <= 11
    # Bounds of one variant at a time are not enough for the pick of many.
    assert alone > 2 * max(mistakes, 5)


def test_resampled_correlations_are_those_of_the_resampled_pairs():
    rng = np.random.default_rng(4)
    gold = np.round(rng.random(60), 1)
    cosines = np.stack([gold + 0.2 * rng.normal(size=60), np.round(rng.random(60), 1)])
    for name, of in (("spearman", spearman), ("pearson", pearson)):
        kept = kept_correlations(cosines, gold, name, rounds=300, seed=5)
        assert kept.scores == pytest.approx([float(of(row, gold)) for row in cosines], abs=1e-12)
        rows = np.random.default_rng(6).integers(0, 60, (4000, 60))
        direct = of(cosines[0][rows], gold[rows])
        assert kept.replicates[0].mean() == pytest.approx(direct.mean(), abs=0.01)
        assert kept.replicates[0].std() == pytest.approx(direct.std(), rel=0.15)


def test_variants_that_do_not_vary_keep_what_they_keep():
    scores = np.ones((3, 50)) * np.array([[1.0], [1.0], [0.5]])
    rows = kept_means(scores).rows()
    assert [row["share"] for row in rows] == [row["share_low"] for row in rows] == [1.0, 1.0, 0.5]


def test_a_whole_that_scores_nothing_has_no_shares():
    kept = kept_means(np.zeros((2, 50)))
    assert kept.shares() == (None, None)
    assert kept.rows()[1]["share"] is None


def test_an_empty_resample_of_the_whole_loses_nothing():
    kept = Kept(np.array([0.1, 0.1]), np.array([[0.0, 0.2], [0.0, 0.2]]), 3)
    assert np.array_equal(kept.shares()[1], [1.0, 1.0])
