"""A guide embeds each text once, keeps what it computed, and is used by id."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from families import bert, modernbert, saved
from loss_cases import TRIPLETS, guide_of, table
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from embedft.encoder import BUNDLED_PATH, Encoder
from embedft.errors import ConfigError, DataError, ModelError
from embedft.training.losses.crossencoder import CrossScorer, is_cross_encoder
from embedft.training.losses.guide import GuideVectors, PairScores, open_guide
from embedft.training.losses.masks import text_ids
from embedft.training.losses.registry import check_loss

ROWS = table(TRIPLETS)
MORE = [{"anchor": TRIPLETS[0]["anchor"], "positive": "Ferns drink rain.", "negatives": ["Sand.", "Salt."]}]


@pytest.fixture(scope="module")
def guide_encoder(tmp_path_factory):
    path = saved(tmp_path_factory.mktemp("guide"), modernbert())
    return Encoder.load(path, precision="float32", prompts={"query": "query: ", "document": "text: "})


def cross_encoder(folder, labels=1):
    """A folder of a cross-encoder of random weights."""
    torch.manual_seed(3)
    size = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = BertForSequenceClassification(
        BertConfig(vocab_size=30522, max_position_embeddings=128, num_labels=labels, **size)
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.05)
    model.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_PATH)
    tokenizer.model_max_length = 128
    tokenizer.save_pretrained(folder)
    return folder


def files_of(folder):
    """Every file of numbers with the time it was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.suffix in (".npy", ".ids")}


def test_queries_and_documents_are_embedded_as_such(guide_encoder, tmp_path):
    guide = GuideVectors.embed(guide_encoder, ROWS, tmp_path)
    anchors = [row["anchor"] for row in TRIPLETS[::-1]]
    negatives = [row["negatives"][0] for row in TRIPLETS]
    found = guide.queries(text_ids(anchors)), guide.documents(text_ids(negatives * 2))
    np.testing.assert_allclose(found[0].numpy(), guide_encoder.encode_queries(anchors), atol=1e-5)
    np.testing.assert_allclose(found[1].numpy(), guide_encoder.encode_documents(negatives * 2), atol=1e-5)
    scores = guide.scores(text_ids(anchors), text_ids(negatives))
    torch.testing.assert_close(scores, found[0] @ found[1][: len(negatives)].T)
    torch.testing.assert_close(guide.scores_of(text_ids(anchors), text_ids(negatives)), scores.diagonal())
    listed = guide.listed(text_ids(anchors), text_ids(negatives))
    assert torch.equal(listed, torch.eye(len(anchors), dtype=torch.bool).flip(0))


def test_what_is_there_is_not_computed_again(guide_encoder, tmp_path):
    first = GuideVectors.embed(guide_encoder, ROWS, tmp_path)
    written = files_of(tmp_path)
    again = GuideVectors.embed(guide_encoder, ROWS.slice(2), tmp_path)
    assert files_of(tmp_path) == written
    ids = text_ids([row["positive"] for row in TRIPLETS])
    assert torch.equal(first.documents(ids), again.documents(ids))


def test_new_texts_are_added_beside_the_old_ones(guide_encoder, tmp_path):
    guide = GuideVectors.embed(guide_encoder, ROWS, tmp_path)
    written = files_of(tmp_path)
    with pytest.raises(DataError, match="2 of 3 documents"):
        guide.documents(text_ids(["Sand.", "Salt.", TRIPLETS[1]["positive"]]))
    guide = GuideVectors.embed(guide_encoder, table([*TRIPLETS, *MORE]), tmp_path)
    mixed = ["Sand.", TRIPLETS[1]["positive"], "Ferns drink rain.", TRIPLETS[0]["negatives"][0]]
    np.testing.assert_allclose(
        guide.documents(text_ids(mixed)).numpy(), guide_encoder.encode_documents(mixed), atol=1e-5
    )
    assert guide.listed(text_ids([TRIPLETS[0]["anchor"]]), text_ids(mixed)).tolist() == [[True, False, True, True]]
    assert files_of(tmp_path).items() > written.items()


def test_another_guide_begins_anew(guide_encoder, tmp_path):
    GuideVectors.embed(guide_encoder, ROWS, tmp_path / "vectors")
    written = files_of(tmp_path / "vectors")
    other = Encoder.load(saved(tmp_path, bert()), precision="float32")
    guide = GuideVectors.embed(other, ROWS, tmp_path / "vectors")
    assert not written.keys() & files_of(tmp_path / "vectors").keys()
    anchors = [row["anchor"] for row in TRIPLETS]
    np.testing.assert_allclose(guide.queries(text_ids(anchors)).numpy(), other.encode_queries(anchors), atol=1e-5)


