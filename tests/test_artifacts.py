"""Directories appear whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from embedft.artifacts import (
    atomic_directory,
    disk_errors,
    is_disk_full,
    require_file_free,
    require_free,
    write_bytes,
)
from embedft.errors import ArtifactError, DiskFullError


def entries(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()}


def test_directory_appears_complete(tmp_path):
    with atomic_directory(tmp_path / "out") as staged:
        (staged / "a").write_text("1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert entries(tmp_path) == {"out"}


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "out") as staged:
        (staged / "a").write_text("1")
        raise RuntimeError
    assert entries(tmp_path) == set()


def test_an_error_while_replacing_keeps_the_old(tmp_path):
    with atomic_directory(tmp_path / "out") as staged:
        (staged / "a").write_text("old")
    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "out", force=True):
        raise RuntimeError
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_an_existing_directory_is_kept_without_force(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    with pytest.raises(ArtifactError, match="exists already"), atomic_directory(tmp_path / "out"):
        pass
    with (
        pytest.raises(ArtifactError, match="did not write"),
        atomic_directory(tmp_path / "out", force=True, ours=lambda path: (path / "manifest").exists()),
    ):
        pass
    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_a_killed_replacement_is_undone_by_the_next_writer(tmp_path):
    (tmp_path / ".out.1234abcd.old").mkdir()
    (tmp_path / ".out.1234abcd.old" / "a").write_text("old")
    (tmp_path / ".out.1234abcd.tmp").mkdir()
    with pytest.raises(ArtifactError, match="exists already"), atomic_directory(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "a").read_text() == "old"
    assert entries(tmp_path) == {"out"}


def test_a_second_writer_neither_disturbs_the_first_nor_takes_its_place(tmp_path):
    with (
        pytest.raises(ArtifactError, match="exists already"),
        atomic_directory(tmp_path / "out") as second,
    ):
        with atomic_directory(tmp_path / "out") as first:
            (first / "a").write_text("first")
        (second / "a").write_text("second")
    assert (tmp_path / "out" / "a").read_text() == "first"
    assert entries(tmp_path) == {"out"}


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "link").symlink_to("disk/out")
    (tmp_path / "disk").mkdir()
    for text in ("old", "new"):
        with atomic_directory(tmp_path / "link", force=True) as staged:
            (staged / "a").write_text(text)
        assert (tmp_path / "disk" / "out" / "a").read_text() == text
    assert (tmp_path / "link").is_symlink()
    assert entries(tmp_path) == {"link", "disk"}
    assert entries(tmp_path / "disk") == {"out"}


def test_what_a_living_writer_moved_aside_is_left_to_it(tmp_path, monkeypatch):
    """Another writer looks for remains between the two renames."""
    with atomic_directory(tmp_path / "out") as staged:
        (staged / "a").write_text("old")
    rename = Path.rename

    def renamed(path, target):
        moved = rename(path, target)
        if target.name.endswith(".old"):
            with pytest.raises(RuntimeError), atomic_directory(tmp_path / "out"):
                raise RuntimeError
        return moved

    monkeypatch.setattr(Path, "rename", renamed)
    with atomic_directory(tmp_path / "out", force=True) as staged:
        (staged / "a").write_text("new")
    assert (tmp_path / "out" / "a").read_text() == "new"
    assert entries(tmp_path) == {"out"}


def test_write_bytes_replaces_and_leaves_no_rest(tmp_path):
    write_bytes(tmp_path / "f", b"1")
    write_bytes(tmp_path / "f", b"2")
    assert (tmp_path / "f").read_bytes() == b"2"
    assert entries(tmp_path) == {"f"}


def test_a_full_disk_is_known_in_the_words_of_every_library(tmp_path):
    assert is_disk_full(OSError(errno.ENOSPC, "No space left on device"), tmp_path)
    assert is_disk_full(
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"), tmp_path
    )
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"), tmp_path)
    for how, told in (({}, "nothing half-written was kept"), ({"resumable": True}, "what was done before is kept")):
        with (
            pytest.raises(DiskFullError, match=f"ran full while this was written; {told}"),
            disk_errors(tmp_path, **how),
        ):
            raise OSError(errno.ENOSPC, "No space left on device")


def test_recovery_touches_its_own_target_alone(tmp_path):
    for name in (".model.v2.1234abcd.old", ".model.v2.1234abcd.tmp", ".model.mine.tmp"):
        (tmp_path / name).mkdir()
    with atomic_directory(tmp_path / "model") as staged:
        (staged / "a").write_text("1")
    assert entries(tmp_path) == {"model", ".model.v2.1234abcd.old", ".model.v2.1234abcd.tmp", ".model.mine.tmp"}


def test_what_the_system_refuses_is_told_of_the_file_not_of_the_staged_one(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_bytes(tmp_path / "nothing" / "file", b"1")
    assert caught.value.filename == str(tmp_path / "nothing" / "file")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        write_bytes(tmp_path / "folder", b"1")
    assert ".tmp" not in str(caught.value)
    assert entries(tmp_path) == {"folder"}


@pytest.mark.parametrize("require", [require_free, require_file_free])
def test_what_cannot_be_made_is_refused_before_the_work(tmp_path, require):
    (tmp_path / "file").write_text("1")
    with pytest.raises(ArtifactError, match="file is a file, no folder"):
        require(tmp_path / "file" / "a" / "b")
    require(tmp_path / "new" / "a" / "b")
    assert entries(tmp_path) == {"file"}


def test_a_link_or_a_device_is_never_replaced(tmp_path):
    (tmp_path / "file").write_text("1")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(ArtifactError, match="a link or a device"):
            require_file_free(tmp_path / name, force=True)


def test_a_file_that_is_not_ours_is_kept_even_with_force(tmp_path):
    path = tmp_path / "file"
    path.write_text("1")
    with pytest.raises(ArtifactError, match="exists already"):
        require_file_free(path, ours=lambda _: True)
    with pytest.raises(ArtifactError, match="replaces only what embedft wrote"):
        require_file_free(path, force=True, ours=lambda _: False)
    require_file_free(path, force=True, ours=lambda _: True)
