"""The weight of vectors against words: tuned, kept in the index, used by hybrid search."""

import json
import shutil

import numpy as np
import pytest

from embedft.encoder import Encoder
from embedft.errors import DataError, WrongModelError
from embedft.index import Index
from embedft.index.fusing import FEWEST, tune_fusion
from embedft.index.lexical import tune_weight, weighted
from embedft.index.snapshot import Snapshot


@pytest.fixture(scope="module")
def labelled(garden_data):
    """Queries of the training split, and the grades of each."""
    ids, texts = garden_data.judged_queries("train")
    grades = {name: {} for name in ids}
    for row in garden_data.split("train").to_pylist():
        grades[row["query_id"]][row["corpus_id"]] = row["grade"]
    return texts, list(grades.values())


@pytest.fixture(scope="module")
def built(tmp_path_factory, garden_data, encoder):
    path = tmp_path_factory.mktemp("fusing") / "idx"
    Index.build(garden_data.corpus, encoder, path)
    return path


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "idx")


def rankings(path, encoder, texts):
    """Of vectors and of words, by one snapshot."""
    snapshot = Snapshot.open(path)
    return snapshot.search(encoder.encode_queries(texts), 100, None), snapshot.search_words(texts, 100, None)


def assert_fused_by(index, weight, texts):
    """Hybrid search ranks as `weighted` does with that weight."""
    snapshot = Snapshot.open(index.path)
    dense, words = (
        snapshot.search(index.encoder.encode_queries(texts), 100, snapshot.alive),
        snapshot.search_words(texts, 100, snapshot.alive),
    )
    scores, rows = weighted([dense, words], [weight, 1 - weight])
    for found, expected, ids in zip(index.search(texts, 5, hybrid=True), scores, snapshot.ids(rows), strict=True):
        np.testing.assert_allclose([hit.fused for hit in found], expected[:5], atol=1e-6)
        assert [hit.id for hit in found] == ids[:5]


def test_the_weight_is_the_best_one_and_hybrid_search_uses_it(copy, encoder, labelled, garden_data):
    texts, grades = labelled
    row_of = {name: row for row, name in enumerate(garden_data.corpus["id"].to_pylist())}
    by_row = [{row_of[name]: grade for name, grade in each.items()} for each in grades]
    expected = tune_weight(*rankings(copy, encoder, texts), by_row, k=5)
    before = Index.open(copy, encoder)
    ranks = [[hit.fused for hit in each] for each in before.search(texts[:3], 5, hybrid=True)]
    fusion = tune_fusion(copy, encoder, texts, grades, k=5)
    assert fusion == {"method": "weighted", "weight": expected, "k": 5, "queries": len(texts)}
    index = Index.open(copy, encoder)
    assert index.manifest["fusion"] == fusion
    assert_fused_by(index, expected, texts[:5])
    # A reader of the version before goes on as it was: by ranks.
    assert [[hit.fused for hit in each] for each in before.search(texts[:3], 5, hybrid=True)] == ranks
    # Search by vectors alone does not know of it.
    assert [hit.id for hit in index.search(texts[:1])[0]] == [hit.id for hit in before.search(texts[:1])[0]]


def test_the_weight_survives_every_change_of_the_documents(copy, encoder, labelled):
    weight = tune_fusion(copy, encoder, *labelled)["weight"]
    index = Index.open(copy, encoder)
    index.add([{"id": "new", "text": "Ferns are spread by spores."}])
    assert_fused_by(index, weight, ["spores of ferns"])
    index.delete(["fern-place"])
    index.compact()
    assert index.manifest["fusion"]["weight"] == weight
    assert_fused_by(index, weight, ["spores of ferns"])


def test_tuning_changes_no_document_and_no_vector(copy, encoder, labelled):
    index = Index.open(copy, encoder)
    index.delete(["fern-place"])
    index.add([{"id": "mint-place", "text": "Mint by the pond."}])
    files = index.manifest["files"]
    tune_fusion(copy, encoder, *labelled)
    after = Index.open(copy, encoder)
    assert after.manifest["files"] == files
    assert len(after) == 47


def test_tuning_again_replaces_the_weight(copy, encoder, labelled):
    texts, grades = labelled
    tune_fusion(copy, encoder, texts, grades, k=1)
    assert tune_fusion(copy, encoder, texts[:FEWEST], grades[:FEWEST])["queries"] == FEWEST
    assert json.loads(json.dumps(Index.open(copy, encoder).manifest["fusion"]))["k"] == 10


def test_queries_that_cannot_tell_are_refused_and_nothing_is_published(copy, encoder, labelled, tmp_path, garden_data):
    texts, grades = labelled
    with pytest.raises(DataError, match="19 queries are too few"):
        tune_fusion(copy, encoder, texts[: FEWEST - 1], grades[: FEWEST - 1])
    few = [each if number < FEWEST - 1 else {"elsewhere": 1} for number, each in enumerate(grades)]
    for known, judged in ((FEWEST - 1, few), (0, [dict.fromkeys(each, 0) for each in grades])):
        with pytest.raises(DataError, match=f"{known} of the 56 queries have a relevant document in it"):
            tune_fusion(copy, encoder, texts, judged)
    with pytest.raises(WrongModelError):
        tune_fusion(copy, Encoder.load("bundled", truncate_dim=32), texts, grades)
    assert Snapshot.open(copy).version.number == 1
    Index.build(garden_data.corpus, encoder, tmp_path / "wordless", lexical=False)
    with pytest.raises(DataError, match="keeps no words"):
        tune_fusion(tmp_path / "wordless", encoder, texts, grades)
