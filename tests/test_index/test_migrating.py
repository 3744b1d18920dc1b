"""An index is given to another model: embedded again, or by a map; interrupted, and called again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

from embedft.encoder import Encoder
from embedft.errors import ArtifactError, ConfigError, DataError, WrongModelError
from embedft.index import Index
from embedft.index.held_out import queries_of
from embedft.index.mapping import PARTS
from embedft.index.migrating import migrate
from embedft.index.snapshot import Snapshot
from embedft.index.storage import building_folder, writing
from embedft.index.verifying import verify
from embedft.index.writing import embed

# Few dimensions, so that a map can be fitted on few documents.
DIM = 32
PLANTS = ("fern", "mint", "moss", "orchid", "cactus")
WANTS = ("deep shade", "full sun", "a dry wall", "leafy soil", "much water", "warm nights", "lime", "acid ground")
MONTHS = ("March", "April", "June", "August", "October")


@pytest.fixture(scope="module")
def documents():
    """200 short documents."""
    texts = [
        f"The {plant} wants {want} in {month}. Old books know the {plant}."
        for plant in PLANTS
        for want in WANTS
        for month in MONTHS
    ]
    columns = {"id": [f"d{number}" for number in range(len(texts))], "title": [""] * len(texts), "text": texts}
    return pa.table({**columns, "metadata": pa.nulls(len(texts), pa.string())})


@pytest.fixture(scope="module")
def old():
    return Encoder.load("bundled", precision="float32", truncate_dim=DIM)


@pytest.fixture(scope="module")
def new(other_model):
    """Of the same dimension as ``old``."""
    return Encoder.load(str(other_model), precision="float32", truncate_dim=DIM)


@pytest.fixture(scope="module")
def built(tmp_path_factory, documents, old):
    path = tmp_path_factory.mktemp("migrating") / "idx"
    Index.build(documents, old, path, lexical=False)
    return path


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "idx")


def vectors_of(path):
    """All vectors of an index, and the ids of their documents."""
    snapshot = Snapshot.open(path)
    return snapshot.vectors(np.arange(snapshot.rows)), snapshot.live_documents()["id"].to_pylist()


def test_the_wrong_model_is_refused_and_after_migrating_the_old_one_is(copy, old, new, documents):
    with pytest.raises(WrongModelError, match="cannot be compared"):
        Index.open(copy, new)
    before = Index.open(copy, old)
    change, retention = migrate(copy, new)
    assert (change.documents, retention) == (200, None)
    with pytest.raises(WrongModelError, match="cannot be compared"):
        Index.open(copy, old)
    index = Index.open(copy, new)
    query = "what does mint want in June"
    expected = new.encode_documents(documents["text"].to_pylist()) @ new.encode_queries([query])[0]
    hits = index.search([query], 5)[0]
    np.testing.assert_allclose([hit.score for hit in hits], np.sort(expected)[::-1][:5], atol=1e-5)
    assert verify(copy, lambda _: new).problems == []
    # A reader of the old version goes on with the old model.
    assert before.search([query], 1)[0]
    with pytest.raises(WrongModelError):
        before.refresh()


def test_only_documents_that_are_alive_are_migrated_as_one_segment(copy, old, new):
    index = Index.open(copy, old)
    index.delete(["d0", "d7"])
    index.add([{"id": "d1", "text": "Roses like sun."}, {"id": "added", "text": "Lilies too."}])
    index.migrate(new)
    vectors, ids = vectors_of(copy)
    assert sorted(ids) == sorted({*(f"d{number}" for number in range(200)), "added"} - {"d0", "d7"})
    assert len(index.manifest["segments"]) == 1
    assert [hit.text for hit in index.search(["Roses like sun."], 1)[0]] == ["Roses like sun."]
    np.testing.assert_allclose(vectors[ids.index("added")], new.encode_documents(["Lilies too."])[0], atol=1e-5)


def test_a_model_of_another_dimension_takes_the_index_over(copy, other_model):
    wide = Encoder.load(str(other_model), precision="float32", truncate_dim=48)
    migrate(copy, wide)
    assert Index.open(copy, wide).manifest["dim"] == 48
    assert Index.open(copy).search(["moss"], 1)[0]


def test_a_dimension_that_no_longer_fits_is_refused_before_anything_is_embedded(
    tmp_path, documents, old, other_model, monkeypatch
):
    path = tmp_path / "idx"
    Index.build(documents, old, path, kind="flat", memory=30_000, lexical=False)
    wide = Encoder.load(str(other_model), precision="float32", truncate_dim=48)
    monkeypatch.setattr(Encoder, "encode_to", None)
    with pytest.raises(ConfigError, match="48 dimensions needs 38,400 bytes; 30,000 are allowed"):
        migrate(path, wide)
    assert not building_folder(path).exists()


def test_the_same_model_is_no_other_one(copy, old, new):
    for sample in (None, 200):
        with pytest.raises(DataError, match="is an index of bundled already"):
            migrate(copy, old, sample=sample)
    migrate(copy, new, sample=200)
    with pytest.raises(DataError, match="already") as refused:
        migrate(copy, new, sample=200)
    assert "leave out --map" in refused.value.hint
    # A mapped index may be embedded by the same model; then it is no longer a mapped one.
    migrate(copy, new)
    assert "mapped" not in Snapshot.open(copy).manifest
    with pytest.raises(DataError, match="already"):
        migrate(copy, new)


def test_what_a_map_keeps_is_what_brute_force_over_the_sample_says(copy, new, documents):
    change, kept = migrate(copy, new, sample=150)
    assert change.documents == 200
    mapped, ids = vectors_of(copy)
    assert ids == documents["id"].to_pylist()
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)
    true = new.encode_documents(documents["text"].to_pylist())
    held_out = np.random.default_rng(0).permutation(200)[:150][int(PARTS[1] * 150) :]
    queries = new.encode_queries(queries_of(documents))
    shares = []
    for query in queries:
        best = [set(np.argsort(-(vectors[held_out] @ query))[: kept.k].tolist()) for vectors in (true, mapped)]
        shares.append(len(best[0] & best[1]) / kept.k)
    assert kept.recall == pytest.approx(np.mean(shares), abs=2e-3)
    assert (kept.sample, kept.judged, kept.queries, kept.k) == (150, 30, len(queries), 10)
    assert kept.cosine == pytest.approx((mapped[held_out] * true[held_out]).sum(1).mean(), abs=1e-5)
    assert kept.cosine > 0.9
    manifest = Snapshot.open(copy).manifest
    assert manifest["mapped"] == {"from": "bundled", "fingerprint": manifest["mapped"]["fingerprint"], **kept.as_dict()}
    assert verify(copy, lambda _: new).problems == []
    # What is added later is embedded, not mapped, and found beside the mapped ones.
    index = Index.open(copy, new)
    index.add([{"id": "rose", "text": "Roses like sun."}])
    assert index.search(["Roses like sun."], 1)[0][0].id == "rose"


def test_a_map_is_fitted_on_all_documents_where_they_are_fewer_than_the_sample(copy, new):
    assert migrate(copy, new, sample=10_000)[1].sample == 200


def test_a_map_that_cannot_be_fitted_or_judged_leaves_the_index_as_it_was(copy, old, new, tmp_path):
    with pytest.raises(DataError, match="32 dimensions cannot be fitted on 95 documents") as caught:
        migrate(copy, new, sample=95)
    assert "96 or more" in caught.value.hint
    assert Snapshot.open(copy).version.number == 1
    titles = [{"id": str(number), "title": f"{number} ferns", "text": ""} for number in range(96)]
    Index.build(titles, old, tmp_path / "titles", lexical=False)
    with pytest.raises(DataError, match="the documents have no text"):
        migrate(tmp_path / "titles", new, sample=96)


def test_the_queries_that_an_index_was_tuned_on_are_encoded_by_the_new_model(tmp_path, documents, old, new):
    asked = [f"Which plant wants {want} in {month}?" for want in WANTS for month in MONTHS]
    path = tmp_path / "idx"
    Index.build(documents, old, path, queries=asked, kind="hnsw", recall=0.5, lexical=False)
    migrate(path, new)
    version = Snapshot.open(path).version
    np.testing.assert_allclose(np.load(version.path / "queries.npy"), new.encode_queries(asked), atol=1e-5)
    assert version.manifest["segments"][0]["kind"] == "hnsw"
    assert version.manifest["settings"]["recall"] == 0.5


def test_a_weight_of_hybrid_search_is_not_taken_over_and_that_is_said(
    garden_data, encoder, other_model, tmp_path, caplog
):
    from embedft.index.fusing import tune_fusion

    path = tmp_path / "idx"
    Index.build(garden_data.corpus, encoder, path)
    ids, texts = garden_data.judged_queries("train")
    grades = {name: {} for name in ids}
    for row in garden_data.split("train").to_pylist():
        grades[row["query_id"]][row["corpus_id"]] = row["grade"]
    tune_fusion(path, encoder, texts, list(grades.values()))
    migrate(path, Encoder.load(str(other_model), precision="float32"))
    assert "fusion" not in Snapshot.open(path).manifest
    assert [record.levelname for record in caplog.records if "embedft index fuse" in record.message] == ["WARNING"]


def test_vectors_that_an_interrupted_migration_made_are_not_made_again(copy, new, documents):
    # What a migration does first, and all that one has done which was killed just afterwards.
    made = embed(copy, documents, new, show_progress=False)
    inode = made.stat().st_ino
    migrate(copy, new)
    (vectors,) = Snapshot.open(copy).version.path.glob("base/vectors.npy")
    assert vectors.stat().st_ino == inode
    assert not building_folder(copy).exists()


def test_vectors_of_a_third_model_are_not_taken_for_those_of_the_new_one(copy, old, new, documents, other_model):
    embed(copy, documents, Encoder.load(str(other_model), precision="float32", truncate_dim=48), show_progress=False)
    migrate(copy, new)
    np.testing.assert_allclose(vectors_of(copy)[0], new.encode_documents(documents["text"].to_pylist()), atol=1e-5)


def test_one_writer_at_a_time(copy, new):
    with writing(copy), pytest.raises(ArtifactError, match="another process"):
        migrate(copy, new)


@pytest.mark.slow
def test_killed_and_called_again_it_goes_on_where_it_stopped(tmp_path, old, other_model, new):
    # Vectors reach the disk in windows of 8192 rows: the kill comes after the first of two.
    texts = [f"fern {number}" for number in range(9000)]
    path = tmp_path / "idx"
    Index.build(texts, old, path, lexical=False)
    script = (
        "from pathlib import Path\n"
        "from embedft.encoder import Encoder\n"
        "from embedft.index.migrating import migrate\n"
        f"encoder = Encoder.load({str(other_model)!r}, precision='float32', truncate_dim={DIM})\n"
        f"migrate(Path({str(path)!r}), encoder)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "HF_HUB_OFFLINE": "1"})
    partial, journal = (building_folder(path) / f"vectors.npy.partial{ending}" for ending in ("", ".json"))
    deadline = time.monotonic() + 120
    while child.poll() is None and time.monotonic() < deadline and not (journal.exists() and rows_in(journal)):
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert rows_in(journal) == 8192
    # The old version answers, to the old model alone.
    assert Index.open(path, old).search(["fern 5"], 1)[0][0].text == "fern 5"
    with pytest.raises(WrongModelError):
        Index.open(path, new)
    # A mark in what was done: it stands in the index if that was taken over.
    mark = np.eye(1, DIM, dtype=np.float32)[0]
    with partial.open("r+b") as file:
        file.seek(-4 * DIM * 8192, os.SEEK_END)
        file.write(mark.tobytes())
    migrate(path, new)
    vectors, ids = vectors_of(path)
    assert ids == [str(number) for number in range(9000)]
    np.testing.assert_array_equal(vectors[0], mark)
    np.testing.assert_allclose(vectors[1:200], new.encode_documents(texts[1:200]), atol=1e-4)
    np.testing.assert_allclose(vectors[-200:], new.encode_documents(texts[-200:]), atol=1e-4)


def rows_in(journal):
    """How many rows are on the disk for sure."""
    return json.loads(journal.read_text())["rows"]
