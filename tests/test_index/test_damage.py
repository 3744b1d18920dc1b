"""Each file of an index cut, flipped, removed or swapped: an error that names it, or right hits; never a crash."""

import shutil

import pytest
from index_cases import publish_scattered, table
from index_children import nursery
from index_damage import files_of

from embedft.errors import ArtifactError
from embedft.index import Index, writing
from embedft.index.snapshot import Snapshot
from embedft.index.storage import rollback
from embedft.index.verifying import verify


def damageable(path, encoder, folder, seed):
    """An index with each kind of file: approximate, with words, with something added and deleted."""
    publish_scattered(path, encoder, folder, count=300, seed=seed, kind="hnsw-sq8", recall=0.8)
    index = Index.open(path, encoder)
    index.add([{"id": f"a{seed}{number}", "text": f"word7 added {number}", "parity": 1} for number in range(3)])
    index.delete([f"d{seed}", "d7"])
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory, encoder):
    folder = tmp_path_factory.mktemp("damage")
    return [damageable(folder / f"idx{seed}", encoder, folder, seed) for seed in (1, 2)]


@pytest.fixture
def path(made, tmp_path):
    return shutil.copytree(made[0], tmp_path / "idx")


def outcomes(path, other, **how):
    signalled, reports = nursery().run("damage", path, other=str(other), seed=0, **how)
    assert signalled == 0, reports[-1:]
    assert [report for report in reports if not (isinstance(report, list) and report[2] in ("right", "named"))] == []
    return reports


def test_the_index_has_files_of_each_kind(made):
    names = {name.split("/", 2)[-1] for name in files_of(made[0])}
    assert names >= {
        "CURRENT", "manifest.json", "canaries.npy", "queries.npy", "queries.jsonl", "deleted.npy",
        "base/documents.arrow", "base/fields.arrow", "base/vectors.npy", "base/index.faiss",
        "delta-000002/documents.arrow", "delta-000002/fields.arrow", "delta-000002/vectors.npy",
        "base/bm25/lexical.json", "base/bm25/vocabulary.arrow",
    }  # fmt: skip


def test_damage_to_any_file_is_named_or_changes_no_hit(path, made):
    reports = outcomes(path, made[1], flips=2)
    named = {name for _, name, outcome in reports if outcome == "named"}
    assert named == set(files_of(path))
    assert {name for _, name, outcome in reports if outcome == "right"} <= {"CURRENT"}
    swapped = {name.split("/", 2)[-1] for what, name, _ in reports if what == "swapped"}
    assert swapped >= {"CURRENT", "manifest.json", "deleted.npy", "base/vectors.npy", "base/index.faiss"}


@pytest.mark.slow
def test_many_flipped_bits_of_any_file_are_named_or_change_no_hit(path, made):
    assert len(outcomes(path, made[1], flips=300)) > 5000


@pytest.mark.parametrize("every", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_vectors_that_are_too_many_to_be_hashed_are_checked_by_size_and_header(path, made, every):
    vectors = [name for name in files_of(path) if name.endswith("vectors.npy")]
    # Vectors of another index that have the same size are beyond what opening can see; `verify` sees them.
    reports = outcomes(path, path / "none", flips=0, header=every, lazy=True, names=vectors)
    assert len([what for what, _, _ in reports if "flipped" in what]) == 2 * len(range(0, 8 * 128, every))


def test_the_whole_version_of_another_index_is_not_taken_for_this_one(path, made):
    number = Snapshot.open(path).version.path.name
    shutil.rmtree(path / "versions" / number)
    shutil.copytree(made[1] / "versions" / number, path / "versions" / number)
    with pytest.raises(ArtifactError, match=r"manifest.json: is damaged, or CURRENT is"):
        Snapshot.open(path)
    assert any("manifest.json" in problem for problem in verify(path).problems)


def test_a_damaged_index_is_neither_added_to_nor_compacted(path, encoder):
    file = Snapshot.open(path).version.path / "deleted.npy"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    for change in (
        lambda: writing.delete(path, ["d1"]),
        lambda: writing.compact(path, encoder),
        lambda: writing.add(path, table({"new": "A new one."}), encoder),
    ):
        with pytest.raises(ArtifactError, match=r"deleted.npy: is damaged"):
            change()


def test_a_damaged_version_gives_way_to_the_one_before_it(path, encoder):
    version = Snapshot.open(path).version
    (version.path / "deleted.npy").write_bytes(b"")
    with pytest.raises(ArtifactError):
        Index.open(path, encoder)
    rollback(path)
    assert len(Index.open(path, encoder)) == 303
    assert verify(path, lambda _: encoder).problems == []
