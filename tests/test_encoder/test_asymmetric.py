"""Encoders with a query side of their own: documents stay as they are, and sentence-transformers reads the folder."""

import copy
import json

import numpy as np
import pytest
import torch
from families import FAMILIES, saved
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Router
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from embedft.encoder import Encoder, with_layer
from embedft.errors import ModelError, WrongModelError
from embedft.index import Index

TEXTS = ["fern in deep shade", "A sentence of some length about the care of ferns in deep shade.", "Words " * 300, ""]


def largest_difference(left, right):
    return float(np.abs(np.asarray(left) - np.asarray(right)).max())


def layer(size=384, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.eye(size) + 0.02 * torch.randn(size, size, generator=draw)


def adapted(base):
    return base.with_query_side(with_layer(base.query_side.sentence_transformer, layer(base.dim)))


def with_tower(base):
    tower = copy.deepcopy(base.sentence_transformer)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.mul_(1.02)
    return base.with_query_side(tower)


@pytest.fixture(scope="module", params=[adapted, with_tower], ids=["adapter", "tower"])
def tuned(request, encoder):
    return request.param(encoder)


@pytest.fixture(scope="module")
def folder(tuned, tmp_path_factory):
    return tuned.save(tmp_path_factory.mktemp("asymmetric") / "model")


def test_documents_keep_their_vectors_bit_by_bit_and_queries_do_not(tuned, encoder):
    assert np.array_equal(tuned.encode_documents(TEXTS), encoder.encode_documents(TEXTS))
    assert np.array_equal(tuned.encode(TEXTS), encoder.encode(TEXTS))
    assert largest_difference(tuned.encode_queries(TEXTS), encoder.encode_queries(TEXTS)) > 1e-3


def test_the_saved_folder_gives_the_same_vectors_here_and_in_sentence_transformers(tuned, folder):
    loaded = Encoder.load(folder, precision="float32")
    theirs = SentenceTransformer(str(folder))
    assert np.array_equal(loaded.encode_queries(TEXTS), tuned.encode_queries(TEXTS))
    assert np.array_equal(loaded.encode_documents(TEXTS), tuned.encode_documents(TEXTS))
    assert largest_difference(loaded.encode_queries(TEXTS), theirs.encode_query(TEXTS)) < 1e-5
    assert largest_difference(loaded.encode_documents(TEXTS), theirs.encode_document(TEXTS)) < 1e-5
    assert largest_difference(loaded.encode(TEXTS), theirs.encode(TEXTS)) < 1e-5


def test_saved_again_it_is_the_same_encoder(tuned, folder, tmp_path):
    again = Encoder.load(Encoder.load(folder).save(tmp_path / "again"))
    assert again.fingerprint == tuned.fingerprint
    assert {file.relative_to(folder) for file in folder.rglob("*")} == {
        file.relative_to(tmp_path / "again") for file in (tmp_path / "again").rglob("*")
    }


def test_it_is_bound_to_the_documents_of_its_base(tuned, folder, encoder):
    loaded = Encoder.load(folder)
    assert tuned.document_fingerprint == loaded.document_fingerprint == encoder.fingerprint
    assert tuned.fingerprint == loaded.fingerprint != encoder.fingerprint
    assert encoder.document_fingerprint == encoder.fingerprint
    assert encoder.query_side is encoder


def test_the_way_over_sentence_transformers_has_the_same_identity(tuned, folder, monkeypatch):
    # As for folders that we do not read ourselves.
    monkeypatch.setattr("embedft.encoder.encoder.open_sides", lambda folder: None)
    opened = Encoder.load(folder, precision="float32")
    assert opened.fingerprint == tuned.fingerprint
    assert largest_difference(opened.encode_queries(TEXTS), tuned.encode_queries(TEXTS)) < 1e-5


def test_a_transformer_of_both_sides_is_stored_and_computed_once(encoder, tmp_path):
    tuned = adapted(encoder)
    folder = tuned.save(tmp_path / "adapter")
    weights = sorted(str(file.parent.relative_to(folder)) for file in folder.rglob("model.safetensors"))
    assert weights == ["document_0_Transformer", "query_3_Dense"]
    loaded = Encoder.load(folder, precision="float32")
    assert loaded.query_side._forward._states == loaded._forward._states
    model = loaded.sentence_transformer
    assert model[0].sub_modules["query"][0] is model[0].sub_modules["document"][0]


def test_two_layers_one_behind_the_other(encoder):
    once = adapted(encoder)
    twice = once.with_query_side(with_layer(once.query_side.sentence_transformer, layer(seed=1)))
    expected = once.encode_queries(TEXTS) @ layer(seed=1).numpy().T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert largest_difference(twice.encode_queries(TEXTS), expected) < 1e-5
    assert twice.document_fingerprint == encoder.fingerprint


@pytest.mark.parametrize("make", [adapted, with_tower])
def test_prompts_lengths_and_dimensions_hold_on_both_sides(make, tmp_path):
    settings = {"prompts": {"query": "ask: ", "document": "say: "}, "max_length": 16, "truncate_dim": 64}
    base = Encoder.load("bundled", precision="float32", **settings)
    whole = Encoder.load("bundled", precision="float32", **{**settings, "truncate_dim": None})
    folder = base.with_query_side(make(whole).query_side.sentence_transformer).save(tmp_path / "model")
    tuned = Encoder.load(folder, precision="float32")
    assert (tuned.prompts, tuned.max_length, tuned.dim) == (settings["prompts"], 16, 64)
    assert np.array_equal(tuned.encode_documents(TEXTS), base.encode_documents(TEXTS))
    before = tuned.truncated
    queries = tuned.encode_queries(TEXTS)
    assert tuned.truncated == before + 2
    theirs = SentenceTransformer(str(folder), truncate_dim=64).encode_query(TEXTS, normalize_embeddings=True)
    assert largest_difference(queries, theirs) < 1e-5


def test_other_families_have_query_sides_too(tmp_path):
    base = Encoder.load(saved(tmp_path, FAMILIES["distilbert"]()), precision="float32")
    folder = adapted(base).save(tmp_path / "model")
    tuned, theirs = Encoder.load(folder, precision="float32"), SentenceTransformer(str(folder))
    assert np.array_equal(tuned.encode_documents(TEXTS), base.encode_documents(TEXTS))
    assert largest_difference(tuned.encode_queries(TEXTS), theirs.encode_query(TEXTS)) < 1e-5
    assert tuned.document_fingerprint == base.fingerprint


def test_a_router_that_others_made_opens(tmp_path, encoder):
    query = with_tower(encoder).query_side.sentence_transformer
    router = Router.for_query_document(list(query), list(encoder.sentence_transformer))
    SentenceTransformer(modules=[router], prompts={"query": "q: ", "document": ""}).save(str(tmp_path / "theirs"))
    opened, theirs = (
        Encoder.load(tmp_path / "theirs", precision="float32"),
        SentenceTransformer(str(tmp_path / "theirs")),
    )
    assert opened.prompts == {"query": "q: ", "document": ""}
    assert largest_difference(opened.encode_queries(TEXTS), theirs.encode_query(TEXTS)) < 1e-5
    assert largest_difference(opened.encode_documents(TEXTS), theirs.encode_document(TEXTS)) < 1e-5


def test_routers_that_are_no_two_bi_encoders_are_refused(tmp_path, encoder):
    model = encoder.sentence_transformer
    static = StaticEmbedding(model.tokenizer, embedding_dim=384)
    SentenceTransformer(modules=[Router.for_query_document([static], list(model))]).save(str(tmp_path / "static"))
    with pytest.raises(ModelError, match="StaticEmbedding"):
        Encoder.load(tmp_path / "static")
    router = Router({"text": list(model), "code": list(model)}, default_route="text")
    SentenceTransformer(modules=[router]).save(str(tmp_path / "text"))
    with pytest.raises(ModelError, match="text, code"):
        Encoder.load(tmp_path / "text")


def test_a_damaged_router_file_is_named(folder, tmp_path, tuned):
    broken = tuned.save(tmp_path / "broken")
    (broken / "router_config.json").write_text(json.dumps({"types": {}}))
    with pytest.raises(ModelError, match="broken"):
        Encoder.load(broken)


def test_sides_of_different_length_are_refused(encoder, tmp_path):
    narrow = Encoder.load(saved(tmp_path, FAMILIES["modernbert"]())).sentence_transformer
    with pytest.raises(ModelError, match="32 dimensions and documents 384"):
        encoder.with_query_side(narrow)


def test_an_index_of_the_base_opens_with_the_tuned_encoder_and_the_other_way_round(
    tuned, folder, encoder, garden_data, tmp_path
):
    for built_by, other in ((encoder, tuned), (tuned, encoder)):
        Index.build(garden_data.corpus, built_by, tmp_path / "idx", force=True)
        queries = garden_data.judged_queries("test")[1]
        index = Index.open(tmp_path / "idx", other)
        assert index.manifest["fingerprint"] == encoder.fingerprint
        expected = other.encode_queries(queries) @ encoder.encode_documents(garden_data.document_texts()).T
        assert [hits[0].score for hits in index.search(queries)] == pytest.approx(expected.max(axis=1), abs=1e-6)


def test_an_index_is_refused_to_the_query_side_itself(encoder, garden_data, tmp_path):
    tuned = with_tower(encoder)
    Index.build(garden_data.corpus, tuned, tmp_path / "idx")
    with pytest.raises(WrongModelError):
        Index.open(tmp_path / "idx", tuned.query_side)


def test_the_commands_take_it(cli, encoder, garden, tmp_path):
    tuned = adapted(encoder)
    folder = tuned.save(tmp_path / "model")
    built = cli("index", "build", garden, "--model", "bundled", "-o", tmp_path / "idx", "--precision", "float32")
    assert built.returncode == 0, built.stderr
    found = cli("search", tmp_path / "idx", "fern in deep shade", "--model", folder, "--json")
    assert found.returncode == 0, found.stderr
    assert json.loads(found.stdout)["hits"]
    (tmp_path / "texts.txt").write_text("fern in deep shade\n")
    options = ("-o", tmp_path / "v.npy", "--as", "query", "--precision", "float32")
    assert cli("encode", tmp_path / "texts.txt", "--model", folder, *options).returncode == 0
    # Another process may compute on another number of threads, which rounds otherwise.
    assert largest_difference(np.load(tmp_path / "v.npy"), tuned.encode_queries(["fern in deep shade"])) < 1e-6
