"""The encoder: the vectors of sentence-transformers, one identity, and settings that travel with the folder."""

import json
import shutil

import huggingface_hub
import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedft.encoder import BUNDLED_PATH, Encoder
from embedft.errors import ArtifactError, ConfigError, DataError, ModelError

TEXTS = [
    "short",
    "A sentence of some length about the care of ferns in deep shade.",
    "Words " * 300,
    "",
    "日本語 and العربية and emoji 👩‍👩‍👧",
    "lone surrogate \ud83d here",
    "nul \x00 inside",
    "A sentence of some length about the care of ferns in deep shade.",
]


def largest_difference(left, right):
    return float(np.abs(np.asarray(left) - np.asarray(right)).max())


def tiny_model(folder, *, prompts=None, max_length=8192):
    """A random ModernBERT in the layout of published models: three layers, old pooling keys, stored in fp16."""
    from transformers import AutoTokenizer, ModernBertConfig, ModernBertModel

    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_PATH)
    config = ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=8192, pad_token_id=0, bos_token_id=101, eos_token_id=102, cls_token_id=101,
        sep_token_id=102,
    )  # fmt: skip
    ModernBertModel(config).half().save_pretrained(folder)
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)
    names = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(zip(names, paths, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": max_length, "do_lower_case": False})
    )
    (folder / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "2_Normalize").mkdir()
    stored = {"prompts": prompts or {}, "default_prompt_name": None, "similarity_fn_name": "cosine"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(stored))
    return folder


def with_prompts(folder, prompts, default=None):
    """The folder with other stored prompts."""
    path = folder / "config_sentence_transformers.json"
    stored = json.loads(path.read_text()) | {"prompts": prompts, "default_prompt_name": default}
    path.write_text(json.dumps(stored))
    return folder


def test_vectors_are_those_of_sentence_transformers(encoder):
    reference = SentenceTransformer(str(BUNDLED_PATH), device="cpu")
    texts = [text for text in TEXTS if "\ud83d" not in text]
    assert largest_difference(encoder.encode(texts), reference.encode(texts)) < 1e-5


def test_vectors_are_unit_float32_rows_in_the_order_of_the_texts(encoder):
    vectors = encoder.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert (vectors[1] == vectors[7]).all()
    backwards = encoder.encode(TEXTS[::-1])[::-1]
    assert largest_difference(vectors, backwards) < 1e-6


def test_a_text_alone_equals_the_text_in_a_batch(encoder):
    together = encoder.encode(TEXTS)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert largest_difference(together, alone) < 1e-6


def test_any_iterable_is_read_and_none_gives_no_rows(encoder):
    assert encoder.encode(text for text in TEXTS[:3]).shape == (3, 384)
    assert encoder.encode([]).shape == (0, 384)


def test_a_string_or_a_number_is_refused(encoder):
    with pytest.raises(DataError, match="one string"):
        encoder.encode("text")
    with pytest.raises(DataError, match="text 1 is int"):
        encoder.encode(["a", 1])


def test_bfloat16_stays_close_and_loses_no_weight(encoder, tmp_path):
    fast = Encoder.load("bundled", precision="bfloat16")
    cosines = (encoder.encode(TEXTS) * fast.encode(TEXTS)).sum(axis=1)
    assert cosines.min() > 0.999
    assert fast.fingerprint == encoder.fingerprint
    fast.save(tmp_path / "m")
    assert Encoder.load(tmp_path / "m", precision="float32").fingerprint == encoder.fingerprint


def test_prompts_are_put_before_queries_and_documents():
    prompted = Encoder.load("bundled", prompts={"query": "query: ", "document": "text: "}, precision="float32")
    plain = Encoder.load("bundled", precision="float32")
    assert largest_difference(prompted.encode_queries(["fern"]), plain.encode(["query: fern"])) < 1e-6
    assert largest_difference(prompted.encode_documents(["fern"]), plain.encode(["text: fern"])) < 1e-6
    assert prompted.fingerprint != plain.fingerprint


def test_saved_folder_is_loaded_with_the_same_settings_vectors_and_fingerprint(tmp_path):
    made = Encoder.load("bundled", prompts={"query": "q: "}, max_length=64, truncate_dim=128, precision="float32")
    made.save(tmp_path / "m")
    loaded = Encoder.load(tmp_path / "m", precision="float32")
    assert (loaded.prompts, loaded.max_length, loaded.dim) == ({"query": "q: ", "document": ""}, 64, 128)
    assert loaded.fingerprint == made.fingerprint
    assert (loaded.encode_queries(TEXTS) == made.encode_queries(TEXTS)).all()
    plain = SentenceTransformer(str(tmp_path / "m"), device="cpu", truncate_dim=128)
    reference = plain.encode(["a fern"], prompt_name="query", normalize_embeddings=True)
    assert largest_difference(reference, loaded.encode_queries(["a fern"])) < 1e-5


def test_prompts_of_other_names_are_saved_too(tmp_path):
    """Without the one that is the default, the folder could not be opened."""
    stored = {"query": "q: ", "passage": "p: ", "clustering": "c: "}
    folder = with_prompts(shutil.copytree(BUNDLED_PATH, tmp_path / "m"), stored, default="passage")
    made = Encoder.load(folder, precision="float32")
    plain = SentenceTransformer(str(made.save(tmp_path / "saved")), device="cpu")
    assert plain.prompts == {**stored, "document": "p: "}
    assert plain.default_prompt_name == "passage"
    again = Encoder.load(tmp_path / "saved", precision="float32")
    assert again.fingerprint == made.fingerprint
    assert again.sentence_transformer.prompts == plain.prompts
    assert largest_difference(plain.encode_document(["fern"]), made.encode_documents(["fern"])) < 1e-5


@pytest.mark.parametrize("document", ["", "new: "])
def test_a_prompt_that_is_set_replaces_the_stored_one_by_all_its_names(tmp_path, document):
    folder = with_prompts(shutil.copytree(BUNDLED_PATH, tmp_path / "m"), {"query": "q: ", "passage": "p: "})
    made = Encoder.load(folder, prompts={"document": document})
    again = Encoder.load(made.save(tmp_path / "saved"))
    assert again.prompts == {"query": "q: ", "document": document}
    assert again.fingerprint == made.fingerprint


def test_saved_folder_has_the_fields_that_older_readers_need(encoder, tmp_path):
    encoder.save(tmp_path / "m")
    pooling = json.loads((tmp_path / "m" / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode"] == "mean"
    assert pooling["pooling_mode_mean_tokens"] is True
    assert pooling["pooling_mode_cls_token"] is False
    assert pooling["word_embedding_dimension"] == 384
    assert json.loads((tmp_path / "m" / "sentence_bert_config.json").read_text())["max_seq_length"] == 512


def test_save_replaces_only_a_model_and_only_when_told(encoder, tmp_path):
    encoder.save(tmp_path / "m")
    with pytest.raises(ArtifactError, match="exists already"):
        encoder.save(tmp_path / "m")
    encoder.save(tmp_path / "m", force=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "n.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="did not write"):
        encoder.save(tmp_path / "notes", force=True)


def test_the_bundled_encoder_keeps_its_fingerprint(encoder):
    """Indexes store it."""
    assert encoder.fingerprint == "444972280b91bef200959b88e1b0bbd2540349f8bee4be43fd1e446b77d62c63"


def test_fingerprint_changes_with_whatever_changes_vectors(encoder):
    prints = {encoder.fingerprint}
    prints.add(Encoder.load("bundled", max_length=100).fingerprint)
    prints.add(Encoder.load("bundled", truncate_dim=100).fingerprint)
    modules = Encoder.load("bundled").sentence_transformer
    with torch.no_grad():
        modules[0].model.layers[3].mlp.Wo.weight[5, 5] += 1e-3
    prints.add(encoder.of(modules).fingerprint)
    assert len(prints) == 4


def test_a_published_model_gets_the_prompts_and_length_of_its_card(tmp_path, monkeypatch):
    folder = tmp_path / "lightonai" / "modernbert-embed-large"
    folder.mkdir(parents=True)
    tiny_model(folder)
    monkeypatch.chdir(tmp_path)
    loaded = Encoder.load("lightonai/modernbert-embed-large", precision="float32")
    assert loaded.prompts == {"query": "search_query: ", "document": "search_document: "}
    assert loaded.max_length == 512
    reference = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": "float32"})
    assert largest_difference(loaded.encode_queries(["fern"]), reference.encode(["search_query: fern"])) < 1e-5
    assert Encoder.load("lightonai/modernbert-embed-large", max_length=8192).max_length == 8192
    loaded.save(tmp_path / "saved")
    again = Encoder.load(tmp_path / "saved", precision="float32")
    assert again.fingerprint == loaded.fingerprint


@pytest.mark.parametrize("place", ["modernbert-embed-large", "models--lightonai--modernbert-embed-large/snapshots/abc"])
def test_a_local_copy_of_a_published_model_gets_them_too(tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(parents=True)
    loaded = Encoder.load(tiny_model(folder))
    assert (loaded.prompts["query"], loaded.max_length) == ("search_query: ", 512)
    without = Encoder.load(folder, prompts={"query": "", "document": ""})
    saved = Encoder.load(without.save(tmp_path / "saved" / "modernbert-embed-large"))
    assert saved.fingerprint == without.fingerprint


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with one model, of which the cache holds the files that are named; gives the folder of the cache."""
    whole, cached = tmp_path / "hub", tmp_path / "cached"
    whole.mkdir()

    def snapshot_download(name, *, local_files_only=False, ignore_patterns=()):
        if not local_files_only:
            shutil.copytree(whole, cached, dirs_exist_ok=True)
        return str(cached)

    def holds(*names):
        cached.mkdir()
        for name in names:
            shutil.copy(whole / name, cached / name)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        return cached

    tiny_model(whole)
    return holds


@pytest.mark.parametrize("missing", ["model.safetensors", "tokenizer.json", "modules.json"])
def test_a_download_that_was_cut_off_is_completed(hub, missing):
    names = ["modules.json", "config.json", "tokenizer_config.json", "tokenizer.json", "model.safetensors"]
    cached = hub(*(name for name in names if name != missing))
    assert Encoder.load("organisation/model").dim == 32
    assert (cached / missing).is_file()


def test_a_bare_transformer_of_the_hub_is_named_as_such(hub, tmp_path):
    (tmp_path / "hub" / "modules.json").unlink()
    hub()
    with pytest.raises(ModelError, match=r"holds no modules\.json, so it is not a sentence-transformers folder"):
        Encoder.load("organisation/model")


def test_a_prompt_that_leaves_no_token_for_a_text_is_refused():
    prompt = "Represent this question for searching: "  # 8 tokens with the special ones
    with pytest.raises(ConfigError, match="max_length is 8 tokens, and the prompt 'query' leaves none"):
        Encoder.load("bundled", max_length=8, prompts={"query": prompt})
    vectors = Encoder.load("bundled", max_length=9, prompts={"query": prompt}).encode_queries(["fern", "moss"])
    assert largest_difference(*vectors) > 1e-2


def test_the_precision_is_the_encoders_own_under_autocast(encoder):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = encoder.encode(["a fern"])
    assert (vectors == encoder.encode(["a fern"])).all()


def test_a_model_keeps_the_prompts_that_it_stores(tmp_path):
    folder = tmp_path / "m"
    folder.mkdir()
    tiny_model(folder, prompts={"query": "Q ", "document": "D "}, max_length=300)
    loaded = Encoder.load(folder)
    assert (loaded.prompts, loaded.max_length) == ({"query": "Q ", "document": "D "}, 300)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"truncate_dim": 385}, "384 dimensions"),
        ({"max_length": 9000}, "positions for 8192"),
        ({"max_length": 2}, "max_length is 2"),
        ({"prompts": {"passage": "p"}}, "passage"),
        ({"precision": "float16"}, "float16"),
        ({"device": "tpu"}, "'tpu'"),
        ({"device": "cuda:99"}, "'cuda:99'"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(options, named):
    with pytest.raises(ConfigError, match=named):
        Encoder.load("bundled", **options)


def test_a_model_that_cannot_be_had_is_named(tmp_path):
    with pytest.raises(ModelError, match="no such folder"):
        Encoder.load("nowhere")
    with pytest.raises(ModelError, match=r"hub cannot be reached"):
        Encoder.load("nobody/nothing-at-all")
    with pytest.raises(ModelError, match="not a valid hub name"):
        Encoder.load("my models/the best one!")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"no modules\.json"):
        Encoder.load(tmp_path / "empty")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json", "modules.json", "embedft.json"])
def test_a_damaged_folder_is_named(tmp_path, encoder, name):
    folder = encoder.save(tmp_path / "m")
    (folder / name).write_bytes((folder / name).read_bytes()[:20])
    with pytest.raises(ModelError, match=str(folder)):
        Encoder.load(folder)
