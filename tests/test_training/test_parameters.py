"""Frozen parameters stay as they are; lower layers learn more slowly; without either, sentence-transformers' groups."""

import pytest
import torch
from families import FAMILIES, saved
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from training_loop import columns, fresh, train

from embedft.encoder import embed
from embedft.encoder.differentiable import recompute_activations
from embedft.errors import ConfigError
from embedft.training.losses.registry import build_loss
from embedft.training.parameters import (
    RATE_ATTRIBUTE,
    embeddings_of,
    freeze,
    layers_of,
    parameter_groups,
    read_freeze,
    require_trainable,
    trainable_parameters,
)


class WithHead(torch.nn.Module):
    """A loss with weights of its own: a learned scale, and a head with another learning rate."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.scale = torch.nn.Parameter(torch.tensor(20.0))
        self.head = torch.nn.Linear(384, 2)
        setattr(self.head, RATE_ATTRIBUTE, 10.0)


def model_of(tmp_path, family):
    return SentenceTransformer(str(saved(tmp_path, FAMILIES[family]())), device="cpu")


def test_frozen_parameters_come_out_as_they_went_in_and_have_no_optimizer_state():
    encoder = fresh()
    model = encoder.sentence_transformer
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    count = freeze(model, ["layers:2", "embeddings", "documents"])
    optimizer = train(encoder)
    changed = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    frozen = ("0.model.embeddings.", "0.model.layers.0.", "0.model.layers.1.")
    assert changed == {name for name in before if not name.startswith(frozen)}
    assert count == sum(value.numel() for name, value in before.items() if name.startswith(frozen))
    assert {id(value) for value in optimizer.state} == {id(v) for v in model.parameters() if v.requires_grad}


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_and_layers_are_found_in_every_family(tmp_path, family):
    model = model_of(tmp_path, family)
    transformer = model[0].model
    layers = layers_of(transformer)
    assert len(layers) == transformer.config.num_hidden_layers
    tables = [module for module in transformer.modules() if isinstance(module, torch.nn.Embedding)]
    inside = set(embeddings_of(transformer).modules())
    # MPNet's table of relative positions belongs to its attention.
    assert {table for table in tables if table.num_embeddings > 40} <= inside
    assert not inside & set(layers.modules())
    freeze(model, ["layers:1"])
    free = {name for name, value in model.named_parameters() if value.requires_grad}
    first = {id(value) for value in layers[0].parameters()}
    assert free == {name for name, value in model.named_parameters() if id(value) not in first}


def test_what_cannot_be_frozen_is_refused():
    encoder = fresh()
    model = encoder.sentence_transformer
    for entry in ("layer:3", "layers:0", "layers:x", "heads"):
        with pytest.raises(ConfigError, match=rf"training\.freeze has '{entry}'; expected embeddings, layers:N"):
            read_freeze([entry])
    with pytest.raises(ConfigError, match="has 'layers:7', but the model has 6 layers"):
        freeze(model, ["layers:7"])
    freeze(model, ["layers:6", "embeddings"])
    assert not trainable_parameters(model, build_loss("mnrl", {}, model))
    head, alone = WithHead(model), build_loss("mnrl", {}, model)
    for loss in (alone, build_loss("mnrl", {"learn_scale": True}, model), {"own": head, "also-1": alone}):
        with pytest.raises(ConfigError, match=r"training\.freeze leaves nothing to train"):
            require_trainable(model, loss)
    require_trainable(model, head)


def test_layers_learn_more_slowly_the_lower_they_are():
    model = fresh().sentence_transformer
    loss = WithHead(model)
    groups = parameter_groups(model, loss, learning_rate=1e-3, weight_decay=0.01, layer_decay=0.5)
    rates = {id(value): group["lr"] for group in groups for value in group["params"]}
    decays = {id(value): group["weight_decay"] for group in groups for value in group["params"]}
    transformer = model[0].model
    for depth, layer in enumerate(reversed(transformer.layers)):
        assert {rates[id(value)] for value in layer.parameters()} == {1e-3 * 0.5**depth}
    assert {rates[id(value)] for value in transformer.embeddings.parameters()} == {1e-3 * 0.5**6}
    assert {rates[id(value)] for value in transformer.final_norm.parameters()} == {1e-3}
    assert rates[id(loss.scale)] == 1e-3
    assert {rates[id(value)] for value in loss.head.parameters()} == {1e-2}
    assert groups[0]["lr"] == 1e-3
    assert decays[id(loss.head.bias)] == decays[id(transformer.final_norm.weight)] == 0
    assert decays[id(loss.head.weight)] == decays[id(transformer.embeddings.tok_embeddings.weight)] == 0.01
    assert len(rates) == sum(1 for _ in loss.parameters())


def test_a_learned_scale_does_not_decay():
    model = fresh().sentence_transformer
    loss = build_loss("mnrl", {"learn_scale": True}, model)
    groups = parameter_groups(model, loss, learning_rate=1e-3, weight_decay=0.01, layer_decay=None)
    (group,) = (group for group in groups if any(value is loss.objective.log_scale for value in group["params"]))
    assert group["weight_decay"] == 0


def test_a_lower_learning_rate_moves_a_layer_less():
    moved = []
    for decay in (None, 0.5):
        encoder = fresh()
        model = encoder.sentence_transformer
        loss = build_loss("mnrl", {}, model)
        before = [layer.mlp.Wi.weight.detach().clone() for layer in model[0].model.layers]
        groups = parameter_groups(model, loss, learning_rate=1e-3, weight_decay=0.0, layer_decay=decay)
        train(encoder, 1, groups=groups, loss=loss)
        now = [layer.mlp.Wi.weight for layer in model[0].model.layers]
        moved.append([float((a - b.detach()).abs().max()) for a, b in zip(before, now, strict=True)])
    # The first step of Adam is the learning rate itself, whatever the gradient.
    assert moved[0] == pytest.approx([1e-3] * 6, rel=0.01)
    assert moved[1] == pytest.approx([1e-3 * 0.5**depth for depth in range(5, -1, -1)], rel=0.01)


@pytest.mark.parametrize("several", [False, True])
def test_without_decay_the_groups_are_those_of_sentence_transformers(tmp_path, several):
    model = fresh().sentence_transformer
    freeze(model, ["layers:1"])
    loss = WithHead(model)
    delattr(loss.head, RATE_ATTRIBUTE)
    losses = {"a": loss, "b": build_loss("mnrl", {}, model)} if several else loss
    arguments = SentenceTransformerTrainingArguments(
        str(tmp_path), learning_rate=1e-3, weight_decay=0.1, use_cpu=True, report_to="none"
    )
    trainer = SentenceTransformerTrainer(model=model, args=arguments, loss=loss)
    trainer.loss = losses
    theirs = trainer.create_optimizer().param_groups
    ours = parameter_groups(model, losses, learning_rate=1e-3, weight_decay=0.1, layer_decay=None)
    assert len(ours) == len(theirs) == 2
    for own, other in zip(ours, theirs, strict=True):
        assert [id(value) for value in own["params"]] == [id(value) for value in other["params"]]
        assert (own["lr"], own["weight_decay"]) == (other["lr"], other["weight_decay"])


def bytes_and_gradients(model, features, *, cached=False):
    """The bytes that the forward pass keeps for the backward pass, and the gradients."""
    kept = 0

    def keep(tensor):
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    model.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        if cached:
            loss = build_loss("mnrl", {}, model, gradient_cache=True)(*features)
        else:
            loss = torch.cat([embed(model, column) for column in features[0]]).pow(3).sum()
    loss.backward()
    return kept, [value.grad.clone() for value in model.parameters() if value.grad is not None]


@pytest.mark.parametrize("family", ["bundled", "bert", "modernbert"])
def test_layers_are_computed_again_with_the_same_gradients_and_less_memory(tmp_path, family):
    encoder = fresh()
    model = encoder.sentence_transformer if family == "bundled" else model_of(tmp_path, family)
    features = columns(encoder)
    model.train()
    # Dropout drops the same when a layer is computed again.
    torch.manual_seed(0)
    kept, gradients = bytes_and_gradients(model, features)
    recompute_activations(model)
    forwards = []
    layers_of(model[0].model)[0].get_submodule("attention" if family == "bert" else "attn").register_forward_hook(
        lambda *_: forwards.append(1)
    )
    torch.manual_seed(0)
    fewer, again = bytes_and_gradients(model, features)
    assert fewer < kept / 3
    # 3 columns, each a chunk, each computed forwards and again.
    assert len(forwards) == 6
    assert len(gradients) == len(again)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))


def test_recomputing_goes_together_with_the_gradient_cache():
    encoder = fresh()
    model = encoder.sentence_transformer.train()
    features = columns(encoder)
    _, gradients = bytes_and_gradients(model, features, cached=True)
    recompute_activations(model)
    _, again = bytes_and_gradients(model, features, cached=True)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))


def test_recomputing_does_not_differentiate_frozen_layers():
    encoder = fresh()
    model = encoder.sentence_transformer.train()
    freeze(model, ["embeddings", "layers:5"])
    recompute_activations(model)
    seen = []
    model[0].model.layers[4].register_full_backward_hook(lambda *_: seen.append(1))
    torch.cat([embed(model, column) for column in columns(encoder)[0]]).pow(3).sum().backward()
    assert not seen
    assert all(value.grad is not None for value in model[0].model.layers[5].parameters())


def test_a_model_that_cannot_be_computed_again_is_refused(tmp_path):
    model = model_of(tmp_path, "mpnet")
    assert not model[0].model.supports_gradient_checkpointing
    with pytest.raises(ConfigError, match=r"training\.gradient_checkpointing: MPNetModel does not support it"):
        recompute_activations(model)
