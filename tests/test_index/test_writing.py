"""Building and changing an index: each call publishes one whole version, or nothing."""

import copy
import json
import math
import shutil
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from index_cases import SENTENCES, Vectors, assert_hits, publish_scattered, scattered, table

from embedft.encoder import Encoder
from embedft.errors import ArtifactError, ConfigError, DataError
from embedft.index import Index, base, exact_search, writing
from embedft.index.approximate import kinds, mean_lower_bound, recall_of
from embedft.index.base import check_settings, kinds_to_try
from embedft.index.canaries import FILE as CANARIES
from embedft.index.held_out import TEXTS as QUERY_TEXTS
from embedft.index.held_out import read_queries
from embedft.index.segment import Segment, write_vectors
from embedft.index.settings import Settings
from embedft.index.snapshot import Snapshot
from embedft.index.storage import check_files, versions
from embedft.index.verifying import verify

TARGET, COUNT = 0.9, 1000
TEXTS = {f"s{number}": text for number, text in enumerate(SENTENCES[:8])}


@pytest.fixture(scope="module")
def vectors(encoder):
    return Vectors(encoder)


@pytest.fixture(scope="module", params=["hnsw-sq8", "ivf-sq8"])
def approximate(request, tmp_path_factory, encoder):
    """Path of an approximate index that no test changes, and its vectors."""
    folder = tmp_path_factory.mktemp(request.param)
    made = publish_scattered(folder / "idx", encoder, folder, count=COUNT, kind=request.param, recall=TARGET)
    return folder / "idx", made


@pytest.fixture(scope="module")
def published(tmp_path_factory, encoder):
    path = tmp_path_factory.mktemp("writing") / "idx"
    Index.build(table(TEXTS), encoder, path)
    return path


@pytest.fixture
def path(published, tmp_path):
    """An index of eight sentences, to be changed."""
    return shutil.copytree(published, tmp_path / "idx")


def inodes(path):
    return {file.relative_to(path).as_posix(): file.stat().st_ino for file in path.rglob("*") if file.is_file()}


def test_the_recall_that_was_asked_for_holds_for_other_queries(approximate, encoder):
    path, vectors = approximate
    others = scattered(encoder, 300, seed=9)
    found = Index.open(path, encoder).search_vectors(others)
    scores = np.array([[hit.score for hit in hits] for hits in found])
    assert recall_of(scores, exact_search(others, vectors, 10)[0]).mean() >= TARGET


def test_the_manifest_states_the_recall_that_verify_finds_again(approximate, encoder):
    path, _ = approximate
    (base,) = Snapshot.open(path).manifest["segments"]
    chosen = base["tuning"]["chosen"]
    assert TARGET <= chosen["ci_low"] <= chosen["recall"] <= 1
    assert base["kind"] in str(path)
    found = verify(path, lambda _: encoder)
    assert found.problems == []
    assert found.documents == COUNT
    assert found.canary == pytest.approx(1, abs=1e-5)
    assert (found.recall["at"], found.recall["stated"]) == (10, chosen["recall"])
    assert found.recall["value"] >= TARGET


def test_exact_search_of_an_approximate_index_is_that_of_numpy(approximate, encoder):
    path, vectors = approximate
    others = scattered(encoder, 20, seed=9)
    for hits, row in zip(
        Index.open(path, encoder).search_vectors(others, 5, exact=True), others @ vectors.T, strict=True
    ):
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(row)[::-1][:5], atol=1e-5)


def test_scores_of_an_approximate_index_are_exact_and_documents_belong_to_them(approximate, encoder):
    path, vectors = approximate
    others = scattered(encoder, 20, seed=9)
    for hits, query in zip(Index.open(path, encoder).search_vectors(others), others, strict=True):
        for hit in hits:
            row = int(hit.id[1:])
            assert hit.text.endswith(f"number{row}")
            assert hit.score == pytest.approx(float(vectors[row] @ query), abs=1e-5)


