"""Hard negatives: sentence-transformers' choice, and nothing that is relevant."""

import json
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import GARDEN
from datasets import Dataset
from sentence_transformers import CrossEncoder, SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from sentence_transformers.util import mine_hard_negatives
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from embedft.config import HardNegativesConfig
from embedft.data import read_retrieval
from embedft.data.near import normalised, shingle_hashes
from embedft.data.retrieval import PAIRS_SCHEMA
from embedft.encoder import BUNDLED_PATH, Encoder
from embedft.errors import ConfigError, DataError, ModelError
from embedft.index import exact_search
from embedft.index.nearest import nearest
from embedft.training.mining.mine import mine_negatives, require_found
from embedft.training.mining.near_positives import near_duplicates
from embedft.training.mining.negatives import RowLists, check_negatives, choose_negatives
from embedft.training.mining.rescoring import CrossEncoderScores

OPTIONS = ("range_min", "range_max", "max_score", "min_score", "absolute_margin", "relative_margin")
OPTIONS += ("num_negatives", "sampling_strategy")


def settings(**values):
    """Negatives without limits but those named."""
    return HardNegativesConfig(**{"relative_margin": None, "near_duplicates": None, **values})


def unit(rows, dim, seed):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def peer():
    """A fast model of sentence-transformers, pairs with up to 5 positives an anchor, and all their vectors."""
    torch.manual_seed(0)
    words = StaticEmbedding(AutoTokenizer.from_pretrained(BUNDLED_PATH), embedding_dim=64)
    model = SentenceTransformer(modules=[words, Normalize()], device="cpu")
    drawn = random.Random(0)
    vocabulary = sorted({word for text in read_retrieval(GARDEN).document_texts() for word in text.split()})
    corpus = list(dict.fromkeys(" ".join(drawn.sample(vocabulary, 8)) for _ in range(700)))
    rows = [(" ".join(drawn.sample(text.split(), 4)), text) for text in corpus[:150]]
    rows += [(drawn.choice(rows[:90])[0], drawn.choice(corpus)) for _ in range(120)]
    rows += rows[:3]  # a pair may stand twice
    anchors = list(dict.fromkeys(anchor for anchor, _ in rows))
    place = {text: row for row, text in enumerate(corpus)}
    positives = RowLists.of([[place[text] for anchor, text in rows if anchor == name] for name in anchors])
    return model, rows, corpus, anchors, positives, model.encode_query(anchors), model.encode_document(corpus)


def theirs(peer, config, *, use_faiss, seed=0, cross_encoder=None):
    """Anchor -> texts that sentence-transformers chose, in its order."""
    model, rows, corpus = peer[:3]
    pairs = Dataset.from_dict({"anchor": [row[0] for row in rows], "positive": [row[1] for row in rows]})
    random.seed(seed)
    mined = mine_hard_negatives(
        pairs,
        model,
        corpus=corpus,
        cross_encoder=cross_encoder,
        use_faiss=use_faiss,
        verbose=False,
        **{name: getattr(config, name) for name in OPTIONS},
    )
    found = {}
    for anchor, negative in zip(mined["anchor"], mined["negative"], strict=True):
        found.setdefault(anchor, {})[negative] = True
    return {anchor: list(negatives) for anchor, negatives in found.items()}


def ours(peer, config, **options):
    _, _, corpus, anchors, positives, queries, documents = peer
    chosen = choose_negatives(queries, documents, positives, config, **options)
    texts = ([corpus[row] for row in rows if row >= 0] for rows in chosen.rows)
    return {anchor: found for anchor, found in zip(anchors, texts, strict=True) if found}


COMBINATIONS = [
    {"num_negatives": 3, "range_max": 20},
    {"num_negatives": 5, "range_min": 5, "range_max": 30, "relative_margin": 0.05},
    {"num_negatives": 2, "range_max": 15, "absolute_margin": 0.1},
    {"num_negatives": 4, "range_max": 50, "max_score": 0.6, "min_score": 0.4, "relative_margin": 0.2},
    {"num_negatives": 3, "range_max": None},
    {"num_negatives": 3, "range_max": None, "range_min": 2, "absolute_margin": 0.02, "relative_margin": 0.01},
    {"num_negatives": 3, "range_min": 3, "range_max": 40, "sampling_strategy": "random", "relative_margin": 0.05},
    {"num_negatives": 4, "range_max": 5, "sampling_strategy": "random", "absolute_margin": 0.2},
    {"num_negatives": 20, "range_max": 2000},
]


