"""Alarms name the batch, in words that lead to it; a training that goes well hears none of them."""

import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from training_loop import ROWS, columns, fresh

from embedft.encoder import embed
from embedft.errors import TrainingError
from embedft.training.alarms import STOP_AFTER, Alarms
from embedft.training.losses.registry import build_loss

NUMBERS = list(range(100, 100 + len(ROWS)))


def alarms_of(model, *, history=()):
    alarms = Alarms(model, lambda name, row: f"text {row} of {name}")
    arguments = SimpleNamespace(learning_rate=0.5, bf16=True)
    alarms.on_train_begin(arguments, SimpleNamespace(log_history=list(history)), None)
    return alarms


def collapsed_by(model, amount):
    """Move all vectors towards one by a bias on the last norm: at 1 they stay, the larger the closer."""
    norm = model[0].model.final_norm
    with torch.no_grad():
        norm.bias = torch.nn.Parameter(torch.zeros_like(norm.weight))
        norm.bias[0] = amount


def watch(alarms, loss, features, label, step=1, **batch):
    with alarms.watching(step, NUMBERS, **batch):
        value = loss(features, label)
    alarms.check(value)
    return value


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_with_the_batch(value):
    model = fresh().sentence_transformer
    alarms = alarms_of(model)
    with alarms.watching(7, torch.arange(40), name="also-1"):
        pass
    with pytest.raises(TrainingError) as caught:
        alarms.check(torch.tensor(value))
    assert caught.value.message == (
        f"step 7: the loss is {value}. Batch: rows 0, 1, 2, 3, 4, 5, 6, 7 and 32 more of also-1, which begin with "
        "'text 0 of also-1', 'text 1 of also-1', 'text 2 of also-1'."
    )
    assert "lower training.learning_rate, which is 0.5, compute with model.precision: float32, or" in caught.value.hint


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    alarms = alarms_of(model)
    with alarms.watching(3, [5]), alarms.watching(3, [6]):
        pass
    # Finite losses may have slopes that are none.
    model(torch.tensor([[1.0, 0.0]])).square().sum().backward()
    alarms.on_pre_optimizer_step(None, None, None, optimizer=optimizer)
    model.bias.grad[1] = math.inf
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    with pytest.raises(TrainingError, match=r"step 3: a gradient is not finite. Batch: rows 5, .*; rows 6, "):
        alarms.on_pre_optimizer_step(None, None, None, optimizer=optimizer)
    alarms.on_step_begin(None, None, None)
    with alarms.watching(4, [7]):
        pass
    with pytest.raises(TrainingError, match=r"step 4: .* Batch: rows 7, which begin with 'text 7 of None'\.\nhint"):
        alarms.on_pre_optimizer_step(None, None, None, optimizer=optimizer)


@pytest.mark.parametrize("cached", [False, True])
def test_the_figures_are_those_of_the_vectors(cached):
    encoder = fresh()
    model = encoder.sentence_transformer.train()
    rows = [*ROWS, ROWS[0]]
    features, label = columns(encoder, rows)
    alarms = alarms_of(model)
    watch(alarms, build_loss("mnrl", {}, model, gradient_cache=cached), features, label)
    figures = alarms.figures()
    with torch.no_grad():
        anchors, positives, negatives = (torch.nn.functional.normalize(embed(model, f), dim=1) for f in features)
    cosines = (anchors @ positives.T).numpy()
    first = len(ROWS)
    # The last row repeats the first: its document is no other one.
    different = [(i, j) for i in range(first + 1) for j in range(first + 1) if i % first != j % first]
    others = [cosines[pair] for pair in different]
    apart = (positives @ positives.T).numpy()[:first, :first]
    assert figures["cosine_pairs"] == pytest.approx(cosines.diagonal().mean(), abs=1e-5)
    assert figures["cosine_pairs_p10"] == pytest.approx(np.quantile(cosines.diagonal(), 0.1), abs=1e-5)
    assert figures["cosine_others"] == pytest.approx(np.mean(others), abs=1e-5)
    assert figures["cosine_others_p90"] == pytest.approx(np.quantile(others, 0.9), abs=1e-5)
    assert figures["cosine_negatives"] == pytest.approx(float((anchors @ negatives.T).mean()), abs=1e-5)
    assert figures["cosine_documents"] == pytest.approx(apart[~np.eye(first, dtype=bool)].mean(), abs=1e-5)


def test_vectors_of_another_model_are_not_looked_at():
    encoder, guide = fresh(), fresh()
    alarms = alarms_of(encoder.sentence_transformer)
    with alarms.watching(1, NUMBERS):
        embed(guide.sentence_transformer, columns(encoder)[0][0])
    alarms.check(torch.tensor(1.0))
    assert alarms.figures() == {}


def test_a_batch_of_one_text_repeated_is_no_collapse(caplog):
    encoder = fresh()
    model = encoder.sentence_transformer
    alarms = alarms_of(model)
    loss = build_loss("mnrl", {}, model)
    watch(alarms, loss, *columns(encoder))
    for step in range(2, 10):
        watch(alarms, loss, *columns(encoder, [ROWS[0]] * 6), step=step)
    assert not caplog.records


def test_a_collapse_warns_once_and_then_stops(caplog):
    encoder = fresh()
    model = encoder.sentence_transformer
    alarms = alarms_of(model)
    loss = build_loss("mnrl", {}, model)
    features, label = columns(encoder)
    with caplog.at_level(logging.WARNING, logger="embedft"):
        watch(alarms, loss, features, label)
        assert not caplog.records
        collapsed_by(model, 30.0)
        watch(alarms, loss, features, label, step=2)
        watch(alarms, loss, features, label, step=3)
        assert len(caplog.records) == 1
        warning = caplog.records[0].getMessage()
        assert warning.startswith(
            "step 2: vectors collapse: the mean cosine of the batch's different documents is 0.99"
        )
        assert "Batch: rows 100, 101, 102" in warning
        collapsed_by(model, 1000.0)
        for step in range(4, 3 + STOP_AFTER):
            watch(alarms, loss, features, label, step=step)
        with pytest.raises(TrainingError, match=f"step {3 + STOP_AFTER}: all documents have nearly the same vector"):
            watch(alarms, loss, features, label, step=3 + STOP_AFTER)
        assert len(caplog.records) == 1


def test_an_encoder_that_begins_with_narrow_vectors_is_left_alone(caplog):
    encoder = fresh()
    model = encoder.sentence_transformer
    collapsed_by(model, 1e3)
    loss = build_loss("mnrl", {}, model)
    features, label = columns(encoder)
    alarms = alarms_of(model)
    for step in range(1, 10):
        watch(alarms, loss, features, label, step=step)
    assert not caplog.records
    # A resumed run knows from its log what it began with.
    resumed = alarms_of(model, history=[{"loss": 1.0, "cosine_documents": 0.2}, {"cosine_documents": 0.9999}])
    watch(resumed, loss, features, label, step=50)
    assert len(caplog.records) == 1
    assert "at the start it was 0.200" in caplog.records[0].getMessage()
