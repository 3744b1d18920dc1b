"""The files of an index: versions beside each other, a pointer to the one that counts, and a checksum on everything.

    IDX/CURRENT                      {"version": "000001", "manifest_sha256": "..."}
    IDX/versions/000001/             manifest.json and the files that it lists with size and SHA-256

A version is written beside its place and renamed; then CURRENT is replaced. A reader sees the old version or the new
one. Each byte is covered: CURRENT vouches for the manifest, the manifest for the files.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from embedft.artifacts import atomic_directory, disk_errors, sha256_of, write_json
from embedft.errors import ArtifactError

INDEX_FORMAT = 1
Opened = TypeVar("Opened")
CURRENT, VERSIONS, LOCK = "CURRENT", "versions", ".lock"
# A version, or one that is being written.
OURS = re.compile(r"\d{6}|\.\d{6}\.[0-9a-f]{8}\.tmp")
MANIFEST = "manifest.json"
REBUILD = "build the index again with --force, or restore the file from a copy."


@dataclass(frozen=True)
class Version:
    """One complete version on disk, its checksums verified."""

    path: Path
    manifest: dict[str, Any]


def is_index(path: Path) -> bool:
    """Whether ``path`` holds nothing but an index, whole, damaged, or cut off in its first build.

    Judged by what stands there, not by one name: other programs have a ``CURRENT`` or a ``versions`` folder too.
    """
    if not path.is_dir() or not {entry.name for entry in path.iterdir()} <= {CURRENT, LOCK, VERSIONS}:
        return False
    versions = path / VERSIONS
    return versions.is_dir() and all(OURS.fullmatch(entry.name) and entry.is_dir() for entry in versions.iterdir())


def open_version(path: Path, read: Callable[[Version], Opened]) -> tuple[Version, Opened]:
    """The current version and what ``read`` opens of it, after checking every file against the manifest.

    Files that are open stay readable when a writer publishes a new version and removes this one; so all of them are
    opened here, where a version that vanishes in between is noticed and the new one taken.

    Raises:
        ArtifactError: there is no index, or a file is missing, damaged, or of a later format.
    """
    while True:
        pointer = _read_pointer(path)
        try:
            version = _verify(path, pointer)
            return version, read(version)
        except (ArtifactError, OSError):
            # A writer may have published a new version and removed this one while it was read.
            if _read_pointer(path) == pointer:
                raise


@contextmanager
def new_version(path: Path, *, force: bool) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield a staging directory and a manifest to fill in; publish both when the block ends without an error.

    Old versions go once the new one is published.

    Raises:
        ArtifactError: an index is there and ``force`` is False; something else is there; another process writes.
        DiskFullError: the disk ran full; the old version is untouched.
    """
    from filelock import FileLock, Timeout

    require_writable(path, force=force)
    with disk_errors(path):
        existed = path.exists()
        versions = path / VERSIONS
        versions.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path / LOCK, timeout=0):
                target = versions / f"{_latest(versions) + 1:06d}"
                for stale in versions.glob(".*.tmp"):
                    shutil.rmtree(stale)
                manifest: dict[str, Any] = {"format": INDEX_FORMAT}
                with atomic_directory(target) as staged:
                    yield staged, manifest
                    files = sorted(file for file in staged.iterdir() if file.is_file())
                    manifest["files"] = {
                        file.name: {"bytes": file.stat().st_size, "sha256": sha256_of(file)} for file in files
                    }
                    write_json(staged / MANIFEST, manifest)
                pointer = {"version": target.name, "manifest_sha256": sha256_of(target / MANIFEST)}
                write_json(path / CURRENT, pointer)
                for old in versions.iterdir():
                    if old != target and OURS.fullmatch(old.name):
                        shutil.rmtree(old, ignore_errors=True)
        except Timeout as error:
            raise ArtifactError(f"{path}: another process writes to it.", hint="wait for it to end.") from error
        except BaseException:
            if not existed and not (path / CURRENT).exists():
                shutil.rmtree(path, ignore_errors=True)
            raise


def require_writable(path: Path, *, force: bool) -> None:
    """Raise ArtifactError if an index may not be written to ``path``: before long work, not after it."""
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: is a file; a directory is to be written there.", hint="name another path.")
    if path.is_dir() and any(path.iterdir()) and not is_index(path):
        raise ArtifactError(
            f"{path}: exists and is not an index, or holds other things beside one.", hint="name another path."
        )
    if (path / CURRENT).is_file() and not force:
        raise ArtifactError(
            f"{path}: an index is there already.", hint="name another path, or add --force to replace it."
        )


def _latest(versions: Path) -> int:
    numbers = [int(entry.name) for entry in versions.iterdir() if re.fullmatch(r"\d{6}", entry.name)]
    return max(numbers, default=0)


def _read_pointer(path: Path) -> dict[str, str]:
    file = path / CURRENT
    if not file.is_file():
        unfinished = " The build that began it was cut off." if (path / VERSIONS).is_dir() else ""
        raise ArtifactError(f"{path}: holds no index.{unfinished}", hint="build one with 'embedft index build'.")
    try:
        pointer = json.loads(file.read_bytes())
        version, digest = pointer["version"], pointer["manifest_sha256"]
        if not re.fullmatch(r"\d{6}", version) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise ValueError("not a version and a checksum")
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{file}: is damaged: {error}", hint=REBUILD) from error
    return {"version": version, "manifest_sha256": digest}


def _verify(path: Path, pointer: dict[str, str]) -> Version:
    folder = path / "versions" / pointer["version"]
    manifest_file = folder / MANIFEST
    if not manifest_file.is_file():
        raise ArtifactError(f"{manifest_file}: is missing, though {CURRENT} names it.", hint=REBUILD)
    if sha256_of(manifest_file) != pointer["manifest_sha256"]:
        raise ArtifactError(f"{manifest_file}: is damaged, or {CURRENT} is: the checksums differ.", hint=REBUILD)
    manifest = json.loads(manifest_file.read_bytes())
    if manifest["format"] != INDEX_FORMAT:
        raise ArtifactError(
            f"{path}: is of index format {manifest['format']}; this embedft reads format {INDEX_FORMAT}.",
            hint="use the embedft that wrote it, or build it again.",
        )
    for name, stated in manifest["files"].items():
        file = folder / name
        if not file.is_file():
            raise ArtifactError(f"{file}: is missing.", hint=REBUILD)
        size = file.stat().st_size
        if size != stated["bytes"]:
            raise ArtifactError(f"{file}: is damaged: {size} bytes where {stated['bytes']} were written.", hint=REBUILD)
        if sha256_of(file) != stated["sha256"]:
            raise ArtifactError(f"{file}: is damaged: its SHA-256 is not the one it was written with.", hint=REBUILD)
    return Version(folder, manifest)
