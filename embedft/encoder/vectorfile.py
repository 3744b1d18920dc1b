"""Vectors written to a ``.npy`` file as they are made: little memory, and an interrupted file goes on where it stopped.

Beside the unfinished ``PATH.partial`` stands a journal, ``PATH.partial.json``: how many rows are safely on the disk,
which encoder made them, and a digest of the texts they belong to. A row is counted only once it is flushed. The file
gets its name when it is complete, so that a reader never sees a part of it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from embedft.artifacts import locked, make_directory, remove_empty, require_file_free, sync_directory, write_json
from embedft.errors import ArtifactError, ConfigError, DataError

FORMAT = 1
MAGIC = b"\x93NUMPY"
JOURNAL_HINT = (
    "go on with the texts and settings that it began with, or start afresh with --force and without --resume."
)


class VectorFile:
    """A ``.npy`` file of float32 rows in the making.

    Attributes:
        path: its name once it is complete.
        rows: rows that are safely on the disk.
        skipped: how many of them were passed over in this call.
        truncated: how many of the texts were cut, as the writer says before it appends their rows; a resumed file
            remembers it.
    """

    def __init__(self, path: Path, dim: int, made_by: dict[str, Any], *, resume: bool, force: bool) -> None:
        """Begin the file, or go on with it.

        Args:
            path: of the finished file.
            dim: length of a row.
            made_by: what decides the vectors beside the texts; a file begun with other settings is not gone on with.
            resume: go on with an unfinished file, if there is one.
            force: replace a file that is there, and an unfinished one unless it is resumed.

        Raises:
            ArtifactError: a file is there and ``force`` is False, or an unfinished one and ``resume`` is too.
            ConfigError: the unfinished file was begun with other settings.
        """
        if path.suffix != ".npy":
            raise ArtifactError(f"{path}: vectors are written to a .npy file.", hint="name a file that ends in .npy.")
        require_file_free(path, force=force, ours=_is_npy)
        self.path, self.dim = path, dim
        self.rows = self.truncated = 0
        self._partial = path.with_name(path.name + ".partial")
        self._journal = journal_of(path)
        self._made_by = made_by
        self._texts = hashlib.sha256()
        self._expected: str | None = None
        self.skipped = 0
        self._appended = 0
        self._offset = len(_header(0, dim))
        self._made = make_directory(path.parent)
        self._file = _opened(self._partial)
        try:
            self._begin(resume=resume, force=force)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, *, resume: bool, force: bool) -> None:
        """Bring the file to where rows are added."""
        stored = self._read(force=force) if self._journal.exists() else None
        if stored is not None and not resume and not force:
            raise ArtifactError(
                f"{self._partial}: is an unfinished file of {stored['rows']} rows.",
                hint="add --resume to go on, or --force to start afresh.",
            )
        if stored is not None and resume:
            if stored["made_by"] != self._made_by:
                changed = sorted(key for key, value in self._made_by.items() if stored["made_by"].get(key) != value)
                raise ConfigError(f"{self._partial}: was begun with another {', '.join(changed)}.", hint=JOURNAL_HINT)
            self.rows, self._expected = stored["rows"], stored["texts"]
            self.truncated = stored.get("truncated", 0)
            self._file.truncate(self._offset + self.rows * self.dim * 4)
        else:
            # The journal of an older attempt must not count rows of this one.
            self._journal.unlink(missing_ok=True)
            self._file.truncate(0)
            self._file.write(_header(0, self.dim))
        self._file.seek(0, os.SEEK_END)

    def skip(self, texts: list[str]) -> list[str]:
        """Pass over texts whose rows are there already; gives those of them that have none yet.

        Raises:
            DataError: they are not the texts that the rows were made from.
        """
        done, rest = texts[: self.rows - self.skipped], texts[self.rows - self.skipped :]
        self._digest(done)
        self.skipped += len(done)
        if self.skipped == self.rows and self._texts.hexdigest() != self._expected:
            raise DataError(f"{self._partial}: its {self.rows} rows were made from other texts.", hint=JOURNAL_HINT)
        return rest

    def append(self, texts: list[str], vectors: npt.NDArray[np.float32]) -> None:
        """Write the rows of ``texts``, (texts, dim), and flush them to the disk."""
        self._digest(texts)
        self._file.write(np.ascontiguousarray(vectors, dtype="<f4").data)
        self.rows += len(texts)
        self._appended += len(texts)
        self._record()

    def finish(self) -> None:
        """Give the file its name.

        Raises:
            DataError: there were fewer texts than it has rows.
        """
        if self.skipped + self._appended < self.rows:
            raise DataError(
                f"{self._partial}: it has {self.rows} rows already, but there are fewer texts.", hint=JOURNAL_HINT
            )
        self._file.seek(0)
        self._file.write(_header(self.rows, self.dim))
        self._flush()
        # Locked until it has its name: nobody else takes it for an unfinished one.
        self._partial.replace(self.path)
        self._journal.unlink(missing_ok=True)
        self._file.close()
        sync_directory(self.path.parent)

    def close(self) -> None:
        """Leave it unfinished, to be resumed; nothing if it is finished, nor if it has no row yet."""
        if self.rows == 0 and not self._file.closed:
            self._partial.unlink(missing_ok=True)
            remove_empty(self._made)
        self._file.close()

    def _digest(self, texts: list[str]) -> None:
        for text in texts:
            raw = text.encode("utf-8", "surrogatepass")
            self._texts.update(len(raw).to_bytes(8, "little") + raw)

    def _record(self) -> None:
        """The rows first, then the journal that counts them."""
        self._flush()
        write_json(
            self._journal,
            {
                "format": FORMAT,
                "rows": self.rows,
                "texts": self._texts.hexdigest(),
                "truncated": self.truncated,
                "made_by": self._made_by,
            },
        )

    def _flush(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, *, force: bool) -> dict[str, Any] | None:
        """What the journal says; None if it is damaged and may be replaced."""
        try:
            stored: dict[str, Any] = json.loads(self._journal.read_bytes())
            whole = self._offset + int(stored["rows"]) * self.dim * 4
            if stored["format"] != FORMAT or not isinstance(stored["made_by"], dict) or len(stored["texts"]) != 64:
                raise ValueError("another format")
            if stored["made_by"].get("dim", self.dim) == self.dim and self._partial.stat().st_size < whole:
                raise ValueError("rows are missing")
        except (OSError, ValueError, KeyError, TypeError) as error:
            if force:
                return None
            raise ArtifactError(
                f"{self._journal}: does not fit {self._partial.name}: {error}.",
                hint="start afresh with --force.",
            ) from error
        return stored


def journal_of(path: Path) -> Path:
    """Where the journal of an unfinished file stands; it is there if rows were kept."""
    return path.with_name(path.name + ".partial.json")


def finished_shape(path: Path) -> tuple[int, int] | None:
    """The rows and their length of a file of vectors that is complete; None if there is none, or another is begun."""
    if not path.is_file() or journal_of(path).exists() or not _is_npy(path):
        return None
    try:
        rows, dim = np.load(path, mmap_mode="r").shape
    except ValueError:
        return None
    return rows, dim


def _opened(partial: Path) -> BinaryIO:
    """The unfinished file, made if need be, held for this process until it is closed or the process dies."""
    while True:
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT, 0o644)
        if not locked(descriptor):
            os.close(descriptor)
            raise ArtifactError(f"{partial}: another process is writing it.", hint="wait for it, or name another path.")
        # Its writer may have given it its final name between the two calls.
        if partial.exists() and partial.stat().st_ino == os.fstat(descriptor).st_ino:
            return os.fdopen(descriptor, "r+b")
        os.close(descriptor)


def _header(rows: int, dim: int) -> bytes:
    """The first bytes of the ``.npy`` format; of one length for any number of rows."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (rows, dim)})
    return buffer.getvalue()


def _is_npy(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