def test_a_filter_of_an_approximate_index_loses_nothing(approximate, encoder):
    path, vectors = approximate
    others = scattered(encoder, 20, seed=9)
    expected = np.sort(others @ vectors[1::2].T, axis=1)[:, ::-1][:, :10]
    found = Index.open(path, encoder).search_vectors(others, filter="parity=1")
    np.testing.assert_allclose([[hit.score for hit in hits] for hits in found], expected, atol=1e-5)


def test_compacting_tunes_again_on_the_same_queries(approximate, tmp_path, encoder, vectors):
    path = shutil.copytree(approximate[0], tmp_path / "idx")
    index = Index.open(path, encoder)
    index.delete([f"d{number}" for number in range(0, COUNT, 4)])
    index.add([{"id": "new", "text": SENTENCES[0]}])
    assert [entry["kind"] for entry in index.manifest["segments"]][1:] == ["flat"]
    before = (path / "versions" / "000003" / QUERY_TEXTS).read_bytes()
    assert index.compact().documents == len(index) == COUNT * 3 // 4 + 1
    (base,) = index.manifest["segments"]
    assert (base["documents"], base["kind"] in str(approximate[0])) == (len(index), True)
    assert base["tuning"]["chosen"]["ci_low"] >= TARGET
    assert (path / "versions" / "000004" / QUERY_TEXTS).read_bytes() == before
    assert verify(path, lambda _: encoder).problems == []
    assert index.search([SENTENCES[0]], k=1)[0][0].id == "new"


def test_limits_that_no_index_meets_are_refused_and_leave_no_version(tmp_path, encoder):
    path = tmp_path / "idx"
    limits = {"kind": "hnsw-sq8", "recall": TARGET, "latency_ms": 1e-6}
    with pytest.raises(ConfigError, match=r"no index meets a recall@10 of 0.9 within the limits: hnsw-sq8"):
        publish_scattered(path, encoder, tmp_path, count=100, **limits)
    assert not path.exists()
    publish_scattered(path, encoder, tmp_path, count=100, kind="flat")
    before = inodes(path)
    with pytest.raises(ConfigError):
        publish_scattered(path, encoder, tmp_path, count=100, force=True, **limits)
    assert inodes(path) == before


def test_a_recall_that_so_few_queries_cannot_show_is_refused(tmp_path, encoder):
    with pytest.raises(DataError, match="150 queries are too few to show a recall of 1"):
        publish_scattered(tmp_path / "idx", encoder, tmp_path, count=100, kind="hnsw-sq8", recall=1)


def test_too_few_queries_to_state_a_recall_are_refused(tmp_path, encoder):
    with pytest.raises(DataError, match="12 queries are too few"):
        publish_scattered(tmp_path / "idx", encoder, tmp_path, count=300, kind="ivf-sq8", queries=SENTENCES[:12])


def test_fewer_queries_than_a_stage_is_tuned_on_are_refused_before_anything_is_embedded():
    with pytest.raises(DataError, match=r"9 queries are too few to show a recall of 0\.5"):
        check_settings(300, 384, Settings(kind="hnsw-sq8", recall=0.5), queries=9, given=True)
    check_settings(300, 384, Settings(kind="hnsw-sq8", recall=0.5), queries=10, given=True)


def test_without_queries_sentences_of_the_documents_are_taken_and_said(tmp_path, encoder, caplog):
    caplog.set_level("INFO", "embedft")
    publish_scattered(tmp_path / "idx", encoder, tmp_path, count=300, kind="binary", recall=0.1, queries=None)
    assert caplog.messages == ["no queries given: recall is measured with 300 sentences of the documents."]
    lines = (tmp_path / "idx" / "versions" / "000001" / QUERY_TEXTS).read_text().splitlines()
    assert [json.loads(line)["given"] for line in lines] == [False] * 300


