"""The index on disk: whole or not at all, every byte checked, bound to its encoder."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from embedft.data import read_corpus
from embedft.encoder import Encoder
from embedft.errors import ArtifactError, DataError, WrongModelError
from embedft.index import Index


@pytest.fixture(scope="module")
def documents(garden_data):
    return garden_data.corpus


@pytest.fixture(scope="module")
def built(tmp_path_factory, documents, encoder):
    path = tmp_path_factory.mktemp("index") / "idx"
    Index.build(documents, encoder, path)
    return path


@pytest.fixture
def copy(built, tmp_path):
    return shutil.copytree(built, tmp_path / "idx")


def test_search_finds_what_the_encoder_ranks_first(built, encoder, documents, garden_data):
    index = Index.open(built, encoder)
    queries = garden_data.judged_queries("test")[1]
    answers = index.search(queries, k=3)
    vectors = encoder.encode_documents(garden_data.document_texts())
    scores = encoder.encode_queries(queries) @ vectors.T
    for hits, row in zip(answers, scores, strict=True):
        assert [hit.id for hit in hits] == [documents["id"][int(i)].as_py() for i in np.argsort(-row)[:3]]
        assert hits[0].score == pytest.approx(row.max(), abs=1e-6)
        assert hits[0].title and hits[0].text


def test_fewer_documents_than_k_are_all_returned(built, encoder):
    assert len(Index.open(built, encoder).search(["fern"], k=500)[0]) == 48


def test_the_model_that_built_it_is_found_by_itself(built, encoder):
    opened = Index.open(built)
    assert opened.encoder.fingerprint == encoder.fingerprint
    assert len(opened) == 48


def test_metadata_comes_back_with_the_hit(tmp_path, encoder):
    file = tmp_path / "corpus.jsonl"
    file.write_text(json.dumps({"_id": "a", "text": "ferns", "year": 2020, "tags": ["x"]}) + "\n")
    index = Index.build(read_corpus(file, []), encoder, tmp_path / "idx")
    assert index.search(["fern"])[0][0].metadata == {"year": 2020, "tags": ["x"]}


def test_the_manifest_says_what_it_was_built_from(built, encoder):
    manifest = Index.open(built, encoder).manifest
    assert manifest["fingerprint"] == encoder.fingerprint
    assert manifest["prompts"] == {"query": "", "document": ""}
    assert (manifest["documents"], manifest["dim"], manifest["factory"]) == (48, 384, "Flat")
    assert set(manifest["files"]) == {"vectors.npy", "ids.arrow", "documents.parquet"}


def test_another_model_of_the_same_dimension_is_refused_by_both_names(built, encoder, tmp_path):
    import torch

    other = Encoder.load("bundled", precision="float32")
    with torch.no_grad():
        other.sentence_transformer[0].model.layers[0].mlp.Wo.weight.mul_(1.01)
    other.save(tmp_path / "other")
    with pytest.raises(WrongModelError) as caught:
        Index.open(built, str(tmp_path / "other"))
    assert "bundled" in caught.value.message
    assert str(tmp_path / "other") in caught.value.message
    with pytest.raises(WrongModelError):
        Index.open(built, Encoder.load("bundled", prompts={"query": "q: "}))


def test_a_flipped_byte_anywhere_is_a_named_error(copy, encoder):
    files = [path for path in copy.rglob("*") if path.is_file() and path.stat().st_size]
    assert {path.name for path in files} >= {
        "CURRENT",
        "manifest.json",
        "vectors.npy",
        "ids.arrow",
        "documents.parquet",
    }
    rng = np.random.default_rng(0)
    for file in files:
        content = file.read_bytes()
        for position in rng.integers(0, len(content), 20):
            broken = bytearray(content)
            broken[position] ^= 1 << int(rng.integers(0, 8))
            file.write_bytes(broken)
            try:
                opened = Index.open(copy, encoder)
            except ArtifactError as error:
                assert file.name in error.message
            else:
                # White space of CURRENT may change without changing what it says.
                assert file.name == "CURRENT", f"{file}: byte {position}"
                assert len(opened) == 48
        file.write_bytes(content)
    assert len(Index.open(copy, encoder)) == 48


@pytest.mark.parametrize("name", ["vectors.npy", "ids.arrow", "documents.parquet", "manifest.json"])
def test_a_missing_or_truncated_file_is_named(copy, encoder, name):
    (file,) = copy.glob(f"versions/*/{name}")
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(ArtifactError, match=name):
        Index.open(copy, encoder)
    file.unlink()
    with pytest.raises(ArtifactError, match=name):
        Index.open(copy, encoder)


def test_an_index_is_replaced_only_when_told_and_then_wholly(copy, encoder, documents):
    with pytest.raises(ArtifactError, match="there already"):
        Index.build(documents, encoder, copy)
    rebuilt = Index.build(documents.slice(0, 5), encoder, copy, force=True)
    assert len(rebuilt) == 5
    assert [path.name for path in (copy / "versions").iterdir()] == ["000002"]


def test_a_folder_that_is_no_index_is_never_replaced(tmp_path, encoder, documents):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    for force in (False, True):
        with pytest.raises(ArtifactError, match="not an index"):
            Index.build(documents, encoder, tmp_path / "mine", force=force)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


def test_no_documents_and_repeated_ids_are_refused(tmp_path, encoder, documents):
    import pyarrow as pa

    with pytest.raises(DataError, match="no documents"):
        Index.build(documents.slice(0, 0), encoder, tmp_path / "idx")
    with pytest.raises(DataError, match="twice"):
        Index.build(pa.concat_tables([documents, documents]), encoder, tmp_path / "idx")
    assert not (tmp_path / "idx").exists()


def test_a_path_without_an_index_is_named(tmp_path, encoder):
    with pytest.raises(ArtifactError, match="holds no index"):
        Index.open(tmp_path / "nothing", encoder)


BUILD_FOR_EVER = """
import sys, time
from embedft.data import read_retrieval
from embedft.encoder import Encoder
from embedft.index import Index, index as module
encoder = Encoder.load("bundled")
data = read_retrieval(sys.argv[1])
write = module.pq.write_table
def slow(*arguments):
    write(*arguments)
    print("writing", flush=True)
    time.sleep(60)
