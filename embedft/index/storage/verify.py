"""What stands on disk, read and checked: the pointer, the manifest, and the files of a version.

    IDX/CURRENT                      {"version": "000007", "manifest_sha256": "...", "others": {"000006": "..."}}
    IDX/versions/000007/             manifest.json and the files that it lists with size and SHA-256

Each byte is covered: CURRENT vouches for the manifests of the versions that are kept, a manifest for its files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from embedft.errors import ArtifactError
from embedft.index.storage.checksums import Problem, damage

INDEX_FORMAT = 2
# Where the files of a version are more than this, opening checks vectors.npy by its size alone: at some 1.3 to 2 GB/s
# a core, hashing it would hold up each start of a server for seconds.
LAZY_BYTES = 1 << 30
VECTORS = "vectors.npy"
CURRENT, VERSIONS, LOCK, BUILDING, MANIFEST = "CURRENT", "versions", ".lock", ".building", "manifest.json"
NUMBER = re.compile(r"\d{6,}")
# A version, or one that is being written or removed.
OURS = re.compile(r"\d{6,}|\.\d{6,}\.[0-9a-f]{8}\.tmp")
POINTER_REST = re.compile(r"\.CURRENT\.[0-9a-f]{8}\.tmp")
SHA256 = re.compile(r"[0-9a-f]{64}")
REBUILD = "build the index again with --force, or restore the file from a copy."
RESTORE_POINTER = "make a version current with 'embedft index rollback --to', or build the index again with --force."

Opened = TypeVar("Opened")


@dataclass(frozen=True)
class Version:
    """One complete version on disk, its checksums verified.

    Attributes:
        path: its folder.
        manifest: what it was built from, and its files with sizes and checksums.
        manifest_sha256: no two versions have the same.
    """

    path: Path
    manifest: dict[str, Any]
    manifest_sha256: str

    @property
    def number(self) -> int:
        """The version's number, from 1; a later version has a higher one."""
        return int(self.path.name)

    def is_current(self, index: Path) -> bool:
        """Whether it is the version that ``index`` holds now.

        Raises:
            ArtifactError: there is no index any more.
        """
        return read_pointer(index).manifest_sha256 == self.manifest_sha256


@dataclass(frozen=True)
class Pointer:
    """What CURRENT says.

    Attributes:
        version: folder name of the current version.
        manifest_sha256: of its manifest.
        others: the same for the other versions that are kept.
    """

    version: str
    manifest_sha256: str
    others: dict[str, str]


def is_index(path: Path) -> bool:
    """Whether ``path`` holds nothing but an index, whole, damaged, or cut off in its first build.

    Judged by what stands there, not by one name: other programs have a ``CURRENT`` or a ``versions`` folder too.
    """
    if not path.is_dir():
        return False
    names = {entry.name for entry in path.iterdir() if not POINTER_REST.fullmatch(entry.name)}
    versions, building = path / VERSIONS, path / BUILDING
    if not names <= {CURRENT, LOCK, VERSIONS, BUILDING} or not (versions.is_dir() or building.is_dir()):
        return False
    entries = list(versions.iterdir()) if versions.is_dir() else []
    return all(OURS.fullmatch(entry.name) and entry.is_dir() for entry in entries)


def numbers_on_disk(path: Path) -> list[int]:
    """Numbers of the versions at ``path``, ascending; the last may have been cut off just before it was published."""
    versions = path / VERSIONS
    if not versions.is_dir():
        return []
    return sorted(int(entry.name) for entry in versions.iterdir() if NUMBER.fullmatch(entry.name) and entry.is_dir())


def open_version(path: Path, read: Callable[[Version], Opened]) -> tuple[Version, Opened]:
    """The current version and what ``read`` opens of it, after checking every file against the manifest.

    Each file is hashed, a few at a time; only where they are more than ``LAZY_BYTES`` (1 GB) in all, those that are
    called ``vectors.npy`` are checked by their size and a sample of their bytes. They are raw numbers that no parser
    reads; `check_files` hashes them wholly. A file that this process has hashed before, and that was not written since,
    is not hashed again: versions share most of their files.

    Files that are open stay readable when a writer publishes a new version and removes this one; so ``read`` has to
    open all that will be needed. A version that vanishes in between is noticed and the new one taken.

    Raises:
        ArtifactError: there is no index, or a file is missing, damaged, or of another format.
    """
    while True:
        pointer = read_pointer(path)
        try:
            version = verify(path, pointer, _hashed_at_open, again=False)
            return version, read(version)
        except (ArtifactError, OSError):
            # A writer may have published a new version and removed this one while it was read.
            if read_pointer(path) == pointer:
                raise


def check_files(path: Path) -> list[Problem]:
    """Every fault of the current version: CURRENT, the manifest, and each file, wholly hashed; empty where it is sound.

    Files of the version that its manifest does not list are faults too.

    Raises:
        ArtifactError: there is no index.
    """
    while True:
        before = _bytes_of(path / CURRENT)
        problems = _problems(path)
        # A writer may have published a new version and removed this one while it was read.
        if not problems or _bytes_of(path / CURRENT) == before:
            return problems


