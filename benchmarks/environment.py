"""What every benchmark records, and how it writes its result."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from embedft.encoder import fast_bfloat16
from embedft.training.rundir import environment

RESULTS = Path(__file__).parent / "results"
PEAK_ROUNDS = 9


def summary(seconds: list[float]) -> dict[str, float]:
    """Median and range of repeated timings."""
    return {"median": statistics.median(seconds), "min": min(seconds), "max": max(seconds), "rounds": len(seconds)}


def write_result(name: str, result: dict[str, Any]) -> None:
    """Write ``results/NAME.json`` with versions, processor and thread count."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    machine = environment() | {"processor_model": _processor_model()}
    path.write_text(json.dumps({"benchmark": name, "environment": machine, **result}, indent=2) + "\n")
    print(f"written: {path}")


def _processor_model() -> str:
    """Maker's name of the processor, and whether it multiplies bf16 matrices in tiles (AMX), as Linux gives them."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = dict(line.split("\t: ", 1) for line in lines if "\t: " in line)
    return (
        f"{fields.get('model name', 'unknown')}, {'with' if 'amx_bf16' in fields.get('flags', '') else 'without'} AMX"
    )


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB, from Linux's account of it.

    Not ``getrusage``: what that reports includes the peak of the process that started this one.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def matmul_peak(hidden: int) -> dict[str, float]:
    """The fastest matrix product of an encoder's shapes, in operations a second, by number format.

    The median of some rounds each of ``(tokens, hidden) x (hidden, 3 hidden)`` for 1,024 to 4,096 tokens, and of a
    square product of 4,096; the best of these.
    """
    kinds = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if fast_bfloat16("cpu") else {})
    shapes = [(tokens, hidden, 3 * hidden) for tokens in (1024, 2048, 4096)] + [(4096, 4096, 4096)]
    with torch.inference_mode():
        return {kind: max(_rate(*shape, dtype) for shape in shapes) for kind, dtype in kinds.items()}


def _rate(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    x, weight = torch.randn(rows, inner, dtype=dtype), torch.randn(columns, inner, dtype=dtype)
    seconds = []
    for _ in range(PEAK_ROUNDS + 2):
        start = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        seconds.append(time.perf_counter() - start)
    return 2.0 * rows * inner * columns / statistics.median(seconds[2:])
