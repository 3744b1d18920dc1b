"""Versions on disk: whole or not at all, every byte checked, one writer."""

import errno
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import pytest
from index_versions import entries, publish, texts

from embedft.artifacts import sha256_of
from embedft.errors import ArtifactError, ConfigError
from embedft.index.storage import (
    Problem,
    building_folder,
    check_files,
    checksums,
    is_index,
    new_version,
    open_version,
    require_writable,
    rollback,
    verify,
    versions,
    writing,
)


@pytest.fixture
def idx(tmp_path):
    path = tmp_path / "idx"
    publish(path, "a")
    return path


def test_a_version_reads_as_it_was_written(idx):
    assert texts(idx) == (1, "a", "a")
    manifest = open_version(idx, lambda version: None)[0].manifest
    assert set(manifest["files"]) == {"base/documents.arrow", "base/vectors.npy", "delta/documents.arrow"}
    assert manifest["format"] == 2
    assert manifest["created"].endswith("+00:00")


def test_what_did_not_change_is_linked_and_survives_the_version_that_it_came_from(idx):
    first = idx / "versions" / "000001" / "base" / "vectors.npy"
    publish(idx, "b", onto=True)
    assert (idx / "versions" / "000002" / "base" / "vectors.npy").samefile(first)
    publish(idx, "c", onto=True)
    assert entries(idx / "versions") == {"000002", "000003"}
    assert texts(idx) == (3, "a", "c")
    assert check_files(idx) == []


def test_a_file_system_without_links_gets_copies(idx, monkeypatch):
    def refuse(*_arguments, **_keywords):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    publish(idx, "b", onto=True)
    assert texts(idx) == (2, "a", "b")
    assert (idx / "versions" / "000002" / "base" / "vectors.npy").stat().st_nlink == 1


def test_the_checksum_of_a_linked_file_is_carried_over_so_damage_stays_noticed(idx):
    file = idx / "versions" / "000001" / "base" / "vectors.npy"
    file.write_text("x" * file.stat().st_size)
    publish(idx, "b", onto=True)
    with pytest.raises(ArtifactError, match=r"000002/base/vectors\.npy: is damaged: its SHA-256"):
        texts(idx)


def test_only_files_of_a_previous_version_are_linked(idx, tmp_path):
    with pytest.raises(ArtifactError, match="nothing: the previous"), new_version(idx, onto=True) as staged:
        staged.link("nothing")
    with pytest.raises(ArtifactError, match="bas/: the previous"), new_version(idx, onto=True) as staged:
        staged.link_tree("bas")
    with pytest.raises(ArtifactError, match="no such file"), new_version(tmp_path / "new") as staged:
        staged.link_tree("base/")
    assert not (tmp_path / "new").exists()
    assert texts(idx) == (1, "a", "a")


def test_as_many_versions_stay_as_are_to_be_kept(idx):
    for number in range(2, 7):
        publish(idx, str(number), onto=True, keep=3)
    assert [version["number"] for version in versions(idx)] == [4, 5, 6]
    publish(idx, "7", onto=True, keep=1)
    assert [version["number"] for version in versions(idx)] == [7]
    with pytest.raises(ConfigError, match="0 versions"):
        publish(idx, "8", onto=True, keep=0)


def test_versions_say_what_each_of_them_costs(idx):
    publish(idx, "bc", onto=True)
    first, second = versions(idx)
    assert (first["number"], first["documents"], first["current"]) == (1, 1, False)
    assert (second["number"], second["documents"], second["current"]) == (2, 2, True)
    manifest = (idx / "versions" / "000002" / "manifest.json").stat().st_size
    assert second["bytes"] == 100 + 1000 + 2 + manifest
    assert second["unique_bytes"] == 2 + manifest
    assert first["created"] <= second["created"]


def test_a_rollback_makes_an_older_version_current_and_can_be_undone(idx):
    publish(idx, "b", onto=True)
    publish(idx, "c", onto=True, keep=3)
    assert rollback(idx).number == 2
    assert texts(idx) == (2, "a", "b")
    assert rollback(idx).number == 1
    with pytest.raises(ArtifactError, match="older than the current one, 1") as caught:
        rollback(idx)
    assert "1, 2, 3" in caught.value.hint
    assert rollback(idx, 3).number == 3
    with pytest.raises(ArtifactError, match="has no version 9") as caught:
        rollback(idx, 9)
    assert "1, 2, 3" in caught.value.hint
    assert texts(idx) == (3, "a", "c")


