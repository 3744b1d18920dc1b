"""The mean of the weights is what its formula says, is what is judged, and never touches what is trained."""

import pytest
import torch
from training_loop import fresh, train, vectors

from embedft.training.ema import MeanWeights
from embedft.training.losses.registry import build_loss
from embedft.training.parameters import freeze, trainable_parameters


def with_mean(decay, steps=4, entries=("embeddings", "layers:5")):
    """An encoder after some steps, the mean of its weights, and the weights after each step."""
    encoder = fresh()
    model = encoder.sentence_transformer
    freeze(model, list(entries))
    loss = build_loss("mnrl", {}, model)
    parameters = trainable_parameters(model, loss)
    mean = MeanWeights(parameters, decay)
    history = [{name: value.detach().clone() for name, value in parameters.items()}]

    def after(step):
        mean.update(step)
        history.append({name: value.detach().clone() for name, value in parameters.items()})

    train(encoder, steps, loss=loss, after=after)
    return encoder, mean, history


@pytest.mark.parametrize("decay", [0.2, 0.999])
def test_the_mean_follows_its_formula(decay):
    _, mean, history = with_mean(decay)
    for name, value in mean.mean.items():
        expected = history[0][name].double()
        for step, weights in enumerate(history[1:], start=1):
            # The first steps weigh more than the decay says: 0.18, 0.25, 0.31, 0.36.
            share = min(decay, (1 + step) / (10 + step))
            expected = share * expected + (1 - share) * weights[name].double()
        assert torch.allclose(value.double(), expected, atol=1e-6)


def test_what_is_judged_is_the_mean_and_training_goes_on_from_the_weights():
    encoder, mean, history = with_mean(0.9)
    model = encoder.sentence_transformer
    last = vectors(encoder, model)
    kept = {name: value.clone() for name, value in mean.mean.items()}
    with mean.applied():
        judged = vectors(encoder, model)
        inside = dict(model.named_parameters())
        assert all(torch.equal(inside[name.removeprefix("model.")], value) for name, value in kept.items())
    assert (judged - last).abs().max() > 1e-4
    assert torch.equal(vectors(encoder, model), last)
    assert all(torch.equal(mean.parameters[name], value) for name, value in history[-1].items())
    assert all(torch.equal(mean.mean[name], value) for name, value in kept.items())


def test_the_mean_costs_one_copy_of_what_is_trained_and_judging_none():
    encoder, mean, _ = with_mean(0.9, steps=1)
    free = [value for value in encoder.sentence_transformer.parameters() if value.requires_grad]
    assert sum(value.numel() for value in mean.mean.values()) == sum(value.numel() for value in free)
    places = {value.data_ptr() for value in [*free, *mean.mean.values()]}
    with mean.applied():
        assert {value.data_ptr() for value in [*free, *mean.mean.values()]} == places


def test_a_fault_while_judging_leaves_the_weights_of_training():
    _, mean, history = with_mean(0.9, steps=1)
    with pytest.raises(ZeroDivisionError), mean.applied():
        raise ZeroDivisionError
    assert all(torch.equal(mean.parameters[name], value) for name, value in history[-1].items())
