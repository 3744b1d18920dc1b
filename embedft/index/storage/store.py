"""The files of an index: versions beside each other, a pointer to the one that counts, one writer at a time.

    IDX/CURRENT                      names the version that counts, with the checksum of its manifest
    IDX/.lock                        held by the writer
    IDX/.building/                   what an unfinished build has done so far; a build that was killed goes on from it
    IDX/versions/000007/             one version: immutable, self-contained, every file listed in its manifest.json

A version is written beside its place, flushed to the disk and renamed; then CURRENT is replaced. A reader sees the old
version or the new one. Files that a new version takes over unchanged are hard links, so that it costs only what is new
in it. The side that reads is in `embedft.index.storage.verify`.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from embedft.artifacts import atomic_directory, disk_errors, sha256_of, sync_directory, write_json
from embedft.errors import ArtifactError, ConfigError
from embedft.index.storage.checksums import each_in_parallel, sampled_sha256
from embedft.index.storage.verify import (
    BUILDING,
    CURRENT,
    INDEX_FORMAT,
    LOCK,
    MANIFEST,
    NUMBER,
    OURS,
    POINTER_REST,
    VECTORS,
    VERSIONS,
    Pointer,
    Version,
    everything,
    is_index,
    nothing,
    numbers_on_disk,
    read_pointer,
    verify,
)

__all__ = [
    "Hold",
    "Staged",
    "building_folder",
    "link_or_copy",
    "new_version",
    "require_writable",
    "rollback",
    "versions",
    "writing",
]


@dataclass(frozen=True)
class Hold:
    """The writer's lock of the index at ``path``, held until the block of `writing` ends."""

    path: Path


@dataclass
class Staged:
    """A version that is being written.

    Attributes:
        path: the folder to write its files to, also in sub-folders.
        number: that it will have.
        manifest: to be filled in; ``format``, ``created`` and ``files`` are set when the version is published.
        previous: the version that it builds on, if any.
    """

    path: Path
    number: int
    manifest: dict[str, Any]
    previous: Version | None
    _linked: dict[str, dict[str, Any]] = field(default_factory=dict, init=False, repr=False)

    def link(self, name: str) -> None:
        """Take over a file of the previous version, as a hard link, or as a copy where links are impossible.

        Its recorded checksum is kept, not computed again: damage stays noticed. Never write to the file afterwards:
        it is the previous version's too.

        Args:
            name: relative to the version's folder, with forward slashes, as in the manifest.

        Raises:
            ArtifactError: the previous version has no such file, or there is none.
        """
        if self.previous is None or name not in self.previous.manifest["files"]:
            raise ArtifactError(f"{name}: the previous version has no such file.", hint="write it anew.")
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(self.previous.path / name, target)
        self._linked[name] = self.previous.manifest["files"][name]

    def link_tree(self, prefix: str) -> None:
        """Take over all files of the previous version in the folder ``prefix``, as `link` does.

        Raises:
            ArtifactError: the previous version has no such file, or there is none.
        """
        folder = prefix.rstrip("/") + "/"
        files = self.previous.manifest["files"] if self.previous else {}
        for name in [name for name in files if name.startswith(folder)] or [folder]:
            self.link(name)

    def _seal(self) -> None:
        """Complete the manifest and write it."""
        files = {file.relative_to(self.path).as_posix(): file for file in self.path.rglob("*") if file.is_file()}
        sizes = {name: file.stat().st_size for name, file in files.items()}
        digests = each_in_parallel(
            sha256_of, [(sizes[name], file) for name, file in files.items() if name not in self._linked]
        )
        self.manifest |= {
            "format": INDEX_FORMAT,
            "number": self.number,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "files": {
                name: self._linked.get(name)
                or {
                    "bytes": sizes[name],
                    "sha256": digests[files[name]],
                    **({"sampled": sampled_sha256(files[name])} if PurePosixPath(name).name == VECTORS else {}),
                }
                for name in sorted(files)
            },
        }
        write_json(self.path / MANIFEST, self.manifest)


