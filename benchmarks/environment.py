"""What every benchmark records, and how it writes its result."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from embedft.training.rundir import environment

RESULTS = Path(__file__).parent / "results"


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and range of repeated timings."""
    return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds), "rounds": len(seconds)}


def write_result(name: str, result: dict[str, Any]) -> None:
    """Write ``results/NAME.json`` with versions, processor and thread count."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"benchmark": name, "environment": environment(), **result}, indent=2) + "\n")
    print(f"written: {path}")
