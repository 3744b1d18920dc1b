"""The directory of a run: what it holds, who may write it, and how far the run has come."""

from __future__ import annotations

import math
import os
import platform
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from embedft.artifacts import write_json
from embedft.config import filled
from embedft.errors import ConfigError
from embedft.training.recorded import RecordedDirectory

RECORDED = ("embedft", "sentence-transformers", "transformers", "torch", "accelerate", "datasets", "faiss-cpu", "numpy")


class RunDirectory(RecordedDirectory):
    """``run.json`` (configuration, versions, data, state), ``model/``, ``head/``, ``checkpoints/``, scores and log."""

    kind, doing = "run", "training"
    file, format_number = "run.json", 1
    fields = ("config",)
    statuses = ("training", "trained", "finished")

    def __init__(self, path: Path) -> None:
        super().__init__(path)
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
        write_json(self.record, {"format": self.format_number, "status": "training", "config": config, **record})
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

    def check_resumable(self, config: dict[str, Any], files: dict[str, str], base_fingerprint: str) -> None:
        """Raise ConfigError if settings, data or base model are not those that the run began with."""
        stored = self.read()
        # A run of an earlier embedft lacks the fields that were added since: for it they stand at their defaults.
        self._require_settings(filled(stored["config"], source=str(self.record)), config)
        if stored.get("base_fingerprint") != base_fingerprint:
            raise ConfigError(
                f"{self.path}: the model that the run began with has changed since.",
                hint="restore it, or start afresh with --force.",
            )
        self._require_files(stored.get("data", {}).get("files", files), files)


def number(value: float | None) -> float:
    """A number of ``run.json``, in which null stands for one that is none."""
    return math.nan if value is None else float(value)


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
