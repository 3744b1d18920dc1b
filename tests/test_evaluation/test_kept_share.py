"""The share of a quality that variants keep: a bound for all at once, whether losses are seen or not."""

import numpy as np
import pytest

from embedft.evaluation.ladder import Kept, kept_correlations, kept_means
from embedft.evaluation.ladder.unseen import kept_at_least, pairs_for, queries_for
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


@pytest.mark.parametrize(("queries", "lost"), [(50, 0.03), (225, 0.012), (1000, 0.006)])
def test_bounds_hold_where_few_queries_lose_all_they_have(queries, lost):
    """Samples without any such query are common; the bootstrap's bound is 100 % there."""
    rng = np.random.default_rng(0)
    samples, mistakes = 400, 0
    for whole in (np.ones(queries), rng.random(queries), np.round(rng.random(queries))):
        spoilt = rng.random((samples, queries)) < lost
        bounds = kept_at_least(np.vstack([whole, whole * ~spoilt]), risk=0.025)[1:]
        mistakes = max(mistakes, int((bounds > 1 - lost).sum()))
    # 10 are allowed on average; 19 is three standard errors above that.
    assert mistakes <= 19


def test_a_variant_that_loses_nothing_on_few_queries_is_not_shown_to_keep_all():
    whole = np.random.default_rng(1).random(50)
    assert kept_means(np.stack([whole, whole]), rounds=50).shares()[1].tolist() == [1.0, pytest.approx(0.86, abs=0.04)]
    assert kept_means(np.stack([whole, whole / 2]), rounds=50).shares()[1][1] < 0.5


def test_as_many_queries_as_are_called_needed_show_it():
    for share, mean in ((0.99, 0.6), (0.9, 0.3)):
        count = queries_for(share, mean, risk=0.001)
        # Bets are small until something was seen: so "about".
        for times, shown in ((0.9, False), (1.15, True)):
            scores = np.full((2, int(times * count)), mean)
            assert bool(kept_at_least(scores, risk=0.001)[1] >= share) == shown
    gold = np.random.default_rng(2).random(pairs_for(0.95, risk=0.0125))
    for count in (len(gold), len(gold) - 1):
        kept = kept_correlations(np.stack([gold, gold])[:, :count], gold[:count], "pearson", rounds=20)
        assert kept.needed(0.95) == len(gold)
        assert bool(kept.shares()[1][1] >= 0.95) == (count == len(gold))


def test_bounds_of_correlations_hold_where_few_cosines_say_nothing():
    """3 % of the pairs are spoilt, in a sample of 60 often none; what a variant keeps is known from many pairs."""
    rng = np.random.default_rng(5)

    def sample(count):
        gold = rng.random(count)
        whole = gold + 0.3 * rng.normal(size=count)
        spoilt = np.where(rng.random(count) < 0.03, rng.permutation(whole), whole)
        return np.stack([whole, spoilt]), gold

    cosines, gold = sample(50_000)
    scores = kept_correlations(cosines, gold, "pearson", rounds=2).scores
    kept = scores[1] / scores[0]
    bounds = [kept_correlations(*sample(60), "pearson", rounds=100).shares()[1][1] for _ in range(100)]
    assert 0.96 < kept < 0.98
    assert np.sum(np.array(bounds) > kept) <= 7


def test_a_whole_that_scores_nothing_has_no_shares():
    kept = kept_means(np.zeros((2, 50)))
    assert kept.shares() == (None, None)
    assert kept.rows()[1]["share"] is None


def test_an_empty_resample_of_the_whole_loses_nothing():
    kept = Kept(np.array([0.1, 0.1]), np.array([[0.0, 0.2], [0.0, 0.2]]), 3)
    assert kept.shares()[1].tolist() == [1.0, pytest.approx(0.0125 ** (1 / 3))]