def test_compacting_embeds_no_document_and_changes_nothing_that_is_said_of_the_model(path, encoder, monkeypatch):
    index = Index.open(path, encoder)
    index.add([{"id": "new", "text": "A new one."}])
    index.delete(["s3"])
    before = index.manifest
    # The same model for documents, another one for queries, in another place and precision.
    tuned = Encoder.load("bundled", precision="bfloat16").with_query_side(narrowed(encoder))
    tuned.name = "elsewhere"
    assert tuned.document_fingerprint == encoder.document_fingerprint
    assert tuned.fingerprint != encoder.fingerprint
    monkeypatch.setattr(Encoder, "encode_documents", None)
    monkeypatch.setattr(Encoder, "encode_to", None)
    assert writing.compact(path, tuned).documents == 8
    monkeypatch.undo()
    after = Snapshot.open(path).manifest
    changing = {"documents", "segments", "files", "created", "number"}
    assert {key: value for key, value in after.items() if key not in changing} == {
        key: value for key, value in before.items() if key not in changing
    }
    assert after["files"][CANARIES] == before["files"][CANARIES]
    assert verify(path, lambda _: encoder).problems == []


def narrowed(encoder):
    """Modules of other queries."""
    import torch

    changed = copy.deepcopy(encoder.sentence_transformer)
    with torch.no_grad():
        changed[0].model.layers[0].mlp.Wo.weight.mul_(1.01)
    return changed


def test_a_recall_that_no_number_of_queries_shows_is_met_by_exact_search(tmp_path, encoder, monkeypatch, caplog):
    monkeypatch.setattr(kinds, "FAST_FLAT_BYTES", 0)
    publish_scattered(tmp_path / "idx", encoder, tmp_path, count=100, queries=None, recall=1)
    assert Snapshot.open(tmp_path / "idx").manifest["segments"][0]["kind"] == "flat"
    said = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [message.split(" is not tried")[0] for message in said] == ["hnsw-sq8", "ivf-sq8"]
    assert "too few to show a recall of 1" in said[0]


