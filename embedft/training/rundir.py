"""The directory of a run: what it holds, who may write it, and how far the run has come."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from embedft.artifacts import make_directory, remove_made, require_free, write_json
from embedft.config import filled
from embedft.errors import ArtifactError, ConfigError
from embedft.evaluation.evaluation import without_nan

RUN_FORMAT = 1
LOCK = ".lock"
RECORDED = ("embedft", "sentence-transformers", "transformers", "torch", "accelerate", "datasets", "faiss-cpu", "numpy")


class RunDirectory:
    """``run.json`` (configuration, versions, data, state), ``model/``, ``head/``, ``checkpoints/``, scores and log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run_file = path / "run.json"
        self.model = path / "model"
        self.head = path / "head"
        self.checkpoints = path / "checkpoints"
        self.negatives = path / "negatives.parquet"
        self.confusion = path / "confusion.json"
        self.log = path / "train_log.jsonl"
        self.metrics = path / "metrics.json"
        self.per_query = path / "per_query.parquet"
        self.ranking = path / "ranking.parquet"
        self.analysis = path / "analysis.json"
        self.report = path / "report.html"
        # Seconds of the calls before this one, and when this one began.
        self._earlier = 0.0
        self._begun: float | None = time.monotonic()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; the operating system frees it if the process dies.

        Raises:
            ArtifactError: another process trains in this directory.
        """
        from filelock import FileLock, Timeout

        if self.path.exists() and not self.path.is_dir():
            raise ArtifactError(f"{self.path}: is a file; a run is a directory.", hint="name another path.")
        made = make_directory(self.path)
        had_lock_file = (self.path / LOCK).exists()
        lock = FileLock(self.path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ArtifactError(
                f"{self.path}: another process is training in it.", hint="wait for it, or name another path."
            ) from error
        try:
            yield
        finally:
            # Only the holder of the lock cleans up, and only what it made.
            if not self.run_file.exists():
                if made:
                    remove_made(made)
                elif not had_lock_file:
                    (self.path / LOCK).unlink(missing_ok=True)
            lock.release()

    def start(self, config: dict[str, Any], record: dict[str, Any], *, force: bool) -> None:
        """Make the directory ready for a new run, with what it begins from in its record.

        Raises:
            ArtifactError: a run is there already and ``force`` is False, or something else is.
        """
        self.require_startable(force=force)
        # What a run is resumed from goes before the new record stands, or a kill in between would have the new run go
        # on from the old one's. All else goes after it: such a kill leaves an unfinished run, not a folder that is
        # nobody's. The old model stays until the new one takes its place; what a run does not own is left alone.
        shutil.rmtree(self.checkpoints, ignore_errors=True)
        self.negatives.unlink(missing_ok=True)
        write_json(self.run_file, {"format": RUN_FORMAT, "status": "training", "config": config, **record})
        for folder in (self.head, self.path / "trackers"):
            shutil.rmtree(folder, ignore_errors=True)
        scores = (self.metrics, self.per_query, self.ranking, self.analysis, self.report, self.confusion)
        for file in (self.log, *scores):
            file.unlink(missing_ok=True)

    def go_on(self) -> None:
        """Count the time that a run has taken before this call."""
        record = self.read()
        self._earlier = number(record.get("seconds") or 0)
        if record["status"] == "finished":
            # What a call does after that is not part of it.
            self._begun = None

    def seconds(self) -> float:
        """What the run has taken in all its calls, up to now or to its end."""
        return round(self._earlier + (time.monotonic() - self._begun if self._begun is not None else 0), 1)

    def note_seconds(self) -> None:
        """Write down what the run has taken so far: a call that is killed counts up to its last note."""
        self.update(seconds=self.seconds())

    def require_startable(self, *, force: bool) -> None:
        """Raise ArtifactError if a new run may not begin here: before long work, not after it."""
        others = [entry for entry in self.path.iterdir() if entry.name != LOCK] if self.path.is_dir() else []
        if not others:
            return
        if self.run_file.is_file() and not force and self.read()["status"] != "finished":
            raise ArtifactError(
                f"{self.path}: holds an unfinished run.", hint="add --resume to go on, or --force to start afresh."
            )
        require_free(self.path, force=force, ours=_is_run)

    def read(self) -> dict[str, Any]:
        """What ``run.json`` says.

        Raises:
            ArtifactError: there is no run, or its ``run.json`` is damaged or of a later format.
        """
        if not self.run_file.is_file():
            raise ArtifactError(f"{self.path}: holds no run (no run.json).", hint="check the path.")
        try:
            record: dict[str, Any] = json.loads(self.run_file.read_text(encoding="utf-8"))
            number, status, _ = record["format"], record["status"], record["config"]
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{self.run_file}: is damaged.", hint="start the run again with --force.") from error
        if number != RUN_FORMAT or status not in ("training", "trained", "finished"):
            raise ArtifactError(f"{self.run_file}: is of format {number!r}.", hint="use the embedft that wrote it.")
        return record

    def update(self, **fields: Any) -> None:
        """Lay fields over ``run.json``, atomically; null where a number is none (`number` reads it)."""
        write_json(self.run_file, {**self.read(), **without_nan(fields)})

    def check_resumable(self, config: dict[str, Any], files: dict[str, str], base_fingerprint: str) -> None:
        """Raise ConfigError if settings, data or base model are not those that the run began with."""
        stored = self.read()
        # A run of an earlier embedft lacks the fields that were added since: for it they stand at their defaults.
        changed = _differences(filled(stored["config"], source=str(self.run_file)), config)
        if changed:
            raise ConfigError(
                f"{self.path}: the run began with other settings: {'; '.join(changed)}.",
                hint="resume without settings of your own, or start afresh with --force.",
            )
        began_with = stored.get("data", {}).get("files", files)
        if stored.get("base_fingerprint") != base_fingerprint:
            raise ConfigError(
                f"{self.path}: the model that the run began with has changed since.",
                hint="restore it, or start afresh with --force.",
            )
        edited = sorted(name for name in began_with.keys() | files.keys() if began_with.get(name) != files.get(name))
        if edited:
            raise ConfigError(
                f"{self.path}: the data has changed since the run began: {', '.join(edited)}.",
                hint="restore the files, or start afresh with --force.",
            )


def number(value: float | None) -> float:
    """A number of ``run.json``, in which null stands for one that is none."""
    return math.nan if value is None else float(value)


def _is_run(path: Path) -> bool:
    """Whether ``run.json`` there is one of ours."""
    try:
        record = json.loads((path / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and {"format", "status", "config"} <= record.keys()


def environment() -> dict[str, Any]:
    """Versions, processor and thread count: what a figure depends on besides its settings."""
    import torch

    versions = {}
    for package in RECORDED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "versions": versions,
    }


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    found: list[str] = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            found.append(f"{prefix}{name} was {before!r}, now {after!r}")
    return found
