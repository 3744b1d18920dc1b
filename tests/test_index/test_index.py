"""The index as its users have it: what it finds is what numpy finds over the encoder's vectors."""

import gc
import json
import shutil
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from index_cases import SENTENCES, Vectors, assert_hits

from embedft.data import read_corpus
from embedft.encoder import Encoder
from embedft.errors import ArtifactError, ConfigError, DataError, ModelError, WrongModelError
from embedft.index import Index, writing
from embedft.index import index as module
from embedft.index.identity import load_encoder, require_same
from embedft.index.snapshot import Snapshot
from embedft.index.storage import versions

PLANTS = {f"p{number}": text for number, text in enumerate(SENTENCES[:30])}
ASKED = ["Who bakes?", "letters in winter", SENTENCES[7]]


@pytest.fixture(scope="module")
def vectors(encoder):
    return Vectors(encoder)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A model of the same dimension whose weights differ a little, and its folder."""
    import torch

    changed = Encoder.load("bundled", precision="float32")
    with torch.no_grad():
        changed.sentence_transformer[0].model.layers[0].mlp.Wo.weight.mul_(1.01)
    folder = changed.save(tmp_path_factory.mktemp("models") / "other")
    return Encoder.load(folder, precision="float32")


@pytest.fixture(scope="module")
def documents():
    return [
        {"id": name, "text": text, "year": 2000 + number, "even": number % 2 == 0}
        for number, (name, text) in enumerate(PLANTS.items())
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory, documents, encoder):
    """An index that no test changes."""
    return Index.build(documents, encoder, tmp_path_factory.mktemp("index") / "idx")


@pytest.fixture
def small(tmp_path, encoder):
    """An index of five documents, to be changed."""
    texts = dict(list(PLANTS.items())[:5])
    return Index.build([{"id": name, "text": text} for name, text in texts.items()], encoder, tmp_path / "idx")


def test_search_finds_what_numpy_finds(built, vectors):
    for query, hits in zip(ASKED, built.search(ASKED, k=7), strict=True):
        assert_hits(hits, query, PLANTS, 7, vectors)


def test_a_query_alone_finds_what_it_finds_among_others(built):
    for query, hits in zip(ASKED, built.search(ASKED), strict=True):
        alone = built.search([query])[0]
        assert [hit.id for hit in alone] == [hit.id for hit in hits]
        assert [hit.score for hit in alone] == pytest.approx([hit.score for hit in hits], abs=1e-6)


def test_title_and_text_are_encoded_together(tmp_path, encoder, garden_data):
    index = Index.build(garden_data.corpus, encoder, tmp_path / "idx")
    queries = garden_data.judged_queries("test")[1]
    scores = encoder.encode_queries(queries) @ encoder.encode_documents(garden_data.document_texts()).T
    for hits, row in zip(index.search(queries, k=3), scores, strict=True):
        assert [hit.id for hit in hits] == [garden_data.corpus["id"][int(i)].as_py() for i in np.argsort(-row)[:3]]
        assert hits[0].title


def test_a_filter_leaves_what_numpy_finds_among_the_allowed(built, vectors):
    allowed = {name: text for number, (name, text) in enumerate(PLANTS.items()) if number % 2 == 0 and number >= 9}
    for form in (["even=true", "year>=2009"], {"even": True, "year": (">=", 2009)}):
        assert_hits(built.search(ASKED[:1], k=5, filter=form)[0], ASKED[0], allowed, 5, vectors)


def test_a_filter_that_few_documents_pass_gives_them_all(built):
    assert [hit.id for hit in built.search(["bread"], k=10, filter="id=p3")[0]] == ["p3"]
    assert built.search(["bread"], filter=["year>=2003", "year<2003"]) == [[]]


def test_a_filter_on_a_field_that_nobody_has_is_refused(built):
    with pytest.raises(DataError, match="colour"):
        built.search(["bread"], filter="colour=red")


def test_fewer_documents_than_k_are_all_returned(built):
    for k in (30, 31, 10**12):
        assert len(built.search(["bread"], k=k)[0]) == len(PLANTS) == len(built)


def test_hybrid_fuses_both_rankings_and_keeps_the_cosine(built, vectors):
    hits = built.search(["stars dawn"], k=30, hybrid=True)[0]
    cosines = dict(zip(PLANTS, vectors.of(PLANTS.values()) @ vectors.of(["stars dawn"], "query")[0], strict=True))
    for hit in hits:
        assert hit.score == pytest.approx(cosines[hit.id], abs=1e-5)
        assert (hit.bm25 is not None) == ("stars" in hit.text or "dawn" in hit.text)
    assert [hit.fused for hit in hits] == sorted((hit.fused for hit in hits), reverse=True)
    dense = sorted(cosines, key=lambda name: -cosines[name])
    words = sorted((hit for hit in hits if hit.bm25 is not None), key=lambda hit: (-hit.bm25, int(hit.id[1:])))
    words = [hit.id for hit in words]
    for hit in hits:
        fused = 1 / (61 + dense.index(hit.id)) + (1 / (61 + words.index(hit.id)) if hit.id in words else 0)
        assert hit.fused == pytest.approx(fused, rel=1e-3)


def test_hybrid_finds_by_a_rare_word_what_was_added_later(small):
    small.add([{"id": "new", "text": "xylophone"}, {"id": "newer", "text": "Nobody counts the stars."}])
    (hits,) = small.search(["xylophone"], k=7, hybrid=True)
    assert {hit.id for hit in hits if hit.bm25 is not None} == {"new"}
    assert hits[0].id == "new"


def test_words_of_added_documents_are_ranked_as_if_they_stood_alone(small):
    small.add([{"id": f"n{number}", "text": "bread " * (1 + number % 3), "n": number} for number in range(20)])
    snapshot = Snapshot.open(small.path)
    lexical, texts = snapshot.segments[0].lexical, ["bread", "roses", "bread and roses"]
    of_added = lexical.score_prepared(texts, lexical.prepare(snapshot.segments[1].texts()))
    for filters, allowed in ((None, np.ones(20, bool)), ("n>=5", np.arange(20) >= 5)):
        scores, rows = snapshot.search_words(texts, 7, snapshot.allowed(filters))
        for number in range(3):
            added = rows[number][rows[number] >= 5] - 5
            expected = [row for row in np.argsort(-of_added[number], kind="stable") if allowed[row]]
            assert added.tolist() == [row for row in expected if of_added[number, row] > 0][: len(added)]
            assert np.all(np.diff(scores[number][rows[number] >= 0]) <= 0)
    assert (rows[0] >= 5).all()


def test_words_of_added_documents_take_no_memory_for_each_query_and_document(small):
    small.add([{"id": f"n{number}", "text": "bread"} for number in range(300)])
    snapshot = Snapshot.open(small.path)
    snapshot.search_words(["bread"], 7, None)
    tracemalloc.start()
    snapshot.search_words(["bread"] * 1500, 7, None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A score and a row of each would be 12 bytes.
    assert peak < 1500 * 300 * 12 / 3


def test_hybrid_without_words_is_refused(encoder):
    index = Index.build(["a text"], encoder, lexical=False)
    assert index.words is None
    with pytest.raises(DataError, match="keeps no words"):
        index.search(["text"], hybrid=True)


def test_mmr_of_relevance_alone_is_the_plain_order_and_of_difference_is_not(built):
    plain = [hit.id for hit in built.search(ASKED[:1], k=8)[0]]
    assert [hit.id for hit in built.search(ASKED[:1], k=8, mmr_trade_off=1)[0]] == plain
    different = built.search(ASKED[:1], k=8, mmr_trade_off=0)[0]
    assert different[0].id == plain[0]
    assert [hit.id for hit in different] != plain
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(DataError, match="trade-off"):
            built.search(ASKED[:1], mmr_trade_off=wrong)


def test_mmr_of_hybrid_search_weighs_the_fused_scores_and_not_the_cosines(built):
    plain = [hit.id for hit in built.search(["stars dawn"], k=8, hybrid=True)[0]]
    assert plain != [hit.id for hit in built.search(["stars dawn"], k=8)[0]]
    assert [hit.id for hit in built.search(["stars dawn"], k=8, hybrid=True, mmr_trade_off=1)[0]] == plain
    different = [hit.id for hit in built.search(["stars dawn"], k=8, hybrid=True, mmr_trade_off=0.2)[0]]
    assert different[0] == plain[0]
    assert different != plain


def test_mmr_does_not_repeat_a_text_that_stands_twice(encoder):
    index = Index.build(["red roses", "red roses", "red roses", "blue bicycle", "stars"], encoder)
    texts = [hit.text for hit in index.search(["red roses"], k=3, mmr_trade_off=0.3)[0]]
    assert len(set(texts)) == 3


def test_rank_gives_what_search_finds_without_its_documents(built):
    for hybrid in (False, True):
        scores, ids = built.rank(ASKED, 40, hybrid=hybrid)
        for hits, row, names in zip(built.search(ASKED, 40, hybrid=hybrid), scores, ids, strict=True):
            assert [hit.id for hit in hits] == [name for name in names if name]
            found = [hit.fused if hybrid else hit.score for hit in hits]
            np.testing.assert_allclose(row[: len(hits)], found, atol=1e-6)
            assert np.isneginf(row[len(hits) :]).all()


def test_rank_has_k_columns_however_few_documents_there_are(built, encoder):
    for hybrid in (False, True):
        for k in (1, 30, 200):
            scores, ids = built.rank(ASKED, k, hybrid=hybrid)
            assert scores.shape == (3, k)
            assert [len(row) for row in ids] == [k] * 3
            assert (np.array(ids)[:, 30:] == "").all()


def test_rank_of_vectors_is_that_of_their_texts(built, encoder):
    vectors = encoder.encode_queries(ASKED)
    for hybrid in (False, True):
        scores, ids = built.rank(ASKED, 5, hybrid=hybrid)
        given, same = built.rank(ASKED, 5, hybrid=hybrid, vectors=vectors)
        assert ids == same
        np.testing.assert_array_equal(scores, given)
        assert built.rank(ASKED, 5, hybrid=hybrid, vectors=vectors.astype(np.float64))[1] == ids
    assert Index.open(built.path).rank(ASKED, 5, vectors=vectors)[1] == built.rank(ASKED, 5)[1]
    with pytest.raises(DataError, match="3 vectors for 2 texts"):
        built.rank(ASKED[:2], 5, vectors=vectors)


def test_vectors_are_searched_as_their_texts_are(built, encoder):
    asked = encoder.encode_queries(ASKED)
    expected = [[hit.id for hit in hits] for hits in built.search(ASKED)]
    for form in (asked, asked.astype(np.float64), asked.astype(np.float16), np.asfortranarray(asked), asked.tolist()):
        assert [[hit.id for hit in hits] for hits in built.search_vectors(form)] == expected


def test_a_vector_that_is_nearly_of_length_one_gives_cosines_all_the_same(built, vectors):
    text = PLANTS["p4"]
    (hits,) = built.search_vectors(vectors.of([text]) * 1.009, k=1)
    assert (hits[0].id, hits[0].score) == ("p4", pytest.approx(1, abs=1e-6))


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (np.ones((1, 7), np.float32), "384 dimensions"),
        (np.ones(384, np.float32), "384 dimensions"),
        (np.zeros((1, 384), np.float32), "query 0 is not of length 1"),
        (np.full((2, 384), np.nan, np.float32), "query 0 is not of length 1"),
    ],
)
def test_vectors_that_are_no_queries_are_refused(built, wrong, found):
    with pytest.raises(DataError, match=found):
        built.search_vectors(wrong)


def test_a_string_and_a_k_of_nothing_are_refused(built):
    with pytest.raises(DataError, match="one string"):
        built.search("bread")
    for k in (0, -3, 1.5, "2", None, float("nan")):
        for search in (built.search, built.rank):
            for hybrid in (False, True):
                with pytest.raises(DataError, match=f"k is {k!r}"):
                    search(["bread"], k, hybrid=hybrid)
    assert len(built.search(["bread"], np.int64(3))[0]) == 3


def test_no_query_has_no_answer(built):
    assert built.search([]) == built.search([], hybrid=True) == []


def test_metadata_comes_back_with_the_hit(tmp_path, encoder):
    file = tmp_path / "corpus.jsonl"
    file.write_text(json.dumps({"_id": "a", "text": "ferns", "year": 2020, "tags": ["x"]}) + "\n")
    index = Index.build(read_corpus(file, []), encoder, tmp_path / "idx")
    assert index.search(["fern"])[0][0].metadata == {"year": 2020, "tags": ["x"]}
    assert Index.open(tmp_path / "idx", encoder).search(["fern"])[0][0].as_dict().keys() == {
        "id", "score", "title", "text", "metadata",
    }  # fmt: skip


def test_texts_mappings_and_a_table_make_the_same_index(encoder):
    texts = ["alpha", "beta", "gamma"]
    forms = [texts, [{"text": text} for text in texts], pa.table({"id": ["0", "1", "2"], "text": texts})]
    for form in forms:
        assert Index.build(form, encoder).search(["beta"])[0][0].id == "1"


def test_without_a_path_the_folder_goes_with_the_object(encoder):
    index = Index.build(["alpha", "beta"], encoder)
    folder = index.path
    assert (folder / "CURRENT").exists()
    index.add([{"id": "2", "text": "gamma"}])
    assert len(index) == 3
    del index
    gc.collect()
    assert not folder.exists()


def test_a_build_without_a_path_that_fails_leaves_no_folder(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(DataError, match="twice"):
        Index.build(pa.table({"id": ["a", "a"], "text": ["x", "y"]}), encoder)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"colour": 1}, "no setting 'colour'"),
        ({"kind": "tree"}, "'tree'"),
        ({"recall": 1.5}, "1.5"),
        ({"recall": "0.9"}, "'0.9'"),
        ({"recall": float("nan")}, "nan"),
        ({"k": 0}, "k is 0"),
        ({"k": 2.5}, "k is 2.5"),
        ({"keep": 0}, "keep is 0"),
        ({"keep": True}, "keep is True"),
        ({"memory": 0}, "memory is 0"),
        ({"latency_ms": -1}, "latency_ms is -1"),
        ({"latency_ms": float("nan")}, "latency_ms is nan"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"lexical": "no"}, "lexical is 'no'"),
        ({"language": "klingon"}, "klingon"),
        ({"memory": 10}, "fits 10 bytes"),
    ],
)
def test_a_wrong_setting_is_refused_and_writes_nothing(tmp_path, encoder, given, found):
    with pytest.raises(ConfigError, match=found):
        Index.build(["alpha"], encoder, tmp_path / "idx", **given)
    if "memory" not in given:
        assert not (tmp_path / "idx").exists()


def test_the_manifest_says_what_it_was_built_from(built, encoder):
    manifest = built.manifest
    assert manifest["fingerprint"] == encoder.fingerprint
    assert manifest["prompts"] == {"query": "", "document": ""}
    assert (manifest["documents"], manifest["dim"], manifest["metric"]) == (30, 384, "cosine")
    (base,) = manifest["segments"]
    assert (base["kind"], base["factory"], base["documents"], base["tuning"]) == ("flat", "Flat", 30, None)
    files = set(manifest["files"])
    assert files >= {"canaries.npy", "base/vectors.npy", "base/documents.arrow", "base/fields.arrow"}
    assert not {name for name in files if name.endswith((".pkl", ".pickle"))}


def test_the_model_that_built_it_is_loaded_when_the_first_text_is_searched_for(built, encoder, vectors):
    opened = Index.open(built.path)
    assert opened._now[1] is None
    assert len(opened.search_vectors(vectors.of(["bread"], "query"))[0]) == 10
    assert opened._now[1] is None
    assert [hit.id for hit in opened.search(["bread"])[0]] == [hit.id for hit in built.search(["bread"])[0]]
    assert opened.encoder.fingerprint == encoder.fingerprint


def test_a_model_that_is_loaded_after_its_version_was_removed_answers_from_it(small):
    lazy = Index.open(small.path)
    for number in range(3):
        small.add([{"id": f"n{number}", "text": "new"}])
    assert not (small.path / "versions" / "000001").exists()
    assert len(lazy.search(["new"], k=9)[0]) == 5


def test_another_model_of_the_same_dimension_is_refused_by_both_names(built, other):
    with pytest.raises(WrongModelError) as caught:
        Index.open(built.path, str(other.name))
    assert "bundled" in caught.value.message
    assert str(other.name) in caught.value.message
    assert "migrate" in caught.value.hint


def test_a_model_that_was_moved_is_asked_for_by_its_new_place(tmp_path, other):
    moved = shutil.copytree(other.name, tmp_path / "before")
    Index.build(["alpha", "beta"], Encoder.load(str(moved), precision="float32"), tmp_path / "idx")
    shutil.move(moved, tmp_path / "after")
    with pytest.raises(ModelError, match=r"before.* The index was built with it\.") as caught:
        _ = Index.open(tmp_path / "idx").encoder
    assert caught.value.hint.startswith("give its new place with --model, or ")
    assert Index.open(tmp_path / "idx", str(tmp_path / "after"), precision="float32").encoder.dim == 384
    with pytest.raises(ModelError) as caught:
        Index.open(tmp_path / "idx", str(moved))
    assert "--model" not in caught.value.hint


def test_a_model_that_is_named_is_loaded_with_the_settings_of_the_index(tmp_path):
    settings = {"prompts": {"query": "ask: ", "document": "d: "}, "max_length": 64, "truncate_dim": 32}
    made = Encoder.load("bundled", precision="float32", **settings)
    moved = Encoder.load("bundled", precision="float32").save(tmp_path / "moved")
    Index.build(["alpha", "beta"], made, tmp_path / "idx")
    opened = Index.open(tmp_path / "idx", str(moved), precision="float32")
    assert opened.encoder.fingerprint == made.fingerprint
    assert opened.encoder.prompts == settings["prompts"]


def test_a_model_that_cannot_be_set_as_the_index_was_is_another_model(tmp_path, built):
    manifest = {**built.manifest, "dim": 4096, "truncate_dim": 4096, "fingerprint": "f" * 64}
    with pytest.raises(WrongModelError, match="4096"):
        require_same(tmp_path, manifest, load_encoder(manifest, "float32", "bundled"))


def test_the_same_weights_with_another_document_prompt_are_another_model(built):
    with pytest.raises(WrongModelError, match=r"Different: prompts .*; perhaps the weights too\."):
        Index.open(built.path, Encoder.load("bundled", prompts={"document": "d: "}))


def test_a_wrong_model_changes_nothing(small, other):
    wrong = Index(small.path, small._now[0], other)
    before = sorted(small.path.rglob("*"))
    with pytest.raises(WrongModelError):
        wrong.add([{"id": "x", "text": "new"}])
    with pytest.raises(WrongModelError):
        wrong.compact()
    assert sorted(small.path.rglob("*")) == before


def test_refresh_shows_what_another_process_changed(small):
    code = (
        "import sys; from embedft.index import writing; from pathlib import Path; "
        "print(writing.delete(Path(sys.argv[1]), ['p0', 'p1']).deleted)"
    )
    assert small.refresh() is False
    done = subprocess.run([sys.executable, "-c", code, small.path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2"
    assert len(small) == len(small.search(["roses"])[0]) == 5
    assert small.refresh() is True
    assert len(small) == len(small.search(["roses"])[0]) == 3
    assert small.refresh() is False


def test_a_reader_keeps_its_version_while_others_build_and_remove(small, encoder):
    before = Index.open(small.path, encoder)
    for number in range(3):
        Index.build([f"other {number}"], encoder, small.path, force=True)
    assert [version["number"] for version in versions(small.path)] == [3, 4]
    (hits,) = before.search(["roses"], k=9, hybrid=True)
    assert {hit.id: hit.text for hit in hits} == dict(list(PLANTS.items())[:5])


def test_after_another_process_migrated_it_a_stale_index_says_so_and_never_mixes_models(small, other, encoder):
    stale, lazy = Index.open(small.path, encoder), Index.open(small.path)
    small.migrate(other)
    texts = dict(list(PLANTS.items())[:5])
    assert_hits(small.search(ASKED[:1])[0], ASKED[0], texts, 10, Vectors(other))
    for change in (stale.refresh, lambda: stale.delete(["p0"]), lambda: stale.add([{"id": "x", "text": "new"}])):
        with pytest.raises(WrongModelError):
            change()
        assert_hits(stale.search(ASKED[:1])[0], ASKED[0], texts, 10, Vectors(encoder))
    assert lazy.refresh() is True
    asked = Vectors(other).of(ASKED[:1], "query")
    assert_hits(lazy.search_vectors(asked)[0], ASKED[0], texts, 10, Vectors(other))
    assert lazy.encoder.fingerprint == other.fingerprint


def test_the_slower_of_two_refreshes_does_not_bring_an_older_version_back(small, encoder, monkeypatch):
    reader = Index.open(small.path, encoder)
    opened, let_go = threading.Event(), threading.Event()
    original = module.Snapshot.open

    def slow(path):
        snapshot = original(path)
        opened.set()
        let_go.wait(10)
        return snapshot

    small.add([{"id": "x", "text": "new"}])
    monkeypatch.setattr(module.Snapshot, "open", slow)
    first = threading.Thread(target=reader.refresh)
    first.start()
    opened.wait(10)
    monkeypatch.setattr(module.Snapshot, "open", original)
    small.add([{"id": "y", "text": "newer"}])
    second = threading.Thread(target=reader.refresh)
    second.start()
    second.join(0.2)
    let_go.set()
    first.join()
    second.join()
    assert len(reader) == 7


def test_a_path_without_an_index_is_named(tmp_path, encoder):
    with pytest.raises(ArtifactError, match="nothing: holds no index"):
        Index.open(tmp_path / "nothing", encoder)
    with pytest.raises(ArtifactError, match="nothing: holds no index"):
        writing.delete(tmp_path / "nothing", ["a"])
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_programs_are_never_taken_for_an_index(tmp_path, encoder):
    precious = ["mine/thesis.txt", "app/versions/v1/thesis.txt", "leveldb/CURRENT", "leveldb/000003.log"]
    for name in precious:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("precious")
    for name in precious:
        for force in (False, True):
            with pytest.raises(ArtifactError, match="not an index"):
                Index.build(["alpha"], encoder, tmp_path / Path(name).parts[0], force=force)
    assert [(tmp_path / name).read_text() for name in precious] == ["precious"] * 4