def test_after_a_rollback_numbers_grow_and_what_was_rolled_back_goes_first(idx):
    publish(idx, "b", onto=True)
    rollback(idx)
    publish(idx, "c", onto=True)
    assert texts(idx) == (3, "a", "c")
    assert [version["number"] for version in versions(idx)] == [1, 3]


def test_a_damaged_version_is_not_rolled_back_to(idx):
    publish(idx, "b", onto=True)
    for name in ("manifest.json", "delta/documents.arrow"):
        file = idx / "versions" / "000001" / name
        content = file.read_bytes()
        file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        with pytest.raises(ArtifactError, match=name):
            rollback(idx)
        file.write_bytes(content)
        assert texts(idx) == (2, "a", "b")


@pytest.mark.parametrize("pointer", [None, b"", b'{"version": "000001"}'])
def test_a_rollback_by_number_mends_a_lost_pointer(idx, pointer):
    (idx / "CURRENT").unlink()
    if pointer is not None:
        (idx / "CURRENT").write_bytes(pointer)
    assert [problem.file for problem in check_files(idx)] == ["CURRENT"]
    with pytest.raises(ArtifactError):
        rollback(idx)
    assert rollback(idx, 1).number == 1
    assert texts(idx) == (1, "a", "a")


def all_files(path):
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != ".lock")


def test_a_sound_index_has_no_problems(idx):
    assert check_files(idx) == []


