"""Gradient caching gives the loss and the gradients of the whole batch, whatever the chunks, and keeps less."""

import pytest
import torch
from families import FAMILIES, saved
from loss_cases import CASE_IDS, CASES, assert_equal_losses, guide_of, small, value_and_gradients
from loss_cases import batch_of as columns_of

from embedft.encoder import Encoder
from embedft.encoder.differentiable import flat_transformer
from embedft.training.batches import PairCollator
from embedft.training.losses.cache import cached_loss
from embedft.training.losses.registry import LOSSES, build_loss

PAIRS = [
    {"anchor": f"question {number} about ferns", "positive": f"answer {number} " * (1 + 7 * number), "negatives": []}
    for number in range(9)
]


@pytest.fixture
def trained():
    return Encoder.load("bundled", precision="float32")


def batch_of(encoder):
    batch = PairCollator(encoder, 128)(PAIRS)
    columns = ("anchor", "positive")
    return [{key: batch[f"{c}_{key}"] for key in ("input_ids", "attention_mask")} for c in columns], batch["label"]


def gradients_of(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


CACHED = [
    pytest.param(*case[:3], id=name) for case, name in zip(CASES, CASE_IDS, strict=True) if LOSSES[case[0]].cached
]


@pytest.mark.parametrize(("name", "options", "rows"), CACHED)
def test_value_and_gradients_are_those_without_a_cache(tmp_path, name, options, rows):
    encoder = small(tmp_path)
    model = encoder.sentence_transformer
    guide = guide_of(tmp_path)[1] if LOSSES[name].guided else None
    features, labels = columns_of(encoder, rows)
    plain = build_loss(name, options, model, guide=guide)
    cached = build_loss(name, options, model, guide=guide, gradient_cache=True)
    expected, found = (value_and_gradients(loss, features, labels) for loss in (plain, cached))
    assert found[1].keys() == expected[1].keys()
    assert ("objective.log_scale" in found[1]) == ("learn_scale" in options)
    assert_equal_losses(found, expected)


def test_gradients_of_a_loss_of_its_own_add_up(trained):
    """As under gradient accumulation."""
    features, labels = batch_of(trained)
    found = []
    for cached in (False, True):
        loss = build_loss("mnrl", {"learn_scale": True}, trained.sentence_transformer, gradient_cache=cached)
        for share in (1, 3):
            (loss(features, labels) / share).backward()
        found.append(loss.objective.log_scale.grad)
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("budget", [1, 50, 333, 10_000])
def test_the_size_of_a_chunk_changes_nothing(trained, budget):
    model = trained.sentence_transformer
    features, _ = batch_of(trained)

    def similarity(columns):
        return (columns[0] * columns[1]).sum(1).square().mean()

    whole = cached_loss(model, features, similarity)
    expected = gradients_of(model, whole)
    cut = cached_loss(model, features, similarity, budget)
    torch.testing.assert_close(cut, whole)
    for name, gradient in gradients_of(model, cut).items():
        torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6)


def test_a_scaled_loss_has_scaled_gradients(trained):
    """As a trainer's gradient accumulation divides the loss."""
    model = trained.sentence_transformer
    features, labels = batch_of(trained)
    loss = build_loss("mnrl", {}, model, gradient_cache=True)
    whole = gradients_of(model, loss(features, labels))
    half = gradients_of(model, loss(features, labels) / 2)
    for name, gradient in whole.items():
        torch.testing.assert_close(half[name], gradient / 2, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("family", ["modernbert", "bert"])
def test_dropout_drops_the_same_both_times(tmp_path, family, bf16):
    """The vectors that the gradients were taken at are the vectors that they are sent through."""
    options = {
        "modernbert": {"attention_dropout": 0.3, "mlp_dropout": 0.3},
        "bert": {"attention_probs_dropout_prob": 0.3, "hidden_dropout_prob": 0.3},
    }
    encoder = Encoder.load(saved(tmp_path, FAMILIES[family](**options[family])), precision="float32")
    model = encoder.sentence_transformer.train()
    features, _ = batch_of(encoder)
    flat_transformer(model)
    seen = []
    model[0].model.register_forward_hook(lambda module, inputs, output: seen.append(output[0].detach().clone()))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        loss = cached_loss(model, features, lambda columns: columns[0].sum() + columns[1].sum(), 100)
    loss.backward()
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(first) == len(second) > 2
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)


def test_a_column_that_the_loss_leaves_out_has_no_gradient(trained):
    model = trained.sentence_transformer
    features, _ = batch_of(trained)
    one = gradients_of(model, cached_loss(model, features, lambda columns: columns[0].square().sum()))
    alone = gradients_of(model, cached_loss(model, features[:1], lambda columns: columns[0].square().sum()))
    for name, gradient in alone.items():
        torch.testing.assert_close(one[name], gradient)


def test_training_in_bf16_replays_in_bf16(trained):
    model = trained.sentence_transformer
    features, labels = batch_of(trained)
    exact = gradients_of(model, build_loss("mnrl", {}, model)(features, labels))
    seen = set()
    model[0].model.layers[2].mlp.Wo.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = build_loss("mnrl", {}, model, gradient_cache=True)(features, labels)
    found = gradients_of(model, loss)
    assert seen == {torch.bfloat16}
    flat = [torch.cat([gradients[name].flatten() for name in exact]) for gradients in (exact, found)]
    assert torch.nn.functional.cosine_similarity(*flat, dim=0) > 0.99


def test_without_gradients_it_is_the_loss(trained):
    model = trained.sentence_transformer.eval()
    features, labels = batch_of(trained)
    with torch.no_grad():
        plain = build_loss("mnrl", {}, model)(features, labels)
        torch.testing.assert_close(build_loss("mnrl", {}, model, gradient_cache=True)(features, labels), plain)