def test_documents_that_make_too_few_queries_are_refused_before_they_are_embedded(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(Encoder, "encode_to", None)
    with pytest.raises(DataError, match=r"8 queries are too few to show a recall of 0\.95"):
        Index.build(table(TEXTS), encoder, tmp_path / "idx", kind="hnsw-sq8")
    monkeypatch.setattr(kinds, "FAST_FLAT_BYTES", 0)
    with pytest.raises(DataError, match="5 queries are too few"):
        Index.build(table(TEXTS), encoder, tmp_path / "idx", queries=SENTENCES[:5])
    assert not (tmp_path / "idx").exists()


def test_compacting_makes_more_queries_where_those_of_the_version_are_too_few(tmp_path, encoder, monkeypatch, caplog):
    path = tmp_path / "idx"
    publish_scattered(path, encoder, tmp_path, count=300, queries=SENTENCES[:12], recall=0.8)
    assert Snapshot.open(path).manifest["segments"][0]["kind"] == "flat"
    monkeypatch.setattr(kinds, "FAST_FLAT_BYTES", 0)
    caplog.set_level("INFO", "embedft")
    writing.compact(path, encoder)
    assert "12 queries are too few: recall is measured with 300 sentences of the documents beside them." in caplog.text
    texts, given = read_queries(Snapshot.open(path).version.path)
    assert (texts[:12], len(set(texts)), given) == (SENTENCES[:12], 312, False)
    assert Snapshot.open(path).manifest["segments"][0]["kind"] == "hnsw-sq8"


def test_a_recall_takes_more_queries_where_several_stages_are_tried_on_them():
    check = partial(base.check_settings, 100_000, 384, given=True)
    check(Settings(kind="hnsw-sq8"), queries=110)
    with pytest.raises(DataError, match="110 queries are too few"):
        check(Settings(), queries=110)
    check(Settings(), queries=125)
    with pytest.raises(DataError, match="125 queries are too few"):
        check(Settings(memory=10**9), queries=125)


def test_bounds_are_lower_where_several_stages_are_tried(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(kinds, "FAST_FLAT_BYTES", 0)
    vectors, queries = scattered(encoder, 600), scattered(encoder, 300, seed=5)
    for kind, level in (("auto", 1 - 0.025 / 2), ("hnsw-sq8", 0.975)):
        _, chosen, tuning = base.fit_stage(vectors, queries, Settings(kind=kind, recall=0.5))
        assert chosen == "hnsw-sq8"
        perfect = [point.ci_low for point in tuning.curve if point.recall == 1]
        assert perfect[0] == pytest.approx(mean_lower_bound(np.ones(tuning.queries), level=level))


def test_a_failed_compaction_leaves_the_index_as_it_was(approximate, tmp_path, encoder):
    path = shutil.copytree(approximate[0], tmp_path / "idx")
    writing.delete(path, [f"d{number}" for number in range(5, COUNT)])
    before = inodes(path)
    with pytest.raises(DataError, match="5 vectors are too few"):
        writing.compact(path, encoder)
    assert inodes(path) == before
    assert not (path / ".building").exists()


@pytest.mark.parametrize(("documents", "exact"), [(100, True), (20_000, True), (1_000_000, False)])
def test_the_kind_is_chosen_by_size_unless_it_is_asked_for(documents, exact):
    assert (kinds_to_try(documents, 384, Settings())[0] == "flat") is exact
    assert kinds_to_try(documents, 384, Settings(kind="ivf-pq")) == ["ivf-pq"]


def test_a_change_says_what_it_came_to(path, encoder):
    added = writing.add(path, table({"s0": "Nobody sleeps.", "new": "A new one."}), encoder)
    assert (added.documents, added.added, added.replaced) == (9, 1, 1)
    deleted = writing.delete(path, ["s1", "gone", "s1", "new"])
    assert (deleted.documents, deleted.deleted, deleted.missing) == (7, 2, ("gone",))
    assert writing.compact(path, encoder).documents == 7


def test_an_added_document_replaces_the_one_of_its_id(path, encoder, vectors):
    writing.add(path, table({"s0": "Nobody sleeps.", "new": "A new one."}), encoder)
    writing.add(path, table({"new": "A newer one.", "s3": SENTENCES[0]}), encoder)
    texts = TEXTS | {"s0": "Nobody sleeps.", "new": "A newer one.", "s3": SENTENCES[0]}
    for query in ("Who sleeps?", "new"):
        assert_hits(Index.open(path, encoder).search([query])[0], query, texts, 10, vectors)


def test_deleting_what_is_not_there_publishes_nothing(path):
    before = inodes(path)
    assert writing.delete(path, ["gone", "\ud800"]).missing == ("gone", "\ud800")
    assert inodes(path) == before


@pytest.mark.parametrize("form", [tuple, set, iter, np.array, dict.fromkeys])
def test_ids_may_come_in_any_form(path, form):
    deleted = writing.delete(path, form(["s0", "s1"]))
    assert (deleted.deleted, deleted.documents) == (2, 6)


@pytest.mark.parametrize("ids", ["s0", [], [0], [None], None, 7, b"s0", iter([]), np.array(3)])
def test_ids_that_are_no_list_of_strings_are_refused(path, ids):
    with pytest.raises(DataError, match="the ids to delete"):
        writing.delete(path, ids)


def test_an_index_whose_documents_are_all_deleted_finds_nothing_and_takes_new_ones(path, encoder):
    index = Index.open(path, encoder)
    index.delete(list(TEXTS))
    assert len(index) == 0
    assert index.search(["roses"], hybrid=True) == index.search(["roses"], exact=True) == [[]]
    with pytest.raises(DataError, match="no documents"):
        index.compact()
    assert verify(path, lambda _: encoder).problems == []
    index.add([{"id": "s0", "text": "again"}])
    assert [hit.text for hit in index.search(["roses"])[0]] == ["again"]
    index.compact()
    assert [hit.text for hit in index.search(["roses"], hybrid=True)[0]] == ["again"]


def test_compacting_changes_no_hit_and_leaves_one_segment_without_gaps(path, encoder):
    index = Index.open(path, encoder)
    index.add([{"id": f"n{number}", "text": text, "n": number} for number, text in enumerate(SENTENCES[8:12])])
    index.delete(["s2", "n1"])
    asked = ["roses", "bread in winter"]
    before = [*index.search(asked, k=20), *index.search(asked, filter="n>=1")]
    index.compact()
    after = [*index.search(asked, k=20), *index.search(asked, filter="n>=1")]
    for old, new in zip(before, after, strict=True):
        assert [(hit.id, hit.text, hit.metadata) for hit in new] == [(hit.id, hit.text, hit.metadata) for hit in old]
        assert [hit.score for hit in new] == pytest.approx([hit.score for hit in old], abs=1e-6)
    (base,) = index.manifest["segments"]
    assert base["documents"] == len(index) == 10
    assert "deleted.npy" not in index.manifest["files"]


def test_files_of_others_beside_an_index_stay_when_it_is_compacted_or_migrated(path, encoder, other_model):
    (path / "README").write_text("mine")
    index = Index.open(path, encoder)
    index.delete(["s2"])
    index.compact()
    Index.open(path, encoder).migrate(Encoder.load(str(other_model)))
    assert (path / "README").read_text() == "mine"
    assert [version["documents"] for version in versions(path)] == [7, 7]
    with pytest.raises(ArtifactError, match="other things beside"):
        Index.build(table(TEXTS), encoder, path, force=True)


def test_many_small_additions_make_few_segments(path, encoder):
    for number in range(12):
        writing.add(path, table({f"n{number}": SENTENCES[number]}), encoder)
        further = Snapshot.open(path).manifest["segments"][1:]
        assert len(further) <= math.log2(number + 1) + 1
        assert sum(entry["documents"] for entry in further) == number + 1
    snapshot = Snapshot.open(path)
    assert sorted(snapshot.live_documents()["id"].to_pylist()) == sorted([*TEXTS, *(f"n{n}" for n in range(12))])
    assert verify(path, lambda _: encoder).problems == []


def test_replacing_one_document_again_and_again_keeps_one_row_of_it(path, encoder):
    for number in range(5):
        writing.add(path, table({"one": SENTENCES[number]}), encoder)
    snapshot = Snapshot.open(path)
    assert [entry["documents"] for entry in snapshot.manifest["segments"]] == [8, 1]
    assert len(snapshot) == 9


def test_what_did_not_change_is_a_link_and_keeps_its_checksum(path, encoder):
    before = Snapshot.open(path).manifest["files"]
    writing.add(path, table({"new": "A new one."}), encoder)
    writing.delete(path, ["s0"])
    old, new = inodes(path / "versions" / "000002"), inodes(path / "versions" / "000003")
    base = [name for name in before if name.startswith("base/")]
    assert [new[name] for name in [*base, CANARIES]] == [old[name] for name in [*base, CANARIES]]
    files = Snapshot.open(path).manifest["files"]
    assert {name: files[name] for name in base} == {name: before[name] for name in base}
    assert check_files(path) == []


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        (table({}), "no documents"),
        (pa.table({"id": ["a", "b", "a"], "text": ["x", "y", "z"]}), "'a' stands twice"),
        (pa.table({"id": pa.array(["a", None, None]), "text": ["x", "y", "z"]}), "no id"),
        (pa.table({"id": ["a", "", "c"], "text": ["x", "y", "z"]}), "the id of document 1 is empty"),
        # So many that comparing each with the others would not end.
        (pa.table({"id": [*map(str, range(100_000)), "7"], "text": ["x"] * 100_001}), "'7' stands twice"),
    ],
)
def test_documents_that_cannot_be_told_apart_are_refused_before_they_are_embedded(path, tmp_path, documents, found):
    # No encoder: it is not asked.
    for act in (lambda: writing.add(path, documents, None), lambda: Index.build(documents, None, tmp_path / "new")):
        with pytest.raises(DataError, match=found):
            act()
    assert not (tmp_path / "new").exists()