@pytest.mark.parametrize("use_faiss", [True, False])
@pytest.mark.parametrize("options", COMBINATIONS, ids=str)
def test_the_same_options_give_the_negatives_of_sentence_transformers(peer, options, use_faiss):
    config = settings(**options)
    expected = theirs(peer, config, use_faiss=use_faiss, seed=7)
    found = ours(peer, config, seed=7)
    assert expected
    assert found.keys() == expected.keys()
    if options["num_negatives"] <= 5:
        assert found == expected
    else:  # of nearly all documents some have nearly the same score, and rounding orders them
        assert {anchor: set(texts) for anchor, texts in found.items()} == {
            anchor: set(texts) for anchor, texts in expected.items()
        }


@pytest.mark.parametrize("refused", [None, lambda queries, rows: rows % 7 == 1], ids=["none", "some"])
def test_a_block_of_queries_at_a_time_gives_the_same_choice(refused):
    queries, documents = unit(1500, 8, 0), unit(1500, 8, 1)
    positives = RowLists.of([[row] for row in range(1500)])
    config = settings(num_negatives=4, range_max=20, sampling_strategy="random")
    assert len(list(nearest(queries, documents, 21, block_mb=1))) > len(list(nearest(queries, documents, 21))) == 1
    whole, parts = (
        choose_negatives(queries, documents, positives, config, refused=refused, seed=1, block_mb=block_mb)
        for block_mb in (256, 1)
    )
    assert np.array_equal(whole.rows, parts.rows)
    assert whole.rejected == parts.rejected


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory):
    """A small cross-encoder with random weights, as a folder."""
    folder = tmp_path_factory.mktemp("cross-encoder")
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(BUNDLED_PATH)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_cross_encoder_decides_as_in_sentence_transformers(peer, cross_encoder):
    config = settings(num_negatives=2, range_min=1, range_max=12, absolute_margin=0.01, max_score=0.9)
    expected = theirs(peer, config, use_faiss=False, cross_encoder=CrossEncoder(str(cross_encoder), device="cpu"))
    scorer = CrossEncoderScores.load(str(cross_encoder), peer[3], peer[2], device="cpu")
    found = ours(peer, config.model_copy(update={"cross_encoder": str(cross_encoder)}), scorer=scorer)
    assert found == expected
    assert found != ours(peer, config)


def test_what_is_refused_is_replaced_by_others_of_the_same_ranks():
    queries, documents = unit(30, 8, 0), unit(300, 8, 1)
    positives = RowLists.of([[row] for row in range(30)])
    for strategy in ("top", "random"):
        config = settings(num_negatives=4, range_max=20, sampling_strategy=strategy)

        def odd(numbers, rows):
            return rows % 2 == 1

        found = choose_negatives(queries, documents, positives, config, refused=odd, seed=1)
        assert (found.rows[found.rows >= 0] % 2 == 0).all()
        assert found.rejected["near_duplicates"] > 0
        if strategy == "top":
            ranked = exact_search(queries, documents, 21)[1]
            ranked = [[row for row in rows if row != number][:20] for number, rows in enumerate(ranked.tolist())]
            even = [[row for row in rows if row % 2 == 0][:4] for rows in ranked]
            assert [[row for row in rows if row >= 0] for rows in found.rows.tolist()] == even


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"range_min": 100}, "range_min is 100, but range_max is 100"),
        ({"range_min": 8, "range_max": 10, "num_negatives": 3}, "leave 2"),
        ({"min_score": 0.8, "max_score": 0.7}, "min_score is 0.8, but max_score is 0.7"),
        ({"guide": "bundled", "cross_encoder": "x", "max_score": 0.5}, "both set"),
        ({"guide": "bundled"}, "guide has nothing to decide on"),
    ],
)
def test_settings_that_leave_nothing_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        check_negatives(settings(**values))


# Near duplicates


