"""Adapters run on the flat token stream, are all that is trained, and leave no trace in what is saved."""

import sys

import pytest
import torch
from families import FAMILIES, saved
from sentence_transformers import SentenceTransformer
from training_loop import columns, fresh, train, vectors

from embedft import Encoder
from embedft.config import LoraConfig
from embedft.encoder import embed, write_folder
from embedft.encoder.differentiable import flat_transformer, recompute_activations
from embedft.errors import ConfigError
from embedft.training.lora import add_lora, has_lora, linear_layers, merged
from embedft.training.parameters import freeze

SMALL = LoraConfig(rank=4, alpha=8)


def test_only_the_adapters_of_all_linear_layers_are_trained():
    encoder = fresh()
    model = encoder.sentence_transformer
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    plain = vectors(encoder, model)
    count = add_lora(model, SMALL, seed=0)
    assert torch.allclose(vectors(encoder, model), plain, atol=1e-6)
    free = {name: value for name, value in model.named_parameters() if value.requires_grad}
    # A and B of Wqkv, Wo, Wi, Wo in 6 layers.
    assert len(free) == 2 * 4 * 6
    assert count == sum(value.numel() for value in free.values())
    layers = linear_layers(fresh().sentence_transformer[0].model).values()
    assert count == 4 * sum(layer.in_features + layer.out_features for layer in layers)
    train(encoder)
    now = {name.replace(".base_layer", ""): value for name, value in model.named_parameters()}
    assert all(torch.equal(now[name], value) for name, value in before.items())
    assert (vectors(encoder, model) - plain).abs().max() > 1e-3


def test_training_runs_through_the_adapters_without_padding():
    encoder = fresh()
    model = encoder.sentence_transformer.eval()
    add_lora(model, SMALL, seed=0)
    assert flat_transformer(model).unpadded
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "lora_B" in name:
                value.normal_(std=0.05)
    column = columns(encoder)[0][1]
    flat = embed(model, column)
    padded = model(dict(column))["sentence_embedding"]
    assert torch.allclose(flat, padded, atol=1e-5)
    flat.pow(3).sum().backward()
    assert all(value.grad.abs().max() > 0 for value in model.parameters() if value.requires_grad)


@pytest.mark.parametrize("family", ["bundled", "bert", "modernbert with biases"])
def test_a_saved_model_is_plain_and_gives_the_vectors_of_the_adapted_one(tmp_path, family):
    encoder = fresh() if family == "bundled" else Encoder.load(
        saved(tmp_path, FAMILIES[family]()), precision="float32"
    )  # fmt: skip
    model = encoder.sentence_transformer
    names = list(model.state_dict())
    add_lora(model, SMALL, seed=0)
    train(encoder)
    adapted = vectors(encoder, model)
    raw = {name: value.clone() for name, value in model.state_dict().items()}
    with merged(model) as plain:
        assert plain is model
        assert list(plain.state_dict()) == names
        assert not has_lora(plain)
        assert torch.allclose(vectors(encoder, plain), adapted, atol=1e-5)
        write_folder(plain, tmp_path / "saved", max_length=encoder.max_length, truncate_dim=None)
    assert has_lora(model)
    assert all(torch.equal(raw[name], value) for name, value in model.state_dict().items())
    assert not list((tmp_path / "saved").glob("**/adapter*"))
    opened = Encoder.load(tmp_path / "saved", precision="float32")
    assert torch.allclose(vectors(opened, opened.sentence_transformer), adapted, atol=1e-5)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(["fern", "moss"])
    assert abs(opened.encode(["fern", "moss"]) - theirs / (theirs**2).sum(1, keepdims=True) ** 0.5).max() < 1e-5


def test_a_model_without_adapters_is_merged_as_it_is():
    model = fresh().sentence_transformer
    layer = model[0].model.layers[0].attn.Wqkv
    with merged(model) as plain:
        assert plain[0].model.layers[0].attn.Wqkv is layer


def test_the_seed_decides_the_adapters_and_leaves_other_draws_alone():
    drawn = []
    for seed in (0, 0, 1):
        model = fresh().sentence_transformer
        torch.manual_seed(5)
        add_lora(model, SMALL, seed=seed)
        drawn.append((model[0].model.layers[3].mlp.Wi.lora_A["embedft"].weight, torch.rand(1)))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    assert drawn[0][1] == drawn[1][1] == drawn[2][1]


def test_named_layers_alone_get_adapters_and_frozen_ones_none():
    model = fresh().sentence_transformer
    freeze(model, ["layers:4"])
    add_lora(model, SMALL.model_copy(update={"targets": ["Wqkv", "mlp.Wo"]}), seed=0)
    adapted = {name.partition(".lora_")[0] for name, value in model.named_parameters() if value.requires_grad}
    assert adapted == {f"0.model.layers.{layer}.{name}" for layer in (4, 5) for name in ("attn.Wqkv", "mlp.Wo")}


def test_wrong_names_are_refused_with_the_right_ones():
    model = fresh().sentence_transformer
    with pytest.raises(ConfigError) as caught:
        add_lora(model, SMALL.model_copy(update={"targets": ["Wqkv", "q_proj"]}), seed=0)
    assert "training.lora.targets has 'q_proj'" in caught.value.message
    assert "expected some of attn.Wqkv, attn.Wo, mlp.Wi, mlp.Wo" in caught.value.message
    freeze(model, ["layers:6"])
    with pytest.raises(ConfigError, match="all 24 linear layers that would get adapters are frozen"):
        add_lora(model, SMALL, seed=0)


def test_gradients_are_the_same_when_activations_are_computed_again():
    gradients = []
    for again in (False, True):
        encoder = fresh()
        model = encoder.sentence_transformer.train()
        add_lora(model, SMALL.model_copy(update={"dropout": 0.2}), seed=0)
        if again:
            recompute_activations(model)
        with torch.no_grad():
            for name, value in model.named_parameters():
                if "lora_B" in name:
                    value.fill_(0.01)
        torch.manual_seed(3)
        torch.cat([embed(model, column) for column in columns(encoder)[0]]).pow(3).sum().backward()
        gradients.append([value.grad for value in model.parameters() if value.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(gradient.abs().max() > 0 for gradient in gradients[0])


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"training\.lora needs the package peft") as caught:
        add_lora(fresh().sentence_transformer, SMALL, seed=0)
    assert "pip install 'embedft[lora]'" in caught.value.hint
