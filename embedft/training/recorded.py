"""What the directories of runs and of studies have in common: one writer at a time, and a record of what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from embedft.artifacts import make_directory, remove_made, require_free, without_nan, write_json
from embedft.errors import ArtifactError, ConfigError

LOCK = ".lock"


class RecordedDirectory:
    """A directory whose record, a JSON file, says what was begun there and how far it has come.

    Attributes:
        path: of the directory.
        record: of its record.
        kind, doing: the words for it and for what its writer does.
        file, format_number: name and format of the record.
        fields: those that every record has.
        statuses: what it may say under ``status``, the last one of what is finished.
    """

    kind: ClassVar[str]
    doing: ClassVar[str]
    file: ClassVar[str]
    format_number: ClassVar[int]
    fields: ClassVar[tuple[str, ...]]
    statuses: ClassVar[tuple[str, ...]]

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / self.file

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process; the operating system frees it if the process dies.

        Raises:
            ArtifactError: another process writes there.
        """
        from filelock import FileLock, Timeout

        if self.path.exists() and not self.path.is_dir():
            raise ArtifactError(f"{self.path}: is a file; a {self.kind} is a directory.", hint="name another path.")
        made = make_directory(self.path)
        had_lock_file = (self.path / LOCK).exists()
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ArtifactError(
                f"{self.path}: another process is {self.doing} in it.", hint="wait for it, or name another path."
            ) from error
        try:
            yield
        finally:
            # Only the holder of the lock cleans up, and only what it made.
            if not self.record.exists():
                if made:
                    remove_made(made)
                elif not had_lock_file:
                    (self.path / LOCK).unlink(missing_ok=True)
            lock.release()

    def require_startable(self, *, force: bool) -> None:
        """Raise ArtifactError if nothing new may begin here: before long work, not after it."""
        others = [entry for entry in self.path.iterdir() if entry.name != LOCK] if self.path.is_dir() else []
        if not others:
            return
        if self.record.is_file() and not force and self.read()["status"] != self.statuses[-1]:
            raise ArtifactError(
                f"{self.path}: holds an unfinished {self.kind}.",
                hint="add --resume to go on, or --force to start afresh.",
            )
        require_free(self.path, force=force, ours=self._is_ours)

    def read(self) -> dict[str, Any]:
        """What the record says.

        Raises:
            ArtifactError: there is none, or it is damaged or of another format.
        """
        if not self.record.is_file():
            raise ArtifactError(f"{self.path}: holds no {self.kind} (no {self.file}).", hint="check the path.")
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
            number, status, _ = record["format"], record["status"], [record[name] for name in self.fields]
        except (ValueError, KeyError, TypeError) as error:
            # Nor with --force: it replaces only what it can tell to be ours.
            raise ArtifactError(
                f"{self.record}: is damaged.", hint=f"name another path for the {self.kind}, or remove {self.path}."
            ) from error
        if number != self.format_number or status not in self.statuses:
            raise ArtifactError(f"{self.record}: is of format {number!r}.", hint="use the embedft that wrote it.")
        return record

    def update(self, **fields: Any) -> None:
        """Lay fields over the record, atomically; null where a number is none."""
        write_json(self.record, {**self.read(), **without_nan(fields)})

    def _require_settings(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Raise ConfigError if what is there was begun with other settings."""
        changed = _differences(before, now)
        if changed:
            raise ConfigError(
                f"{self.path}: the {self.kind} began with other settings: {'; '.join(changed)}.",
                hint="resume without settings of your own, or start afresh with --force.",
            )

    def _require_files(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Raise ConfigError if files of the data (name -> SHA-256) had other contents when it was begun."""
        edited = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        if edited:
            raise ConfigError(
                f"{self.path}: the data has changed since the {self.kind} began: {', '.join(edited)}.",
                hint="restore the files, or start afresh with --force.",
            )

    @classmethod
    def _is_ours(cls, path: Path) -> bool:
        """Whether the record in a folder is one of ours."""
        try:
            record = json.loads((path / cls.file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(record, dict) and {"format", "status", *cls.fields} <= record.keys()


def _differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name} was {before!r}, now {after!r}")
    return found