def test_near_duplicates_are_those_of_data_check(monkeypatch):
    drawn = random.Random(0)
    words = [f"word{number}" for number in range(30)]
    texts = [" ".join(drawn.choices(words, k=drawn.randint(0, 30))) for _ in range(200)]
    texts += [f"{text}, x" for text in texts[:100]]
    texts += ["", "a", "A."]
    pairs = np.array(
        [(number, number + 200) for number in range(100)]
        + [(drawn.randrange(len(texts)), drawn.randrange(len(texts))) for _ in range(1000)]
        + [(301, 302), (300, 301), (5, 5)]
    )
    hashes, starts = shingle_hashes([normalised(text) for text in texts])
    sets = [set(hashes[begin:end].tolist()) for begin, end in pairwise(starts.tolist())]
    index = np.array([len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs.tolist()])
    for threshold in (0.3, 0.7, 0.9, 1.0):
        assert np.array_equal(near_duplicates(texts, pairs, threshold), index >= threshold)
        with monkeypatch.context() as patch:
            patch.setattr("embedft.training.mining.near_positives.SHINGLES_AT_ONCE", 500)
            assert np.array_equal(near_duplicates(texts, pairs, threshold), index >= threshold)


# On data


def pair_file(path, rows):
    keys = ("anchor", "positive", "negative")
    path.write_text("".join(json.dumps(dict(zip(keys, row, strict=False))) + "\n" for row in rows))
    return read_retrieval(path)


def test_no_negative_is_relevant_near_a_positive_the_anchor_or_given(encoder, tmp_path):
    plants = ["tomato", "basil", "rosemary", "fern", "mint", "dahlia", "lettuce", "sunflower"]
    care = {
        plant: f"Water the {plant} in the morning, feed it every month, and cut it back in autumn" for plant in plants
    }
    rows = [(f"how to look after {plant}", text) for plant, text in care.items()]
    rows += [("how to look after tomato", "Tomatoes like sun.", "Ferns like shade.")]
    rows += [(f"is it true, number {number}", f"{care['tomato']}{'!' * number}") for number in range(1, 4)]
    rows += [("what does a fern like", "Ferns like shade."), ("and who", "how to look after tomato")]
    data = pair_file(tmp_path / "pairs.jsonl", rows)
    mined = mine_negatives(encoder, data, data.training_pairs(), settings(num_negatives=50, near_duplicates=0.9))
    for row in mined.rows.filter(
        [text == "how to look after tomato" for text in mined.rows["anchor"].to_pylist()]
    ).to_pylist():
        negatives = row["negatives"]
        assert len(set(negatives)) == len(negatives)
        assert not set(negatives) & {care["tomato"], "Tomatoes like sun.", "how to look after tomato"}
        assert not any(text.startswith(care["tomato"]) for text in negatives)
        assert set(care.values()) - {care["tomato"]} <= set(negatives)
        assert negatives.count("Ferns like shade.") == (row["positive"] == "Tomatoes like sun.")
    report = mined.report
    assert report.rejected["near_duplicates"] >= 3
    assert report.rejected["the anchor or given"] >= 2
    assert report.short_rows == report.rows == mined.rows.num_rows  # 50 are not there, and nothing fills them up
    given = sum(len(row) for row in data.training_pairs()["negatives"].to_pylist())
    assert report.found == sum(len(row) for row in mined.rows["negatives"].to_pylist()) - given


def test_without_a_limit_every_row_gets_what_it_asks_for(encoder, garden_data):
    rows = garden_data.training_pairs()
    mined = mine_negatives(encoder, garden_data, rows, settings(num_negatives=2))
    assert mined.rows.schema == PAIRS_SCHEMA
    assert mined.rows["anchor"] == rows["anchor"]
    assert {len(row) for row in mined.rows["negatives"].to_pylist()} == {2}
    assert (mined.report.found, mined.report.short_rows) == (2 * rows.num_rows, 0)
    assert set(mined.rows["negatives"].combine_chunks().flatten().to_pylist()) <= set(garden_data.document_texts())


def test_mining_again_gives_the_same_and_another_seed_gives_others(encoder, garden_data):
    rows = garden_data.training_pairs()
    config = settings(num_negatives=2, range_max=20, sampling_strategy="random", near_duplicates=0.9)
    once, again, other = (mine_negatives(encoder, garden_data, rows, config, seed=seed).rows for seed in (1, 1, 2))
    assert once == again
    assert once != other


