"""The directory of a study: what it holds, who may write it, and what it was begun with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from embedft.artifacts import make_directory, remove_made, require_free, write_json
from embedft.config import filled
from embedft.errors import ArtifactError, ConfigError
from embedft.training.rundir import environment

TUNE_FORMAT = 1
LOCK = ".lock"
# Compared when a study is resumed; how many trials there are, and how long each may take, may change.
BEGUN_WITH = ("config", "space", "seed", "pruning")


class TuneDirectory:
    """``tune.json`` (settings, versions, state), ``study.db`` (trials), ``trials/``, ``best/`` and ``report.html``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record = path / "tune.json"
        self.database = path / "study.db"
        self.trials = path / "trials"
        self.best = path / "best"
        self.report = path / "report.html"

    def trial(self, number: int) -> Path:
        """The run of a trial."""
        return self.trials / f"{number:04d}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study for this process; the operating system frees it if the process dies.

        Raises:
            ArtifactError: another process tunes in this directory.
        """
        from filelock import FileLock, Timeout

        if self.path.exists() and not self.path.is_dir():
            raise ArtifactError(f"{self.path}: is a file; a study is a directory.", hint="name another path.")
        made = make_directory(self.path)
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ArtifactError(
                f"{self.path}: another process is tuning in it.", hint="wait for it, or name another path."
            ) from error
        try:
            yield
        finally:
            if not self.record.exists():
                (self.path / LOCK).unlink(missing_ok=True)
                remove_made(made)
            lock.release()

    def require_startable(self, *, force: bool) -> None:
        """Raise ArtifactError if a new study may not begin here."""
        others = [entry for entry in self.path.iterdir() if entry.name != LOCK] if self.path.is_dir() else []
        if not others:
            return
        if self.record.is_file() and not force and self.read()["status"] != "finished":
            raise ArtifactError(
                f"{self.path}: holds an unfinished study.", hint="add --resume to go on, or --force to start afresh."
            )
        require_free(self.path, force=force, ours=_is_study)

    def start(self, settings: Mapping[str, Any]) -> None:
        """Begin a new study in place of the one that may be there; what a study does not own is left alone."""
        self.clear()
        packages = environment()
        packages["versions"]["optuna"] = version("optuna")
        write_json(self.record, {"format": TUNE_FORMAT, "status": "tuning", **settings, "environment": packages})

    def clear(self) -> None:
        """Remove a study, and nothing else."""
        self.record.unlink(missing_ok=True)
        for folder in (self.trials, self.best):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (*self.path.glob("study.db*"), *self.path.glob("best.*"), self.report):
            file.unlink(missing_ok=True)

    def read(self) -> dict[str, Any]:
        """What ``tune.json`` says.

        Raises:
            ArtifactError: there is no study, or its ``tune.json`` is damaged or of another format.
        """
        if not self.record.is_file():
            raise ArtifactError(f"{self.path}: holds no study (no tune.json).", hint="check the path.")
        try:
            record: dict[str, Any] = json.loads(self.record.read_text(encoding="utf-8"))
            number, _ = record["format"], [record[name] for name in ("status", *BEGUN_WITH, "data", "first")]
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{self.record}: is damaged.", hint="start the study again with --force.") from error
        if number != TUNE_FORMAT:
            raise ArtifactError(f"{self.record}: is of format {number!r}.", hint="use the embedft that wrote it.")
        return record

    def update(self, **fields: Any) -> None:
        """Lay fields over ``tune.json``, atomically."""
        write_json(self.record, {**self.read(), **fields})

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise ConfigError if the study was begun with other settings."""
        stored = self.read()
        # A study of an earlier embedft lacks the fields that were added since.
        stored["config"] = filled(stored["config"], source=str(self.record))
        before, now = (dict(_flat({name: source[name] for name in BEGUN_WITH})) for source in (stored, settings))
        changed = [
            f"{name.removeprefix('config.')} was {before.get(name)!r}, now {now.get(name)!r}"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changed:
            raise ConfigError(
                f"{self.path}: the study began with other settings: {'; '.join(changed)}.",
                hint="resume without settings of your own, or start afresh with --force.",
            )

    def check_data(self, files: Mapping[str, str]) -> None:
        """Raise ConfigError if the files of the data had other contents (name -> SHA-256) when the study was begun."""
        before = self.read()["data"]
        edited = sorted(name for name in before.keys() | files.keys() if before.get(name) != files.get(name))
        if edited:
            raise ConfigError(
                f"{self.path}: the data has changed since the study began: {', '.join(edited)}.",
                hint="restore the files, or start afresh with --force.",
            )

    def drop_model(self, number: int) -> None:
        """Remove what a trial weighs; its record and its log stay."""
        for name in ("model", "head", "checkpoints"):
            shutil.rmtree(self.trial(number) / name, ignore_errors=True)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_study(path: Path) -> bool:
    """Whether ``tune.json`` there is one of ours."""
    try:
        record = json.loads((path / "tune.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"format", "status", *BEGUN_WITH} <= record.keys()
