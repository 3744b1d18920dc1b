"""The directory of a study: what it holds, who may write it, and what it was begun with."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from embedft.artifacts import write_json
from embedft.config import filled
from embedft.training.recorded import RecordedDirectory
from embedft.training.rundir import environment

# Compared when a study is resumed; how many trials there are, and how long each may take, may change.
BEGUN_WITH = ("config", "space", "seed", "pruning")


class TuneDirectory(RecordedDirectory):
    """``tune.json`` (settings, versions, state), ``study.db`` (trials), ``trials/``, ``best/`` and ``report.html``."""

    kind, doing = "study", "tuning"
    file, format_number = "tune.json", 1
    fields = (*BEGUN_WITH, "data", "first")
    statuses = ("tuning", "finished")

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.database = path / "study.db"
        self.trials = path / "trials"
        self.best = path / "best"
        self.report = path / "report.html"

    def trial(self, number: int) -> Path:
        """The run of a trial."""
        return self.trials / f"{number:04d}"

    def start(self, settings: Mapping[str, Any]) -> None:
        """Begin a new study in place of the one that may be there; what a study does not own is left alone."""
        self.clear()
        packages = environment()
        packages["versions"]["optuna"] = version("optuna")
        write_json(self.record, {"format": self.format_number, "status": "tuning", **settings, "environment": packages})

    def clear(self) -> None:
        """Remove a study, and nothing else."""
        self.record.unlink(missing_ok=True)
        for folder in (self.trials, self.best):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (*self.path.glob("study.db*"), *self.path.glob("best.*"), self.report):
            file.unlink(missing_ok=True)

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise ConfigError if the study was begun with other settings."""
        stored = self.read()
        # A study of an earlier embedft lacks the fields that were added since.
        stored["config"] = filled(stored["config"], source=str(self.record))
        before, now = (
            {**source["config"], **{name: source[name] for name in BEGUN_WITH if name != "config"}}
            for source in (stored, settings)
        )
        self._require_settings(before, now)

    def check_data(self, files: Mapping[str, str]) -> None:
        """Raise ConfigError if the files of the data had other contents (name -> SHA-256) when the study was begun."""
        self._require_files(self.read()["data"], files)

    def drop_model(self, number: int) -> None:
        """Remove what a trial weighs; its record and its log stay."""
        for name in ("model", "head", "checkpoints"):
            shutil.rmtree(self.trial(number) / name, ignore_errors=True)