def test_the_encoder_as_its_own_guide_changes_nothing(garden_data):
    encoder = Encoder.load("bundled")
    rows = garden_data.training_pairs()
    config = settings(num_negatives=3, range_max=20, relative_margin=0.1)
    plain = mine_negatives(encoder, garden_data, rows, config)
    guided = mine_negatives(encoder, garden_data, rows, config.model_copy(update={"guide": "bundled"}))
    assert guided.rows == plain.rows
    assert guided.report == plain.report


def test_a_cross_encoder_is_opened_by_name(encoder, garden_data, cross_encoder, tmp_path):
    rows = garden_data.training_pairs()
    config = settings(num_negatives=2, range_max=5, max_score=0.99, cross_encoder=str(cross_encoder))
    mined = mine_negatives(encoder, garden_data, rows, config)
    model = CrossEncoder(str(cross_encoder), device="cpu")
    suspect = mined.audit(1)[0]
    scores = model.predict([(suspect.anchor, suspect.positive), (suspect.anchor, suspect.negative)])
    assert np.allclose(scores, [suspect.positive_score, suspect.negative_score], atol=1e-5)
    with pytest.raises(ModelError, match="cannot be opened"):
        mine_negatives(encoder, garden_data, rows, config.model_copy(update={"cross_encoder": str(tmp_path)}))


def test_the_audit_lists_the_negatives_nearest_to_their_positive_first(encoder, garden_data):
    rows = garden_data.training_pairs()
    mined = mine_negatives(encoder, garden_data, rows, settings(num_negatives=3))
    suspects = mined.audit(1000)
    above = [suspect.negative_score - suspect.positive_score for suspect in suspects]
    anchors = len(set(rows["anchor"].to_pylist()))
    assert len({suspect.anchor for suspect in suspects[:anchors]}) == anchors
    assert above[:anchors] == sorted(above[:anchors], reverse=True)
    assert len(suspects) == mined.report.found
    known = {(row["anchor"], row["positive"]) for row in rows.to_pylist()}
    for suspect in suspects[:10]:
        assert (suspect.anchor, suspect.positive) in known
        scores = (
            encoder.encode_queries([suspect.anchor]) @ encoder.encode_documents([suspect.positive, suspect.negative]).T
        )
        assert np.allclose(scores[0], [suspect.positive_score, suspect.negative_score], atol=1e-5)
    assert mined.report.scores["margin"]["min"] == pytest.approx(-above[0], abs=1e-3)
    assert mined.audit(2) == suspects[:2]


def test_of_pairs_the_corpus_is_the_positives_of_the_rows(encoder, tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    pair_file(folder / "train.jsonl", [("a fern", "Ferns like shade."), ("a tomato", "Tomatoes like sun.", "Salt.")])
    pair_file(folder / "test.jsonl", [("a fern too", "Ferns grow slowly.")])
    data = read_retrieval(folder)
    mined = mine_negatives(encoder, data, data.training_pairs(), settings(num_negatives=5))
    assert mined.rows["negatives"].to_pylist() == [["Tomatoes like sun."], ["Salt.", "Ferns like shade."]]


def test_a_filter_that_takes_everything_is_named(encoder, garden_data):
    rows = garden_data.training_pairs()
    mined = mine_negatives(encoder, garden_data, rows, settings(min_score=0.99, relative_margin=0.01))
    assert mined.report.found == 0
    assert mined.report.scores["negative"] == {}
    with pytest.raises(DataError, match=r"min_score took 2,\d\d\d") as error:
        require_found(mined, GARDEN)
    assert "loosen min_score" in error.value.hint


def test_where_the_anchors_own_text_was_the_only_candidate_no_setting_is_blamed(encoder, tmp_path):
    data = pair_file(tmp_path / "pairs.jsonl", [("a fern", "in the shade"), ("in the shade", "a fern")])
    mined = mine_negatives(encoder, data, data.training_pairs(), settings())
    with pytest.raises(DataError, match="among 2 candidates: the anchor or given took 2") as error:
        require_found(mined, data.path)
    assert error.value.hint == "mine in a larger corpus."