module.pq.write_table = slow
Index.build(data.corpus.slice(0, 7), encoder, sys.argv[2], force=True)
"""


def test_killed_in_the_middle_of_a_build_the_old_index_still_opens(copy, encoder, garden, documents):
    child = subprocess.Popen([sys.executable, "-c", BUILD_FOR_EVER, garden, copy], stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline().strip() == "writing"
    with pytest.raises(ArtifactError, match="another process writes"):
        Index.build(documents, encoder, copy, force=True)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list((copy / "versions").glob(".*.tmp"))
    assert len(Index.open(copy, encoder)) == 48
    assert len(Index.build(documents.slice(0, 3), encoder, copy, force=True)) == 3
    assert [path.name for path in (copy / "versions").iterdir()] == ["000002"]


@pytest.mark.slow
def test_killed_at_any_moment_the_old_or_the_new_index_opens(copy, encoder, garden):
    code = BUILD_FOR_EVER.replace("time.sleep(60)", "pass").replace(
        "Index.build(data", "print('go', flush=True)\nIndex.build(data"
    )
    rng = np.random.default_rng(0)
    for _ in range(12):
        child = subprocess.Popen([sys.executable, "-c", code, garden, copy], stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline().strip() == "go"
        time.sleep(float(rng.uniform(0, 0.5)))
        child.kill()
        child.wait()
        assert len(Index.open(copy, encoder)) in (7, 48)


def test_folders_of_other_programs_are_never_taken_for_an_index(tmp_path, encoder, documents):
    (tmp_path / "app" / "versions" / "v1").mkdir(parents=True)
    (tmp_path / "app" / "versions" / "v1" / "thesis.txt").write_text("precious")
    (tmp_path / "leveldb").mkdir()
    (tmp_path / "leveldb" / "CURRENT").write_text("MANIFEST-000005")
    (tmp_path / "leveldb" / "000003.log").write_text("precious")
    for name in ("app", "leveldb"):
        for force in (False, True):
            with pytest.raises(ArtifactError, match="not an index"):
                Index.build(documents, encoder, tmp_path / name, force=force)
    assert (tmp_path / "app" / "versions" / "v1" / "thesis.txt").read_text() == "precious"
    assert (tmp_path / "leveldb" / "000003.log").read_text() == "precious"


def test_a_reader_that_opened_before_a_rebuild_keeps_its_version(copy, encoder, documents):
    before = Index.open(copy, encoder)
    Index.build(documents.slice(0, 2), encoder, copy, force=True)
    assert len(before.search(["fern"], k=48)[0]) == 48
    assert len(Index.open(copy, encoder)) == 2


def test_a_version_that_vanishes_while_it_is_read_gives_way_to_the_new_one(copy, encoder, documents, monkeypatch):
    from embedft.index import index as module

    read = module._read
    calls = []

    def slow(version):
        calls.append(version.path.name)
        if len(calls) == 1:
            monkeypatch.setattr(module, "_read", read)
            Index.build(documents.slice(0, 2), encoder, copy, force=True)
        return read(version)

    monkeypatch.setattr(module, "_read", slow)
    assert len(module.Index.open(copy, encoder)) == 2
    assert calls == ["000001", "000002"]
