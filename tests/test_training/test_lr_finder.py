"""The sweep of learning rates: what it reads from a curve, that it is repeatable, and that it changes nothing."""

import json

import numpy as np
import pytest
from conftest import GARDEN

from embedft import RunConfig
from embedft.errors import ConfigError, TrainingError
from embedft.training.planning.lr_finder import Step, failed, find_learning_rate, smooth, summarise

RATES = np.geomspace(1e-6, 1e-1, 100)
# A gain that has come half its way at 3e-5, is highest around 1e-2, and is lost above it.
GAINS = 1 - 1 / (1 + (RATES / 3e-5) ** 1.5) - np.where(RATES > 1e-2, np.log10(RATES / 1e-2) * 3, 0)


def steps_of(gains, batches=None, spreads=None):
    """Steps with these gains on batches whose losses differ as they like."""
    batches = np.full(len(gains), 5.0) if batches is None else batches
    spreads = [1.0] * len(gains) if spreads is None else spreads
    values = zip(RATES, batches - gains, batches, spreads, strict=False)
    return [Step(float(rate), float(loss), float(untrained), spread) for rate, loss, untrained, spread in values]


def test_smoothing_is_the_bias_corrected_exponential_mean():
    losses = np.random.default_rng(0).normal(size=30)
    keep = 1 - 1 / (0.05 * 100)
    for number, found in enumerate(smooth(losses, 100), start=1):
        weights = keep ** np.arange(number)[::-1]
        assert found == pytest.approx((weights * losses[:number]).sum() / weights.sum())


def test_a_falling_loss_gives_a_rate_above_that_of_half_its_fall():
    found = summarise(steps_of(GAINS), "diverged", 64, 2e-4)
    # The smoothed gain lags some steps behind.
    assert 3e-5 < found.halved < 6e-5
    assert found.halved < found.suggested < found.lowest
    assert 0.8e-2 < found.lowest < 1.6e-2
    assert f"{found.suggested:.1e}" in found.verdict
    assert "it diverged" in found.verdict


def test_batches_that_differ_more_than_training_changes_them_move_nothing():
    batches = np.random.default_rng(0).uniform(1, 9, len(GAINS))
    quiet, noisy = (summarise(steps_of(GAINS, values), None, 64, 2e-4) for values in (None, batches))
    assert noisy.suggested == pytest.approx(quiet.suggested)


def test_noise_of_the_gain_moves_the_suggestion_little():
    quiet = summarise(steps_of(GAINS), None, 64, 2e-4)
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(scale=0.1, size=len(GAINS))
        noisy = summarise(steps_of(GAINS + noise), None, 64, 2e-4)
        assert 1 / 2 < noisy.suggested / quiet.suggested < 2


def test_a_loss_that_never_falls_suggests_nothing():
    noise = np.random.default_rng(0).normal(scale=0.02, size=len(GAINS))
    found = summarise(steps_of(noise), None, 64, 2e-4)
    assert found.suggested is None
    assert found.halved is None
    assert "never fell" in found.verdict


@pytest.mark.parametrize("end", [-5.0, float("nan"), float("-inf")])
def test_a_loss_that_flies_has_diverged(end):
    gains = [0.0] * 20 + [0.5] * 30
    assert failed(steps_of(np.array(gains)), 100) is None
    assert failed(steps_of(np.array([*gains, end, end, end])), 100) == "diverged"


def test_vectors_that_become_alike_have_collapsed_however_low_the_loss():
    assert failed(steps_of(GAINS[:60], spreads=[1.0] * 59 + [0.2]), 100) == "collapsed"
    assert failed(steps_of(GAINS[:60], spreads=[None] * 60), 100) is None


def test_a_sweep_that_fails_at_once_is_an_error():
    with pytest.raises(TrainingError, match="where the rate moves nothing"):
        summarise(steps_of(GAINS)[:2], "diverged", 64, 2e-4)


@pytest.mark.slow
def test_a_sweep_is_repeatable_and_changes_nothing(encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RunConfig.model_validate(
        {"data": {"path": str(GARDEN)}, "training": {"batch_size": 8}, "model": {"precision": "float32"}}
    )
    first, second = (find_learning_rate(config, steps=20) for _ in range(2))
    assert first.points == second.points
    assert first.suggested == second.suggested
    rates = [point.rate for point in first.points]
    assert np.allclose(np.diff(np.log(rates)), np.log(rates[1] / rates[0]))
    assert rates[0] < first.configured < rates[-1]
    # Nothing has been trained when the loss of the first batch is taken.
    assert first.points[0].loss == pytest.approx(first.points[0].untrained, rel=1e-6)
    assert first.points[0].spread == pytest.approx(1)
    assert first.batch_size == 8
    assert list(tmp_path.iterdir()) == []
    assert json.loads(json.dumps(first.as_dict()))["points"][0]["rate"] == rates[0]


def test_too_few_steps_are_refused():
    with pytest.raises(ConfigError, match="--steps is 5"):
        find_learning_rate(RunConfig.model_validate({"data": {"path": str(GARDEN)}}), steps=5)
