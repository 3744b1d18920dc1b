"""A writer that is killed at any step, or runs out of disk: the old version is there or the new one, whole."""

import errno
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from index_versions import entries, publish, texts

from embedft.errors import ArtifactError, DiskFullError
from embedft.index.storage import (
    building_folder,
    check_files,
    is_index,
    new_version,
    require_writable,
    store,
    versions,
)


@pytest.fixture
def idx(tmp_path):
    path = tmp_path / "idx"
    publish(path, "a")
    return path


def killed_at(path, step, how):
    """Publish onto ``path`` in a child that is killed before its ``step``-th change of the disk; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0
        try:
            for name in ("replace", "rename", "link", "mkdir", "unlink", "rmdir", "fsync"):
                original = getattr(os, name)

                def counted(*arguments, _original=original, **keywords):
                    nonlocal count
                    count += 1
                    if count == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return _original(*arguments, **keywords)

                setattr(os, name, counted)
            publish(path, "b", **how)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("how", [{"onto": True}, {"force": True}, {"onto": True, "keep": 1}])
def test_killed_at_every_step_the_old_or_the_new_version_is_there_and_the_next_writer_cleans_up(tmp_path, how):
    publish(tmp_path / "made", "0")
    publish(tmp_path / "made", "a", force=True)
    base = "a" if "onto" in how else "b"
    outcomes = set()
    for step in range(1, 200):
        path = shutil.copytree(tmp_path / "made", tmp_path / str(step))
        building_folder(path).mkdir()
        was_killed = killed_at(path, step, how)
        found = texts(path)
        assert found in ((2, "a", "a"), (3, base, "b")), step
        assert check_files(path) == []
        assert is_index(path)
        outcomes.add(found[0])
        publish(path, "c", onto=True)
        assert texts(path)[2] == "c"
        assert texts(path)[0] > found[0]
        assert entries(path) - {".lock"} == {"CURRENT", "versions"}
        assert [version["number"] for version in versions(path)] == [found[0], texts(path)[0]]
        assert all(entry.name.isdigit() for entry in (path / "versions").iterdir())
        if not was_killed:
            break
    assert outcomes == {2, 3}
    assert step > 20
    assert not was_killed


def test_killed_at_every_step_of_a_first_build_it_can_be_built_again(tmp_path):
    for step in range(1, 200):
        path = tmp_path / str(step)
        was_killed = killed_at(path, step, {})
        if not (path / "CURRENT").exists():
            require_writable(path, force=False)
            with pytest.raises(ArtifactError, match="holds no index"):
                texts(path)
            publish(path, "c")
            assert len(versions(path)) == 1
            assert entries(path) - {".lock"} == {"CURRENT", "versions"}
        assert texts(path)[2] in ("b", "c")
        if not was_killed:
            break
    assert not was_killed


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("how", [{"onto": True}, {"force": True}])
def test_a_full_disk_is_one_clear_error_and_the_old_version_stays(small_disk, how):
    path = small_disk / "idx"
    publish(path, "a")
    before = sorted(small_disk.rglob("*"))
    with pytest.raises(DiskFullError, match="ran full"), new_version(path, **how) as staged:
        (staged.path / "vectors.npy").write_bytes(bytes(2 << 20))
    assert sorted(small_disk.rglob("*")) == before
    assert texts(path) == (1, "a", "a")
    publish(path, "b", onto=True)
    assert texts(path) == (2, "a", "b")


def test_a_disk_that_is_full_when_the_pointer_is_written_publishes_nothing(idx, monkeypatch):
    def full(file: Path, _value):
        raise OSError(errno.ENOSPC, "No space left on device", str(file))

    write = store.write_json
    monkeypatch.setattr(
        store, "write_json", lambda file, value: (full if file.name == "CURRENT" else write)(file, value)
    )
    with pytest.raises(DiskFullError):
        publish(idx, "b", onto=True)
    monkeypatch.undo()
    assert entries(idx / "versions") == {"000001"}
    assert texts(idx) == (1, "a", "a")
