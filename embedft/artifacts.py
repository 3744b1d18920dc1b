"""Directories that are never half-written: staged beside their place, flushed to the disk, then renamed.

A reader sees the old directory or the new one; only where one replaces another is there a moment between two renames
in which it sees neither. A process that is killed leaves hidden siblings behind: the next writer of the same place
moves the old directory back if it was killed in that moment, and removes the rest.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from embedft.errors import ArtifactError, DiskFullError

FULL_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT}
# safetensors, torch and numpy report a full disk in words of their own, not by an errno.
FULL_DISK_WORDS = ("no space left on device", "storagefull", "disk quota exceeded")
WRITE_FAILED_WORDS = ("pytorchstreamwriter", "file write failed", "unexpected pos", "ioerror", "requested and")
# What `atomic_file` writes first: a kill leaves it there.
STAGED = re.compile(r"\.(.+)\.[0-9a-f]{8}\.tmp")


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a staged file that replaces ``path`` when the block ends without an error, flushed to the disk.

    What the operating system refuses is told of ``path``, not of the staged file.
    """
    staged = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with staged.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
        sync_directory(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and str(error.filename) == str(staged):
            error.filename, error.filename2 = str(path), None
        with suppress(OSError):
            staged.unlink()
        raise


def unstaged(name: str) -> str:
    """The name of the file that a staged one was to become; any other name as it is."""
    found = STAGED.fullmatch(name)
    return found[1] if found is not None else name


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, flushed to the disk; a reader sees the old bytes or the new ones."""
    with atomic_file(path) as file:
        file.write(content)


def write_json(path: Path, value: Any, *, strict: bool = False) -> None:
    """Replace ``path`` by ``value`` as indented UTF-8 JSON, atomically.

    Args:
        path: the file.
        value: what to write.
        strict: refuse NaN and infinities by a ValueError: JSON does not know them, and others than Python read the
            file. A head's threshold may be infinite.
    """
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=not strict) + "\n").encode())


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def without_nan(value: Any) -> Any:
    """The same JSON, null where a number is none or infinite, which JSON does not know."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def make_directory(path: Path) -> list[Path]:
    """Make a directory and those above it; those that were not there, the lowest first."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    return missing


def remove_made(made: Sequence[Path]) -> None:
    """Take back what `make_directory` made: the lowest with all that it holds, those above it if they are empty."""
    for folder in made[:1]:
        shutil.rmtree(folder, ignore_errors=True)
    remove_empty(made[1:])


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders that lie in each other, the lowest first, as far up as they are empty."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def sync_directory(path: Path) -> None:
    """Flush a directory's entries to the disk, so that a rename in it survives a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(root: Path) -> None:
    """Flush every file and directory below ``root`` to the disk."""
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir():
            sync_directory(path)
        else:
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_directory(root)


@contextmanager
def atomic_directory(
    target: Path, *, force: bool = False, ours: Callable[[Path], bool] | None = None
) -> Iterator[Path]:
    """Yield an empty staging directory that becomes ``target`` when the block ends without an error.

    Args:
        target: the directory to create; where it is a link, what it leads to is created, and the link stays.
        force: replace an existing ``target``. The old one is moved aside first and removed last, so that a kill in
            between loses neither: the next writer moves it back.
        ours: says whether an existing directory is one that embedft wrote; others are never replaced.

    Raises:
        ArtifactError: ``target`` exists and may not be replaced.
        DiskFullError: the disk ran full; ``target`` is as it was.
    """
    target = Path(os.path.realpath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    _recover(target)
    require_free(target, force=force, ours=ours)
    token = uuid.uuid4().hex[:8]
    staged = target.with_name(f".{target.name}.{token}.tmp")
    staged.mkdir()
    try:
        with _held(staged), disk_errors(target):
            yield staged
            sync_tree(staged)
            # Another writer may have been faster.
            require_free(target, force=force, ours=ours)
            if target.exists():
                _replace(target, staged, aside=target.with_name(f".{target.name}.{token}.old"))
            else:
                staged.rename(target)
            sync_directory(target.parent)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise


def _replace(target: Path, staged: Path, aside: Path) -> None:
    """Put ``staged`` in the place of ``target``; moved aside, the old directory is locked: its writer lives."""
    with _held(target):
        target.rename(aside)
        try:
            staged.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        shutil.rmtree(aside)


def require_free(target: Path, *, force: bool = False, ours: Callable[[Path], bool] | None = None) -> None:
    """Raise ArtifactError if ``target`` cannot be made, or is there and may not be replaced; empty it is free."""
    _require_reachable(target)
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise ArtifactError(f"{target}: is a file; a directory is to be written there.", hint="name another path.")
    if not force:
        raise ArtifactError(f"{target}: exists already.", hint="name another path, or add --force to replace it.")
    if ours is not None and not ours(target):
        raise ArtifactError(
            f"{target}: exists and holds files that embedft did not write; --force replaces only its own.",
            hint="name another path, or remove the directory yourself.",
        )


def require_file_free(target: Path, *, force: bool = False, ours: Callable[[Path], bool] | None = None) -> None:
    """Raise ArtifactError if ``target`` cannot be made, or a file is there that may not be replaced."""
    _require_reachable(target)
    if target.is_dir():
        raise ArtifactError(f"{target}: is a directory; a file is to be written there.", hint="name another path.")
    if not target.exists():
        return
    if target.is_symlink() or not target.is_file():
        # A new file would take the place of the link or the device itself, /dev/null included.
        raise ArtifactError(f"{target}: is a link or a device, no file.", hint="name another path.")
    if not force:
        raise ArtifactError(f"{target}: exists already.", hint="name another path, or add --force to replace it.")
    if ours is not None and not ours(target):
        raise ArtifactError(
            f"{target}: is not what is to be written there; --force replaces only what embedft wrote.",
            hint="name another path, or remove the file yourself.",
        )


def _require_reachable(target: Path) -> None:
    """Raise ArtifactError if nothing can be made where ``target`` is to stand."""
    above = next(folder for folder in target.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ArtifactError(f"{target}: {above} is a file, no folder.", hint="name another path.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ArtifactError(f"{target}: {above} may not be written to.", hint="name another path.")


def _recover(target: Path) -> None:
    """Undo what a killed writer left: move the old directory back if the new one never arrived, drop the rest."""
    for entry in list(target.parent.iterdir()):
        left = re.fullmatch(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.(old|tmp)", entry.name)
        if left is None:
            continue
        # Its writer may end meanwhile.
        with suppress(FileNotFoundError), _held(entry) as free:
            if free and left[1] == "old" and not target.exists():
                entry.rename(target)
            elif free:
                shutil.rmtree(entry, ignore_errors=True)


@contextmanager
def _held(directory: Path) -> Iterator[bool]:
    """Lock a directory, as long as its writer lives; whether nobody else has it, also where it cannot be locked."""
    if os.name == "nt":  # opens no directory
        yield True
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield locked(descriptor)
    finally:
        os.close(descriptor)


def locked(descriptor: int) -> bool:
    """Lock an open file or directory until it is closed; False if somebody else has it locked.

    Where nothing can be locked, on Windows and some network file systems, nobody else has.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def is_disk_full(error: BaseException | None, path: Path) -> bool:
    """Whether ``error``, or an error that it came from, means that the disk of ``path`` is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL_DISK_ERRNOS:
            return True
        words = str(error).lower()
        if any(word in words for word in FULL_DISK_WORDS):
            return True
        if any(word in words for word in WRITE_FAILED_WORDS) and _free_bytes(path) < 1 << 20:
            return True
        error = error.__cause__ or error.__context__
    return False


def _free_bytes(path: Path) -> int:
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


@contextmanager
def disk_errors(path: Path, *, resumable: bool = False) -> Iterator[None]:
    """Turn any library's report of a full disk into one DiskFullError that names ``path``.

    Args:
        path: what is written.
        resumable: what is complete of it stays, to be gone on with.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, DiskFullError) and is_disk_full(error, path):
            kept = "what was done before is kept" if resumable else "nothing half-written was kept"
            hint = "free some space, then run the command again; where it has --resume, add that."
            if not resumable:
                hint = "free some space or name a path on another disk, then run the command again."
            raise DiskFullError(f"{path}: the disk ran full while this was written; {kept}.", hint=hint) from error
        raise
