"""Whether an index is what it says: what verify finds, and what it does not blame."""

import os
import shutil

import numpy as np
import pytest

from embedft.encoder import Encoder
from embedft.errors import ArtifactError, WrongModelError
from embedft.index import Index, writing
from embedft.index.approximate import recall_of
from embedft.index.snapshot import DELETED, Snapshot
from embedft.index.storage import Documents, checksums, new_version
from embedft.index.verifying import verify


@pytest.fixture(scope="module")
def exact(tmp_path_factory, garden_data, encoder):
    path = tmp_path_factory.mktemp("verifying") / "exact"
    Index.build(garden_data.corpus, encoder, path)
    return path


@pytest.fixture(scope="module")
def rough(tmp_path_factory, garden_data, encoder):
    path = tmp_path_factory.mktemp("verifying") / "rough"
    Index.build(garden_data.corpus, encoder, path, kind="binary", recall=0.3, k=3)
    return path


@pytest.fixture
def copy(exact, tmp_path):
    return shutil.copytree(exact, tmp_path / "idx")


def republished(path, change):
    """A version whose checksums are right, and whose content ``change`` made wrong."""
    with new_version(path, onto=True) as staged:
        files, manifest = staged.previous.manifest["files"], staged.previous.manifest
        staged.manifest |= {key: value for key, value in manifest.items() if key not in ("files", "format", "created")}
        for name in files:
            (staged.path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(staged.previous.path / name, staged.path / name)
        change(staged)


def test_a_sound_index_has_no_problem(exact, encoder):
    found = verify(exact, lambda _: encoder)
    assert (found.problems, found.documents, found.recall) == ([], 48, None)
    assert found.canary == pytest.approx(1, abs=1e-5)
    assert found.as_dict()["sound"] is True
    assert verify(exact).canary is None


def test_an_index_that_was_changed_is_sound(copy, encoder):
    index = Index.open(copy, encoder)
    index.add([{"id": "fern-place", "text": "In the shade."}, {"id": "new", "text": "Something else."}])
    index.delete(["mint-place"])
    found = verify(copy, lambda _: encoder)
    assert (found.problems, found.documents) == ([], 48)


def test_recall_is_measured_again_against_exact_search(rough, encoder):
    found = verify(rough, lambda _: encoder)
    snapshot = Snapshot.open(rough)
    queries = np.load(snapshot.version.path / "queries.npy")
    truth, _ = snapshot.search(queries, 3, None, exact=True)
    scores, _ = snapshot.search(queries, 3, None)
    assert found.recall["value"] == pytest.approx(recall_of(scores, truth).mean())
    assert (found.recall["at"], found.recall["queries"]) == (3, len(queries))
    assert found.recall["stated_ci_low"] >= 0.3


def test_a_version_that_is_removed_while_it_is_verified_is_verified_all_the_same(rough, tmp_path, encoder):
    path = shutil.copytree(rough, tmp_path / "idx")

    def load(manifest):
        assert manifest["documents"] == 48
        for name in ("fern-place", "mint-place"):  # two versions are kept
            writing.delete(path, [name])
        assert not (path / "versions" / "000001").exists()
        return encoder

    found = verify(path, load)
    assert (found.problems, found.documents, found.recall["at"]) == ([], 48, 3)


def test_each_file_is_hashed_once(copy, monkeypatch):
    for file in copy.rglob("*"):
        os.utime(file, (0, 0))  # a file that was just written might still change
    hashed = []
    original = checksums.sha256_of
    monkeypatch.setattr(checksums, "sha256_of", lambda file: hashed.append(file) or original(file))
    assert verify(copy).problems == []
    files = Snapshot.open(copy).manifest["files"]
    assert sorted(hashed) == sorted(copy / "versions" / "000001" / name for name in files)


def test_a_damaged_index_needs_no_encoder(copy):
    (copy / "versions" / "000001" / "base" / "fields.arrow").write_bytes(b"")
    assert verify(copy, None).problems == verify(copy, lambda _: pytest.fail("loaded")).problems != []


@pytest.mark.parametrize("damage", ["flipped", "cut", "removed", "of another index", "added"])
def test_a_damaged_file_is_named_and_the_others_are_not(copy, rough, damage):
    name = "base/vectors.npy"
    file = copy / "versions" / "000001" / name
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[-5] ^= 4
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[:-1])
    elif damage == "removed":
        file.unlink()
    elif damage == "of another index":
        name = "manifest.json"
        shutil.copyfile(rough / "versions" / "000001" / name, copy / "versions" / "000001" / name)
    else:
        name = "base/extra"
        (file.parent / "extra").write_text("more")
    problems = verify(copy).problems
    assert problems and any(problem.startswith(f"versions/000001/{name}: ") for problem in problems)
    if damage != "of another index":
        assert len(problems) == 1


def test_vectors_that_are_not_of_length_1_are_counted(copy):
    def change(staged):
        file = staged.path / "base" / "vectors.npy"
        vectors = np.load(file)
        vectors[3] *= 1.1
        vectors[7, 0] = np.nan
        np.save(file, vectors)

    republished(copy, change)
    assert verify(copy).problems == ["base: 2 vectors are not of length 1."]


def test_a_count_that_is_wrong_is_told(copy):
    def change(staged):
        np.save(staged.path / DELETED, np.packbits(np.arange(48) == 5))

    republished(copy, change)
    assert verify(copy).problems == ["the manifest counts 48 documents, and 47 are alive."]


def test_an_id_that_is_alive_twice_is_told(copy, encoder, monkeypatch):
    Index.open(copy, encoder).add([{"id": "fern-place", "text": "In the shade."}])

    def change(staged):
        (staged.path / DELETED).unlink()
        staged.manifest["documents"] += 1

    republished(copy, change)
    # Ids are enough to see it: texts may be larger than the memory.
    monkeypatch.setattr(Documents, "table", None)
    assert verify(copy).problems == ["1 ids are alive more than once."]


def test_a_model_that_encodes_otherwise_than_then_is_told_by_the_canaries(copy, encoder):
    def change(staged):
        file = staged.path / "canaries.npy"
        np.save(file, np.load(file)[::-1])

    republished(copy, change)
    found = verify(copy, lambda _: encoder)
    assert found.canary is None
    assert len(found.problems) == 1 and "encodes the document" in found.problems[0]
    assert verify(copy).problems == []


def test_another_model_is_refused_not_blamed_on_the_index(exact):
    with pytest.raises(WrongModelError, match=r"384 dimensions.*32 dimensions"):
        verify(exact, lambda _: Encoder.load("bundled", truncate_dim=32))


def test_no_index_is_no_problem_of_one(tmp_path):
    with pytest.raises(ArtifactError, match="holds no index"):
        verify(tmp_path)