def test_each_file_truncated_flipped_missing_or_swapped_is_named_by_open_and_check(idx, tmp_path):
    publish(tmp_path / "other", "z")
    for file in all_files(idx):
        content = file.read_bytes()
        name = file.relative_to(idx).as_posix()
        other = tmp_path / "other" / name
        flipped = bytes([content[0] ^ 1]) + content[1:]
        for broken in (content[: len(content) // 2], flipped, other.read_bytes(), None):
            if broken is None:
                file.unlink()
            else:
                file.write_bytes(broken)
            if name == "CURRENT" and broken is None:
                with pytest.raises(ArtifactError, match="holds no index"):
                    texts(idx)
            else:
                with pytest.raises(ArtifactError, match=file.name):
                    texts(idx)
            found = {problem.file for problem in check_files(idx)}
            # Another index' CURRENT is sound in itself: the manifest is then the one that does not fit.
            assert name in found or (name == "CURRENT" and broken == other.read_bytes())
            file.write_bytes(content)
    assert texts(idx) == (1, "a", "a")


def test_all_problems_are_listed_at_once(idx):
    folder = idx / "versions" / "000001"
    (folder / "base" / "documents.arrow").write_text("short")
    (folder / "delta" / "documents.arrow").unlink()
    (folder / "notes.txt").write_text("mine")
    assert check_files(idx) == [
        Problem("versions/000001/base/documents.arrow", "is damaged: 5 bytes where 100 were written."),
        Problem("versions/000001/delta/documents.arrow", "is missing."),
        Problem("versions/000001/notes.txt", "is not in the manifest."),
    ]


def test_a_file_that_no_manifest_lists_does_not_hinder_opening(idx):
    (idx / "versions" / "000001" / "notes.txt").write_text("mine")
    assert texts(idx) == (1, "a", "a")


def test_a_file_that_cannot_be_read_is_named(idx):
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    (idx / "versions" / "000001" / "base" / "vectors.npy").chmod(0)
    with pytest.raises(ArtifactError, match=r"vectors\.npy: cannot be read"):
        texts(idx)


def test_of_a_large_index_vectors_are_sampled_when_it_is_opened_and_hashed_by_check_files(tmp_path, monkeypatch):
    monkeypatch.setattr(verify, "LAZY_BYTES", 1000)
    monkeypatch.setattr(checksums, "SAMPLES", 3)
    monkeypatch.setattr(checksums, "SAMPLE_BYTES", 10)
    idx = tmp_path / "idx"
    publish(idx, "a")
    folder = idx / "versions" / "000001" / "base"
    (folder / "vectors.npy").write_text("b" * 1000)
    with pytest.raises(ArtifactError, match=r"vectors\.npy"):
        texts(idx)
    (folder / "vectors.npy").write_text("a" * 300 + "b" + "a" * 699)
    assert open_version(idx, lambda version: "opened")[1] == "opened"
    assert [problem.file for problem in check_files(idx)] == ["versions/000001/base/vectors.npy"]
    (folder / "vectors.npy").write_text("a" * 999)
    with pytest.raises(ArtifactError, match="999 bytes"):
        texts(idx)
    (folder / "vectors.npy").write_text("a" * 1000)
    (folder / "documents.arrow").write_text("b" * 100)
    with pytest.raises(ArtifactError, match=r"documents\.arrow"):
        texts(idx)


def test_a_file_is_hashed_once_a_process_until_it_is_written_again(idx, monkeypatch):
    monkeypatch.setattr(checksums, "_hashed", {})
    hashed = []
    monkeypatch.setattr(checksums, "sha256_of", lambda file: hashed.append(file.name) or sha256_of(file))
    files = [file for file in all_files(idx) if file.name not in ("CURRENT", "manifest.json")]
    texts(idx)
    texts(idx)
    assert len(hashed) == 2 * len(files), "what was written just now may be written again unnoticed"
    for file in files:
        os.utime(file, (0, file.stat().st_mtime - 60))
    hashed.clear()
    texts(idx)
    texts(idx)
    publish(idx, "b", onto=True)
    texts(idx)
    assert sorted(set(hashed)) == sorted({file.name for file in files})
    assert hashed.count("vectors.npy") == 1
    (vectors,) = (file for file in files if file.name == "vectors.npy")
    vectors.write_bytes(b"x" * vectors.stat().st_size)
    with pytest.raises(ArtifactError, match="damaged"):
        open_version(idx, lambda version: None)


def restate(path, change):
    """Change the manifest and let CURRENT vouch for it, as a faulty or malicious writer would."""
    import hashlib

    file = next(path.glob("versions/*/manifest.json"))
    content = change(json.loads(file.read_bytes()))
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    file.write_bytes(raw)
    pointer = json.loads((path / "CURRENT").read_bytes()) | {"manifest_sha256": hashlib.sha256(raw).hexdigest()}
    (path / "CURRENT").write_text(json.dumps(pointer))


@pytest.mark.parametrize("name", ["../../CURRENT", "/etc/hostname", "base/../../x", "a\\b", "", ".", "base//x"])
def test_a_manifest_that_lists_a_file_outside_is_refused(idx, name):
    restate(idx, lambda manifest: manifest | {"files": {name: {"bytes": 1, "sha256": "0" * 64}}})
    with pytest.raises(ArtifactError, match="not the name of a file below it"):
        texts(idx)
    assert [problem.file for problem in check_files(idx)] == ["versions/000001/manifest.json"]


@pytest.mark.parametrize(
    ("change", "found", "hint"),
    [
        (
            lambda manifest: manifest | {"format": 3},
            "is of index format 3; this embedft reads format 2",
            "newer embedft",
        ),
        (lambda manifest: manifest | {"format": 1}, "is of index format 1", "build the index again"),
        (lambda manifest: [manifest], "not a JSON object", "build the index again"),
        (lambda manifest: b"{", "is damaged", "build the index again"),
        (lambda manifest: {"files": manifest["files"]}, "names no format", "build the index again"),
        (lambda manifest: {"format": 2}, "does not list files", "build the index again"),
        (lambda manifest: manifest | {"files": {"x": {"bytes": 1}}}, "does not list files", "build the index again"),
    ],
)
def test_a_manifest_of_another_kind_is_refused_by_name(idx, change, found, hint):
    restate(idx, change)
    with pytest.raises(ArtifactError, match=found) as caught:
        texts(idx)
    assert "manifest.json" in caught.value.message
    assert hint in caught.value.hint
    assert [problem.file for problem in check_files(idx)] == ["versions/000001/manifest.json"]


def test_fields_that_a_later_writer_adds_are_ignored(idx):
    restate(idx, lambda manifest: manifest | {"later": {"field": 1}})
    (idx / "CURRENT").write_text(json.dumps(json.loads((idx / "CURRENT").read_text()) | {"later": 1}))
    assert texts(idx) == (1, "a", "a")


def test_nothing_to_build_on_or_to_read_is_said(tmp_path):
    for act in (versions, check_files, rollback, lambda path: publish(path, "a", onto=True)):
        with pytest.raises(ArtifactError, match="holds no index"):
            act(tmp_path / "none")
        assert not (tmp_path / "none").exists()


def test_an_index_is_replaced_only_when_told(idx):
    with pytest.raises(ArtifactError, match="there already"):
        publish(idx, "b")
    publish(idx, "b", force=True)
    assert texts(idx) == (2, "b", "b")


def test_an_error_in_the_block_publishes_nothing_and_leaves_nothing(idx, tmp_path):
    for path, how in ((idx, {"onto": True}), (idx, {"force": True}), (tmp_path / "new", {})):
        with pytest.raises(RuntimeError), new_version(path, **how) as staged:
            (staged.path / "half").write_text("half")
            raise RuntimeError
    assert entries(idx / "versions") == {"000001"}
    assert texts(idx) == (1, "a", "a")
    assert not (tmp_path / "new").exists()


def test_a_second_writer_is_told_at_once_and_the_first_goes_on(idx):
    with writing(idx) as hold:
        with pytest.raises(ArtifactError, match="another process writes"):
            publish(idx, "b", onto=True)
        with pytest.raises(ArtifactError, match="another process writes"):
            rollback(idx)
        publish(idx, "c", onto=True, hold=hold)
    assert texts(idx) == (2, "a", "c")
    publish(idx, "d", onto=True)


def test_another_process_is_kept_out_too(idx):
    code = f"""
import sys
from pathlib import Path
from embedft.errors import ArtifactError
from embedft.index.storage import writing
try:
    with writing(Path({str(idx)!r})):
        sys.exit(1)
except ArtifactError as error:
    assert "another process writes" in error.message
"""
    with writing(idx):
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_lock_of_another_index_is_not_taken(idx, tmp_path):
    with writing(idx) as hold, pytest.raises(ValueError, match="not of"), new_version(tmp_path / "other", hold=hold):
        pass
    assert not (tmp_path / "other").exists()


def test_an_unfinished_build_is_kept_until_a_version_is_published(tmp_path):
    path = tmp_path / "idx"
    with suppress(KeyboardInterrupt), writing(path, new=True) as hold:
        building_folder(path).mkdir()
        (building_folder(path) / "vectors.npy.partial").write_text("half")
        with pytest.raises(RuntimeError), new_version(path, hold=hold):
            raise RuntimeError
        raise KeyboardInterrupt
    assert is_index(path)
    require_writable(path, force=False)
    with pytest.raises(ArtifactError, match="cut off"):
        texts(path)
    assert (building_folder(path) / "vectors.npy.partial").read_text() == "half"
    publish(path, "a")
    assert not building_folder(path).exists()
    assert texts(path) == (1, "a", "a")


def test_a_hold_without_a_version_leaves_no_folder(tmp_path):
    with writing(tmp_path / "new", new=True):
        assert is_index(tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_only_a_build_creates_anything(tmp_path):
    path = tmp_path / "x" / "y" / "z"
    for act in (
        lambda: writing(path).__enter__(),
        lambda: publish(path, "a", onto=True),
        lambda: rollback(path, 1),
        lambda: versions(path),
    ):
        with pytest.raises(ArtifactError, match="holds no index") as caught:
            act()
        assert "cut off" not in caught.value.message
    assert entries(tmp_path) == set()


def test_versions_are_listed_while_a_writer_removes_some(idx, monkeypatch):
    publish(idx, "b", onto=True)
    walk = os.walk

    def slower(folder):
        # The reader has listed the first version and comes to its files when it is gone, or half of it is.
        if folder.name == "000001":
            shutil.rmtree(folder)
        for place, folders, names in walk(folder):
            yield place, folders, [*names, "vanished"]

    monkeypatch.setattr(os, "walk", slower)
    assert [version["number"] for version in versions(idx)] == [2]


def test_files_of_others_are_never_taken_for_an_index(tmp_path):
    (tmp_path / "app" / "versions" / "v1").mkdir(parents=True)
    (tmp_path / "leveldb").mkdir()
    (tmp_path / "leveldb" / "CURRENT").write_text("MANIFEST-000005")
    (tmp_path / "file").write_text("precious")
    for name in ("app", "leveldb", "file"):
        before = sorted(tmp_path.rglob("*"))
        for act in (
            lambda path: publish(path, "a", force=True),
            lambda path: publish(path, "a", onto=True),
            lambda path: writing(path).__enter__(),
            lambda path: rollback(path, 1),
        ):
            with pytest.raises(ArtifactError):
                act(tmp_path / name)
        assert sorted(tmp_path.rglob("*")) == before


def test_an_index_beside_a_file_of_its_user_can_be_added_to_but_not_replaced(idx):
    (idx / "README").write_text("mine")
    publish(idx, "b", onto=True)
    with pytest.raises(ArtifactError, match="other things beside"):
        publish(idx, "c", force=True)
    assert texts(idx) == (2, "a", "b")
    assert (idx / "README").read_text() == "mine"


def test_a_version_that_vanishes_while_it_is_read_gives_way_to_the_new_one(idx):
    seen = []

    def read(version):
        seen.append(version.number)
        if len(seen) == 1:
            publish(idx, "b", force=True, keep=1)
        return (version.path / "base" / "vectors.npy").read_text()

    assert open_version(idx, read)[1] == "b" * 1000
    assert seen == [1, 2]
