"""What a folder of a run, or of ``embedft evaluate -o``, says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedft.errors import ArtifactError
from embedft.evaluation.analysis import PARTS, read_analysis
from embedft.evaluation.records import PER_QUERY
from embedft.evaluation.records import read_record as check_record

if TYPE_CHECKING:
    import pyarrow as pa

UNITS = {"queries": "retrieval", "pairs": "similarity", "texts": "classification"}


@dataclass(frozen=True)
class RunRecord:
    """The files of a run or of an evaluation; all but one of ``run`` and ``metrics`` may be missing.

    Attributes:
        folder: where they are.
        run: ``run.json``; empty for an evaluation.
        metrics: ``metrics.json``; empty for a run that is not finished.
        analysis: ``analysis.json``, parts that are null left out.
        log: the lines of ``train_log.jsonl``.
        rows: ``per_query.parquet``; None if it is missing.
    """

    folder: Path
    run: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    analysis: dict[str, Any] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)
    rows: pa.Table | None = None

    @property
    def name(self) -> str:
        """Of the folder."""
        return self.folder.resolve().name

    @property
    def unit(self) -> str:
        """What was judged, in the plural."""
        return str(self.metrics.get("unit") or next((unit for unit in UNITS if unit in self.metrics), "rows"))

    @property
    def count(self) -> int:
        """How many of ``unit``."""
        return int(self.metrics.get(self.unit) or self.metrics.get("count") or 0)

    @property
    def task(self) -> str:
        """Of the run, or what the unit tells."""
        return str(self.metrics.get("task") or self.config.get("task") or UNITS.get(self.unit, ""))

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the run; empty for an evaluation."""
        return dict(self.run.get("config") or {})

    @property
    def values(self) -> dict[str, float | None]:
        """Metric -> value."""
        return dict(self.metrics.get("metrics") or {})

    @property
    def before(self) -> dict[str, float | None]:
        """Metric -> value of the other model."""
        return dict((self.metrics.get("against") or {}).get("metrics") or {})

    @property
    def comparison(self) -> dict[str, dict[str, Any]]:
        """Metric -> difference, interval, p-value, verdict."""
        found = self.metrics.get("comparison") or {}
        return {name: value for name, value in found.items() if isinstance(value, dict)}

    @property
    def against(self) -> str:
        """Name of the other model; empty if there is none."""
        return str((self.metrics.get("against") or {}).get("model") or "")

    @property
    def sides(self) -> tuple[str, str]:
        """What the other model and this one are called: only a run has a before."""
        return ("before", "after") if self.run else ("other model", "this model")

    @property
    def macro_note(self) -> str:
        """What to know of means over classes, where some have few texts or none in the split; else empty."""
        macro = self.metrics.get("macro") or {}
        return str(macro.get("reading") or "") if macro.get("absent") or macro.get("small") else ""

    @cached_property
    def metric(self) -> str:
        """The metric that the verdict is about: the one that chose the best step, else the first."""
        chosen = (self.run.get("best") or {}).get("metric")
        return str(chosen if chosen in self.values else next(iter(self.values), ""))

    def part(self, name: str) -> dict[str, Any]:
        """A part of the analysis; empty if it is missing."""
        return dict(self.analysis.get(name) or {})


def read_run_record(folder: Path) -> RunRecord:
    """The record of a run or of an evaluation.

    Raises:
        ArtifactError: the folder is missing or holds neither, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise ArtifactError(
            f"{folder}: is no directory.", hint="name the directory of a run or of 'embedft evaluate -o'."
        )
    run, metrics = _object(folder / "run.json"), _object(folder / "metrics.json")
    if not run and not metrics:
        raise ArtifactError(
            f"{folder}: holds no run (run.json) and no evaluation (metrics.json).",
            hint="name the directory that 'embedft train -o' or 'embedft evaluate -o' wrote.",
        )
    if not metrics:
        raise ArtifactError(
            f"{folder}: the run is not finished (status {run.get('status')!r}, no metrics.json).",
            hint="go on with 'embedft train --resume', then ask again.",
        )
    if "format" in metrics and (folder / PER_QUERY).is_file():
        # Scores that do not belong together are refused, as where they are compared.
        check_record(folder)
    analysis = read_analysis(folder)
    return RunRecord(
        folder=folder,
        run=run,
        metrics=metrics,
        analysis={name: analysis[name] for name in PARTS if isinstance(analysis.get(name), dict)},
        log=_lines(folder / "train_log.jsonl"),
        rows=_table(folder / PER_QUERY),
    )


def _object(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    if not isinstance(found, dict):
        raise _damaged(path)
    return found


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines; a line that a kill cut off is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _table(path: Path) -> pa.Table | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        return None
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> ArtifactError:
    return ArtifactError(f"{path}: is damaged.", hint="restore it, or evaluate again.")