def test_a_taken_path_is_refused_before_anything_is_embedded(path):
    with pytest.raises(ArtifactError, match="there already"):
        Index.build(["a"], None, path)


def test_an_index_is_replaced_only_when_told_and_the_old_version_is_kept(path, encoder):
    rebuilt = Index.build(["a", "b"], encoder, path, force=True)
    assert len(rebuilt) == 2
    assert [(version["number"], version["current"]) for version in versions(path)] == [(1, False), (2, True)]


def test_as_many_versions_are_kept_as_were_asked_for_through_every_change(tmp_path, encoder):
    index = Index.build(table(TEXTS), encoder, tmp_path / "idx", keep=3)
    index.add([{"id": "x", "text": "new"}])
    index.compact()
    index.delete(["x"])
    assert [version["number"] for version in versions(index.path)] == [2, 3, 4]


def test_a_second_writer_is_told_so_and_the_first_goes_on(path, encoder):
    with writing.writing(path):
        for change in (
            lambda: writing.add(path, table({"x": "y"}), encoder),
            lambda: writing.delete(path, ["s0"]),
            lambda: writing.compact(path, encoder),
            lambda: Index.build(["a"], encoder, path, force=True),
        ):
            with pytest.raises(ArtifactError, match="another process"):
                change()
        assert len(Index.open(path, encoder)) == 8
    assert writing.delete(path, ["s0"]).deleted == 1