def read_pointer(path: Path) -> Pointer:
    """What CURRENT of the index at ``path`` says.

    Raises:
        ArtifactError: it is missing or damaged.
    """
    file = path / CURRENT
    content = _bytes_of(file)
    if content is None:
        if numbers := numbers_on_disk(path):
            raise ArtifactError(
                f"{path}: holds no index: {CURRENT} is missing, though there are versions "
                f"{', '.join(map(str, numbers))}.",
                hint=RESTORE_POINTER,
            )
        unfinished = " The build that began it was cut off." if is_index(path) else ""
        raise ArtifactError(f"{path}: holds no index.{unfinished}", hint="build one with 'embedft index build'.")
    try:
        stated = json.loads(content)
        pointer = Pointer(stated["version"], stated["manifest_sha256"], stated.get("others", {}))
        vouched = {**pointer.others, pointer.version: pointer.manifest_sha256}
        if not all(NUMBER.fullmatch(version) and SHA256.fullmatch(digest) for version, digest in vouched.items()):
            raise ValueError("not a version and a checksum")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{file}: is damaged: {error}", hint=RESTORE_POINTER) from error
    return pointer


def verify(
    path: Path, pointer: Pointer, hashed: Callable[[dict[str, Any]], Collection[str]], *, again: bool = True
) -> Version:
    """The version that ``pointer`` names, its manifest and the sizes of its files checked.

    Args:
        path: the index.
        pointer: names the version and its manifest's checksum.
        hashed: of the manifest's files, the names of those to be hashed too.
        again: also those that this process has hashed before.

    Raises:
        ArtifactError: a file is missing or damaged, or the version is of another format.
    """
    folder = path / VERSIONS / pointer.version
    file = folder / MANIFEST
    content = _bytes_of(file)
    if content is None:
        raise ArtifactError(f"{file}: is missing, though {CURRENT} names it.", hint=REBUILD)
    if hashlib.sha256(content).hexdigest() != pointer.manifest_sha256:
        raise ArtifactError(f"{file}: is damaged, or {CURRENT} is: the checksums differ.", hint=REBUILD)
    manifest = parse_manifest(content, file)
    for problem in damage(folder, manifest["files"], hashed(manifest["files"]), again=again):
        raise ArtifactError(f"{folder / problem.file}: {problem.found}", hint=REBUILD)
    return Version(folder, manifest, pointer.manifest_sha256)


def parse_manifest(content: bytes, file: Path) -> dict[str, Any]:
    """The manifest that ``content`` holds; fields that this version of embedft does not know stay in it.

    Raises:
        ArtifactError: it is no manifest, is of another format, or lists a file outside its folder.
    """
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{file}: is damaged: {error}.", hint=REBUILD) from error
    if not isinstance(manifest, dict):
        raise ArtifactError(f"{file}: is damaged: it is not a JSON object.", hint=REBUILD)
    if not isinstance(manifest.get("format"), int):
        raise ArtifactError(f"{file}: is damaged: it names no format.", hint=REBUILD)
    if manifest["format"] != INDEX_FORMAT:
        raise ArtifactError(
            f"{file}: is of index format {manifest['format']}; this embedft reads format {INDEX_FORMAT}.",
            hint="use a newer embedft, or build the index again with --force."
            if manifest["format"] > INDEX_FORMAT
            else "build the index again with --force.",
        )
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(_is_stated(stated) for stated in files.values()):
        raise ArtifactError(f"{file}: is damaged: it does not list files with sizes and checksums.", hint=REBUILD)
    for name in files:
        if not _is_inside(name):
            raise ArtifactError(f"{file}: lists {name!r}, which is not the name of a file below it.", hint=REBUILD)
    return manifest


def everything(files: Collection[str]) -> Collection[str]:
    """For `verify`: hash all files."""
    return files


def nothing(_files: Collection[str]) -> Collection[str]:
    """For `verify`: hash none."""
    return ()


def _hashed_at_open(files: dict[str, Any]) -> Collection[str]:
    if sum(stated["bytes"] for stated in files.values()) <= LAZY_BYTES:
        return files
    return {name for name in files if PurePosixPath(name).name != VECTORS}


def _is_stated(stated: Any) -> bool:
    return (
        isinstance(stated, dict)
        and isinstance(stated.get("bytes"), int)
        and isinstance(stated.get("sha256"), str)
        and SHA256.fullmatch(stated["sha256"]) is not None
    )


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = name == str(path) and not {"\\", "\0"} & set(name)
    return plain and not path.is_absolute() and ".." not in path.parts and name not in (".", MANIFEST)


def _problems(path: Path) -> list[Problem]:
    try:
        pointer = read_pointer(path)
    except ArtifactError as error:
        if (path / CURRENT).exists():
            return [Problem(CURRENT, error.message.removeprefix(f"{path / CURRENT}: "))]
        if numbers_on_disk(path):
            return [Problem(CURRENT, "is missing, though there are versions.")]
        raise
    folder = path / VERSIONS / pointer.version
    place = f"{VERSIONS}/{pointer.version}"
    content = _bytes_of(folder / MANIFEST)
    if content is None:
        return [Problem(f"{place}/{MANIFEST}", f"is missing, though {CURRENT} names it.")]
    problems = []
    if hashlib.sha256(content).hexdigest() != pointer.manifest_sha256:
        problems.append(Problem(f"{place}/{MANIFEST}", f"is damaged, or {CURRENT} is: the checksums differ."))
    try:
        files = parse_manifest(content, folder / MANIFEST)["files"]
    except ArtifactError as error:
        found = error.message.removeprefix(f"{folder / MANIFEST}: ")
        return [*problems, Problem(f"{place}/{MANIFEST}", found)]
    problems += [Problem(f"{place}/{fault.file}", fault.found) for fault in damage(folder, files, files)]
    there = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir())
    strangers = [name for name in there if name not in files and name != MANIFEST]
    return problems + [Problem(f"{place}/{name}", "is not in the manifest.") for name in strangers]


def _bytes_of(file: Path) -> bytes | None:
    """The content of a small file; None where there is no such file."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
