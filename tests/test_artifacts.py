"""Directories appear whole or not at all."""

import errno
from pathlib import Path

import pytest

from embedft.artifacts import atomic_directory, disk_errors, is_disk_full, write_bytes
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
    with pytest.raises(DiskFullError, match="ran full"), disk_errors(tmp_path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_recovery_touches_its_own_target_alone(tmp_path):
    for name in (".model.v2.1234abcd.old", ".model.v2.1234abcd.tmp", ".model.mine.tmp"):
        (tmp_path / name).mkdir()
    with atomic_directory(tmp_path / "model") as staged:
        (staged / "a").write_text("1")
    assert entries(tmp_path) == {"model", ".model.v2.1234abcd.old", ".model.v2.1234abcd.tmp", ".model.mine.tmp"}