def test_of_a_version_that_vanishes_while_it_is_opened_nothing_is_taken_for_absent(path, monkeypatch):
    writing.delete(path, ["s0"])
    original = Segment.open

    def removed_after(*arguments):
        segment = original(*arguments)
        monkeypatch.undo()
        for name in ("s1", "s2"):  # two versions are kept
            writing.delete(path, [name])
        return segment

    monkeypatch.setattr(Segment, "open", removed_after)
    snapshot = Snapshot.open(path)
    assert (snapshot.version.number, len(snapshot)) == (4, 5)
    assert snapshot.segments[0].lexical is not None


def test_what_an_unfinished_build_of_other_documents_left_is_not_taken_over(tmp_path, encoder, vectors):
    building = tmp_path / "idx" / ".building"
    building.mkdir(parents=True)
    (building / "plan.json").write_text('{"texts": "others"}')
    np.save(building / "vectors.npy", np.eye(8, 384, dtype=np.float32))
    index = Index.build(table(TEXTS), encoder, tmp_path / "idx")
    assert_hits(index.search(["roses"])[0], "roses", TEXTS, 10, vectors)
    assert not building.exists()


def test_a_kill_while_the_work_of_another_plan_is_removed_leaves_nothing_to_stumble_over(path, encoder, monkeypatch):
    building = path / ".building"
    building.mkdir()
    (building / "plan.json").write_text('{"texts": "these"}')
    (building / "vectors.npy.partial.json").write_text("{}")

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        writing._begin(building, {"texts": "others"})
    monkeypatch.undo()
    assert not (building / "plan.json").exists()
    assert len(Index.build(["a", "b"], encoder, path, force=True)) == 2


def test_a_file_of_vectors_is_written_anew_and_not_through_its_links(tmp_path):
    blocks = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    write_vectors(tmp_path / "published.npy", (6, 2), blocks)
    (tmp_path / "vectors.npy").hardlink_to(tmp_path / "published.npy")
    write_vectors(tmp_path / "vectors.npy", (2, 2), -blocks[:1])
    np.testing.assert_array_equal(np.load(tmp_path / "published.npy"), blocks.reshape(6, 2))
    np.testing.assert_array_equal(np.load(tmp_path / "vectors.npy"), -blocks[0])


def test_exact_search_that_takes_too_long_is_refused_as_other_kinds_are(tmp_path, encoder):
    with pytest.raises(ConfigError, match=r"flat 1\.000 \(.* ms a query\)"):
        writing.build(tmp_path / "idx", table(TEXTS), encoder, Settings(kind="flat", latency_ms=1e-6))
    writing.build(tmp_path / "idx", table(TEXTS), encoder, Settings(kind="flat", latency_ms=1e6))
    assert len(Index.open(tmp_path / "idx")) == len(TEXTS)


def test_a_kind_that_does_not_fit_the_memory_is_refused_before_anything_is_embedded(tmp_path, encoder):
    with pytest.raises(ConfigError, match=r"needs .* bytes; 1,000 are allowed"):
        writing.build(tmp_path / "idx", table(TEXTS), encoder, Settings(kind="hnsw", memory=1000))
    assert not (tmp_path / "idx").exists()