@contextmanager
def writing(path: Path, *, new: bool = False) -> Iterator[Hold]:
    """Hold the writer's lock of the index at ``path``: for longer work than the publishing, such as embedding.

    Args:
        path: the index.
        new: create ``path`` where nothing is there yet; it is removed again if nothing was published and no unfinished
            build is kept. Otherwise a path without an index is an error, and stays as it is.

    Raises:
        ArtifactError: no index is there, or something else than one, or another process writes to it.
        DiskFullError: the disk ran full.
    """
    from filelock import FileLock, Timeout

    _require_place(path)
    with disk_errors(path):
        fresh = not path.exists()
        if new:
            (path / VERSIONS).mkdir(parents=True, exist_ok=True)
        elif not numbers_on_disk(path):
            # Says what is missing; where there are versions, a rollback may mend the pointer.
            read_pointer(path)
        # Not bound to a thread: a server may write in another one than it began in.
        lock = FileLock(path / LOCK, timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise ArtifactError(f"{path}: another process writes to it.", hint="wait for it to end.") from error
        try:
            yield Hold(path)
        finally:
            if fresh and not (path / CURRENT).exists() and not (path / BUILDING).exists():
                shutil.rmtree(path, ignore_errors=True)
            lock.release()


@contextmanager
def new_version(
    path: Path,
    *,
    force: bool = False,
    onto: bool = False,
    in_place: bool = False,
    keep: int = 2,
    hold: Hold | None = None,
) -> Iterator[Staged]:
    """Yield a version to be filled in; it becomes the current one when the block ends without an error.

    Then, and only then, the unfinished build that `building_folder` names is removed, and so are versions beyond
    ``keep``: first those from which somebody rolled back, then the oldest. Numbers grow and are never used again.

    Args:
        path: the index.
        force: replace the index that is there.
        onto: build on the index that is there: its current version is given as ``previous`` and can be linked. The
            sizes of its files are checked; their checksums are carried over.
        in_place: replace the index that is there, which the caller has opened under ``hold``: other than with
            ``force``, things of others beside it stay.
        keep: versions that stay, the new one included.
        hold: of `writing`, where the writer's lock is held already.

    Raises:
        ArtifactError: there is an index and none of ``force``, ``onto`` and ``in_place`` is set; there is none, or a
            damaged one, to build on; something else is there; another process writes.
        ConfigError: ``keep`` is below 1.
        DiskFullError: the disk ran full; the old version is untouched.
    """
    if keep < 1:
        raise ConfigError(f"{keep} versions are to be kept.", hint="keep at least 1, the new one.")
    if hold is not None and hold.path != path:
        raise ValueError(f"the lock held is that of {hold.path}, not of {path}")
    _require_target(path, force=force, onto=onto or in_place)
    with writing(path, new=not onto) if hold is None else nullcontext(), disk_errors(path):
        # Again, now that nobody else can write.
        _require_target(path, force=force, onto=onto or in_place)
        previous = verify(path, read_pointer(path), nothing) if onto else None
        _remove_rests(path)
        number = _next_number(path)
        target = path / VERSIONS / f"{number:06d}"
        with atomic_directory(target) as folder:
            staged = Staged(folder, number, {}, previous)
            yield staged
            staged._seal()
        _publish(path, target, keep)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file another name that is not taken: by a hard link, or by a copy where links are impossible."""
    try:
        target.hardlink_to(source)
    except FileExistsError:
        raise
    except OSError:  # a file system without links, or too many of them on one file
        shutil.copyfile(source, target)


def building_folder(path: Path) -> Path:
    """Where an unfinished build of the index at ``path`` keeps what it has done; removed with the next publishing."""
    return path / BUILDING


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


def versions(path: Path) -> list[dict[str, Any]]:
    """The versions on disk, oldest first.

    Each has ``number``, ``created`` (ISO 8601, UTC; None where its manifest is damaged), ``documents`` (None where the
    manifest names no count), ``bytes`` (of all its files), ``unique_bytes`` (of those that it shares with no other
    version: what removing it would free), and ``current``.

    Raises:
        ArtifactError: there is no index.
    """
    numbers = numbers_on_disk(path)
    current = _pointer_if_whole(path)
    if not numbers:
        read_pointer(path)
    described = [_described(path / VERSIONS / f"{number:06d}", current) for number in numbers]
    return [version for version in described if version is not None]


def rollback(path: Path, to: int | None = None) -> Version:
    """Make another version that is still on disk the current one, after hashing all its files; gives that version.

    Args:
        path: the index.
        to: number of the version; by default the newest one below the current. A later one is allowed too: so a
            rollback is undone. With a number, it also mends an index whose CURRENT is missing or damaged.

    Raises:
        ArtifactError: there is no index or no such version, a file of it is missing or damaged, or another process
            writes.
    """
    if not numbers_on_disk(path):
        read_pointer(path)
    with writing(path), disk_errors(path):
        pointer = read_pointer(path) if to is None else _pointer_if_whole(path)
        name = _chosen(path, pointer, to)
        folder = path / VERSIONS / name
        vouched = _vouched(pointer)
        if name not in vouched and (folder / MANIFEST).is_file():
            vouched[name] = sha256_of(folder / MANIFEST)
        version = verify(path, Pointer(name, vouched.get(name, ""), {}), everything)
        _point_to(path, name, vouched)
        return version


def _chosen(path: Path, pointer: Pointer | None, to: int | None) -> str:
    """Folder name of the version to go back to."""
    numbers = numbers_on_disk(path)
    there = f"the versions on disk are {', '.join(map(str, numbers))}."
    if to is not None:
        if to not in numbers:
            raise ArtifactError(f"{path}: has no version {to}.", hint=there)
        return f"{to:06d}"
    current = int(pointer.version) if pointer else 0
    older = [number for number in numbers if number < current]
    if not older:
        raise ArtifactError(f"{path}: has no version older than the current one, {current}.", hint=there)
    return f"{older[-1]:06d}"


def _require_target(path: Path, *, force: bool, onto: bool) -> None:
    if onto:
        read_pointer(path)
    else:
        require_writable(path, force=force)


def _require_place(path: Path) -> None:
    """Raise unless an index, or nothing, is at ``path``; files of other kinds beside an index are left alone."""
    if path.is_dir() and not is_index(path):
        pointer = _pointer_if_whole(path)
        if pointer is not None and (path / VERSIONS / pointer.version / MANIFEST).is_file():
            return
    require_writable(path, force=True)


def _pointer_if_whole(path: Path) -> Pointer | None:
    try:
        return read_pointer(path)
    except ArtifactError:
        return None


def _vouched(pointer: Pointer | None) -> dict[str, str]:
    """Checksums of the manifests that CURRENT knows."""
    return {**pointer.others, pointer.version: pointer.manifest_sha256} if pointer else {}


def _next_number(path: Path) -> int:
    pointer = _pointer_if_whole(path)
    return max([0, *numbers_on_disk(path), *map(int, _vouched(pointer))]) + 1


def _publish(path: Path, target: Path, keep: int) -> None:
    """Let CURRENT name ``target``; then remove what is not kept."""
    old = _pointer_if_whole(path)
    digest = sha256_of(target / MANIFEST)
    try:
        kept = _kept(path, target, old, keep)
        vouched = {name: value for name, value in _vouched(old).items() if name in kept}
        _point_to(path, target.name, {**vouched, target.name: digest})
    except BaseException:
        now = _pointer_if_whole(path)
        if now is None or now.version != target.name:
            shutil.rmtree(target, ignore_errors=True)
        raise
    for entry in list((path / VERSIONS).iterdir()):
        if NUMBER.fullmatch(entry.name) and entry.name not in kept:
            _remove(entry)
    shutil.rmtree(path / BUILDING, ignore_errors=True)


def _kept(path: Path, target: Path, old: Pointer | None, keep: int) -> set[str]:
    """Names of the versions that stay.

    A version above the one that was current is one from which somebody rolled back, or that was never published.
    """
    before = [number for number in numbers_on_disk(path) if number < int(target.name)]
    if old is not None:
        before = [number for number in before if number <= int(old.version)]
    elif not (path / CURRENT).exists():
        before = []
    return {target.name, *(f"{number:06d}" for number in before[::-1][: keep - 1])}


def _point_to(path: Path, name: str, vouched: dict[str, str]) -> None:
    others = {other: digest for other, digest in sorted(vouched.items()) if other != name}
    write_json(path / CURRENT, {"version": name, "manifest_sha256": vouched[name], "others": others})
    sync_directory(path.absolute().parent)


def _remove(folder: Path) -> None:
    """Remove a version so that a kill in between leaves no half version under its name."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    with contextlib.suppress(OSError):
        shutil.rmtree(folder.rename(aside))


def _remove_rests(path: Path) -> None:
    """Remove what a writer that was killed left; there is none but us now."""
    for entry in (path / VERSIONS).iterdir():
        if OURS.fullmatch(entry.name) and not NUMBER.fullmatch(entry.name):
            shutil.rmtree(entry, ignore_errors=True)
    for entry in path.iterdir():
        if POINTER_REST.fullmatch(entry.name):
            entry.unlink(missing_ok=True)


def _described(folder: Path, current: Pointer | None) -> dict[str, Any] | None:
    """A version for `versions`; None if a writer has removed it since it was listed."""
    manifest: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        read = json.loads((folder / MANIFEST).read_bytes())
        manifest = read if isinstance(read, dict) else {}
    sizes = []
    # Not Path.rglob, which fails where a folder vanishes while it is walked.
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                stat = Path(place, name).stat()
                sizes.append((stat.st_size, stat.st_nlink))
    if not folder.is_dir():
        return None
    return {
        "number": int(folder.name),
        "created": manifest.get("created"),
        "documents": manifest.get("documents"),
        "bytes": sum(size for size, _ in sizes),
        "unique_bytes": sum(size for size, links in sizes if links == 1),
        "current": current is not None and current.version == folder.name,
    }
