"""Whether files are those that a manifest lists, by size and SHA-256."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from embedft.artifacts import sha256_of

# What is read of a file that is too large to be hashed: 4 MB, spread over it. Another index' vectors show in any of it.
SAMPLES, SAMPLE_BYTES = 64, 64 << 10
# A file that was written so short a time ago may be written again without its time of change telling.
SETTLED_SECONDS = 2.0

Found = TypeVar("Found")


@dataclass(frozen=True)
class Problem:
    """One fault of an index on disk.

    Attributes:
        file: relative to the index, with forward slashes.
        found: what is wrong with it, as the rest of a sentence that begins with the file.
    """

    file: str
    found: str


def each_in_parallel(work: Callable[[Path], Found], files: Iterable[tuple[int, Path]]) -> dict[Path, Found]:
    """What ``work`` gives for each file, a few at a time: hashing releases the interpreter's lock.

    Args:
        work: called with a file.
        files: sizes and paths. The biggest is begun first, so that it does not run on alone at the end.
    """
    from concurrent.futures import ThreadPoolExecutor

    paths = [path for _, path in sorted(files, key=lambda file: -file[0])]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(work, paths), strict=True))


def sampled_sha256(file: Path) -> str:
    """The SHA-256 of ``SAMPLES`` parts of a file, evenly spread from its first bytes to its last."""
    digest = hashlib.sha256()
    size = file.stat().st_size
    with file.open("rb") as opened:
        for number in range(SAMPLES):
            opened.seek(max(0, size - SAMPLE_BYTES) * number // (SAMPLES - 1))
            digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()


def damage(folder: Path, files: dict[str, Any], hashed: Collection[str], *, again: bool = True) -> list[Problem]:
    """Faults of the listed files; sizes come first, as they cost nothing.

    Args:
        folder: of the version.
        files: as the manifest lists them.
        hashed: those to hash; of the others, those whose sample is listed are sampled.
        again: also hash those that this process has hashed before.
    """
    found = {name: _size_fault(folder / name, stated["bytes"]) for name, stated in files.items()}
    sound = [name for name in files if found[name] is None]
    digests = each_in_parallel(
        _digest if again else _digest_once, [(files[name]["bytes"], folder / name) for name in sound if name in hashed]
    )
    if not again:
        sampled = [name for name in sound if name not in hashed and "sampled" in files[name]]
        digests |= each_in_parallel(_sample, [(0, folder / name) for name in sampled])
    for name in sound:
        digest = digests.get(folder / name)
        if isinstance(digest, OSError):
            found[name] = f"cannot be read: {digest.strerror}."
        elif digest is not None and digest != files[name]["sha256" if name in hashed else "sampled"]:
            found[name] = "is damaged: its SHA-256 is not the one it was written with."
    return [Problem(name, fault) for name, fault in found.items() if fault is not None]


def _sample(file: Path) -> str | OSError:
    try:
        return sampled_sha256(file)
    except OSError as error:
        return error


# Of each file that this process has hashed: device, number, size and time of change -> SHA-256.
_hashed: dict[tuple[int, int, int, int], str] = {}


def _digest_once(file: Path) -> str | OSError:
    return _digest(file, again=False)


def _digest(file: Path, *, again: bool = True) -> str | OSError:
    try:
        before = file.stat()
        key = (before.st_dev, before.st_ino, before.st_size, before.st_mtime_ns)
        if not again and key in _hashed:
            return _hashed[key]
        settled = time.time() - before.st_mtime > SETTLED_SECONDS
        digest = sha256_of(file)
    except OSError as error:
        return error
    if settled:
        _hashed[key] = digest
    return digest


def _size_fault(file: Path, written: int) -> str | None:
    if not file.is_file():
        return "is missing."
    size = file.stat().st_size
    return None if size == written else f"is damaged: {size} bytes where {written} were written."