def test_a_guide_with_a_query_side_reads_queries_by_it(guide_encoder, tmp_path):
    from embedft.encoder import with_layer

    modules = guide_encoder.sentence_transformer
    turned = torch.eye(guide_encoder.dim).roll(1, 0)
    tuned = guide_encoder.with_query_side(with_layer(modules, turned))
    guide = GuideVectors.embed(tuned, ROWS, tmp_path)
    anchors = [row["anchor"] for row in TRIPLETS]
    np.testing.assert_allclose(guide.queries(text_ids(anchors)).numpy(), tuned.encode_queries(anchors), atol=1e-5)
    assert not np.allclose(tuned.encode_queries(anchors), guide_encoder.encode_queries(anchors), atol=1e-2)


def test_a_guide_that_was_killed_goes_on(guide_encoder, tmp_path):
    """Ids are written before vectors: without those they count for nothing."""
    GuideVectors.embed(guide_encoder, ROWS, tmp_path)
    (vectors,) = tmp_path.rglob("documents-*.npy")
    whole = vectors.read_bytes()
    vectors.unlink()
    GuideVectors.embed(guide_encoder, ROWS, tmp_path)
    assert vectors.read_bytes() == whole


def test_rows_without_negatives_and_in_many_chunks_are_read(guide_encoder, tmp_path):
    rows = pa.concat_tables([table([row | {"negatives": []}]) for row in TRIPLETS] + [ROWS.slice(3, 2)])
    guide = GuideVectors.embed(guide_encoder, rows, tmp_path)
    assert guide.documents(text_ids([TRIPLETS[3]["negatives"][0], TRIPLETS[7]["positive"]])).shape == (2, 32)


def test_a_cross_encoder_scores_the_listed_pairs(tmp_path):
    folder = cross_encoder(tmp_path / "cross")
    rows = [*TRIPLETS, *MORE]
    guide = open_guide(str(folder), table(rows), tmp_path / "scores", device="cpu")
    assert isinstance(guide, PairScores)
    pairs = [(row["anchor"], text) for row in rows for text in (row["positive"], *row["negatives"])]
    expected = CrossEncoder(str(folder), device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    anchors, candidates = (text_ids(side) for side in zip(*pairs, strict=True))
    np.testing.assert_allclose(guide.scores_of(anchors, candidates).numpy(), expected, atol=1e-5)
    every, listed = guide.scores(anchors, candidates), guide.listed(anchors, candidates)
    torch.testing.assert_close(every.diagonal(), torch.from_numpy(expected), atol=1e-5, rtol=0)
    known = {(a, c) for a, c in pairs}
    assert listed.tolist() == [[(a, c) in known for _, c in pairs] for a, _ in pairs]
    assert not every[~listed].any()
    with pytest.raises(DataError, match="are not among"):
        guide.scores_of(anchors[:1], candidates[3:4])
    written = files_of(tmp_path / "scores")
    open_guide(str(folder), table(rows), tmp_path / "scores", device="cpu")
    assert files_of(tmp_path / "scores") == written


def test_a_folder_says_whether_it_is_a_cross_encoder(tmp_path, guide_encoder):
    assert is_cross_encoder(cross_encoder(tmp_path / "one"))
    assert not is_cross_encoder(guide_encoder.name)
    assert not is_cross_encoder(BUNDLED_PATH)
    assert not is_cross_encoder("bundled")
    with pytest.raises(ModelError, match="gives 3 scores"):
        CrossScorer(cross_encoder(tmp_path / "three", labels=3), "cpu")
    (tmp_path / "one" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be opened"):
        CrossScorer(tmp_path / "one", "cpu")


def test_a_cross_encoder_knows_nothing_of_a_whole_batch(tmp_path):
    folder = str(cross_encoder(tmp_path / "cross"))
    losses = ("gist", "distil_kl", "distil_margin_mse")
    with pytest.raises(ConfigError, match="compares all texts"):
        check_loss("gist", {}, losses, guide=folder)
    with pytest.raises(ConfigError, match="pairs of the training rows alone"):
        check_loss("distil_kl", {}, losses, guide=folder)
    check_loss("distil_kl", {"in_batch": False}, losses, guide=folder)
    check_loss("distil_margin_mse", {}, losses, guide=folder)


def test_the_open_guide_is_the_one_of_the_tests(tmp_path):
    encoder, guide = guide_of(tmp_path)
    opened = open_guide(encoder.name, ROWS, tmp_path / "vectors", device="cpu", precision="float32")
    ids = text_ids([row["anchor"] for row in TRIPLETS])
    assert torch.equal(guide.queries(ids), opened.queries(ids))
