"""The sweep of learning rates: what it reads from a curve, that it is repeatable, and that it changes nothing."""

import json

import numpy as np
import pytest
from conftest import GARDEN

from embedft import RunConfig
from embedft.errors import ConfigError, TrainingError
from embedft.training.lr_finder import find_learning_rate, has_diverged, smooth, summarise

RATES = np.geomspace(1e-6, 1e-1, 100)
# A loss that is halved around 3e-5, lowest around 1e-2, and flies above it.
FALLING = 1 / (1 + (RATES / 3e-5) ** 1.5) + np.where(RATES > 1e-2, np.log10(RATES / 1e-2) * 3, 0)


def test_smoothing_is_the_bias_corrected_exponential_mean():
    losses = np.random.default_rng(0).normal(size=30)
    keep = 1 - 1 / (0.05 * 100)
    for number, found in enumerate(smooth(losses, 100), start=1):
        weights = keep ** np.arange(number)[::-1]
        assert found == pytest.approx((weights * losses[:number]).sum() / weights.sum())


def test_a_falling_loss_gives_a_rate_between_its_fall_and_its_end():
    found = summarise(RATES, FALLING, 0.1, 64, 2e-4)
    assert 3e-5 < found.suggested < found.lowest
    assert 1e-5 < found.steepest < 1e-4
    assert found.lowest == pytest.approx(1e-2, rel=0.5)
    assert f"{found.suggested:.1e}" in found.verdict


def test_noise_of_the_batches_moves_the_suggestion_little():
    quiet = summarise(RATES, FALLING, 0.1, 64, 2e-4)
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(scale=0.1, size=len(RATES))
        noisy = summarise(RATES, FALLING + noise, 0.1, 64, 2e-4)
        assert 1 / 3 < noisy.suggested / quiet.suggested < 3


def test_a_loss_that_never_falls_suggests_nothing():
    noise = np.random.default_rng(0).normal(scale=0.01, size=len(RATES))
    found = summarise(RATES, 1 + noise, None, 64, 2e-4)
    assert found.suggested is None
    assert found.steepest is None
    assert "never fell" in found.verdict


@pytest.mark.parametrize("end", [5.0, float("nan"), float("inf")])
def test_a_loss_that_flies_has_diverged(end):
    losses = [1.0, 1.1] * 10 + [0.5] * 30
    assert not has_diverged(smooth(losses, 100))
    assert has_diverged(smooth([*losses, end, end, end], 100))


def test_a_sweep_that_diverges_at_once_is_an_error():
    with pytest.raises(TrainingError, match="where nothing should move"):
        summarise(RATES[:2], FALLING[:2], 1e-6, 64, 2e-4)


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
    # In bf16 or fp32, the first rate is too small to move the loss: the first batches are those of the base model.
    assert first.batch_size == 8
    assert list(tmp_path.iterdir()) == []
    assert json.loads(json.dumps(first.as_dict()))["points"][0]["rate"] == rates[0]


def test_too_few_steps_are_refused():
    with pytest.raises(ConfigError, match="--steps is 5"):
        find_learning_rate(RunConfig.model_validate({"data": {"path": str(GARDEN)}}), steps=5)
