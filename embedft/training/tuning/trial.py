"""One trial of a search: ``embedft train`` in a process of its own, watched through the files of its run.

Whatever happens to that process (a refusal, a crash, a kill for lack of memory, a loss that is not a number), the
search reads it from outside and goes on.
"""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedft.artifacts import write_bytes
from embedft.config import RunConfig, filled
from embedft.errors import ConfigError
from embedft.training.rundir import RunDirectory, number
from embedft.training.tuning.study import State

POLL_SECONDS = 0.2
# What a process gets to end by itself before it is killed.
GRACE_SECONDS = 10.0
LAST_LINES, LAST_CHARACTERS = 8, 1200

Curve = tuple[tuple[int, float], ...]
Judge = Callable[[Curve], bool]


@dataclass(frozen=True)
class Outcome:
    """How a run in a process of its own ended.

    Attributes:
        state: complete, pruned, or failed.
        value: the best dev metric if complete, the last one if pruned.
        seconds: wall time of the process.
        reason: why it was pruned or failed.
        curve: (step, dev metric) of each evaluation.
    """

    state: State
    value: float | None
    seconds: float
    reason: str | None
    curve: Curve


def run_apart(
    config: RunConfig, path: Path, metric: str, *, timeout: float | None = None, weak: Judge | None = None
) -> Outcome:
    """How training with ``config`` in ``path`` ended; what was begun there with the same settings is gone on with.

    Its settings are written beside ``path`` as YAML, what it says on standard error as ``.log``.

    Args:
        config: the settings.
        path: the directory of the run.
        metric: the dev metric that is watched.
        timeout: seconds after which it is ended and counts as failed.
        weak: called after each dev evaluation with all there are; True ends the run, which then counts as pruned.
    """
    start = time.monotonic()
    run = RunDirectory(path)
    settings, log = beside(path, ".yaml"), beside(path, ".log")
    how_far = begun(run, config)
    watch = Watch(run.log, metric, weak)
    reason = None
    if how_far != "finished":
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(settings, _as_yaml(config))
        if how_far is None:
            # The record of another run, whose evaluations are not those of this one.
            run.log.unlink(missing_ok=True)
        arguments = [str(settings), "-o", str(path), {"training": "--resume", None: "--force"}[how_far]]
        with _process(arguments, log) as child:
            reason = _follow(child, watch, start, timeout) or _ended_badly(child, log)
    return _outcome(run, watch, reason, time.monotonic() - start)


def beside(path: Path, suffix: str) -> Path:
    """The file of a run that stands beside its directory."""
    return path.with_name(path.name + suffix)


def _as_yaml(config: RunConfig) -> bytes:
    import yaml

    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text.encode()


def begun(run: RunDirectory, config: RunConfig) -> str | None:
    """How far a run with these very settings has come in its directory: None, "training", or "finished"."""
    try:
        record = json.loads(run.record.read_text(encoding="utf-8"))
        # A run of an earlier embedft lacks the fields that were added since: for it they stand at their defaults.
        began = filled(record["config"], source=str(run.record))
    except (OSError, ValueError, KeyError, TypeError, ConfigError):
        return None
    if began != config.model_dump(mode="json"):
        return None
    return "finished" if record.get("status") == "finished" else "training"


@contextmanager
def _process(arguments: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``embedft train``, at the latest ended when the block is left."""
    with log.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, "-m", "embedft.training.tuning.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started."""
    if child.poll() is None:
        _signal_group(child, signal.SIGTERM)
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(child, signal.SIGKILL)
            child.wait()
    _signal_group(child, signal.SIGKILL)
    if child.stdin is not None:
        child.stdin.close()


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    try:
        os.killpg(child.pid, number)
    except (ProcessLookupError, PermissionError):
        # None of them is left.
        return


class Watch:
    """Reads the dev evaluations of a run as they come, and judges each in its order.

    A run is judged by the same sequence however fast it is read, so that a study does not depend on timing.
    """

    def __init__(self, log: Path, metric: str, weak: Judge | None) -> None:
        self.log, self.name, self.weak = log, f"eval_{metric}", weak
        self.curve: Curve = ()
        self.weak_at: int | None = None
        self.diverged: str | None = None

    def stop(self) -> bool:
        """Whether the run need not go on, by what has been evaluated so far."""
        entries = read_log(self.log)
        found = tuple((int(entry["step"]), entry[self.name]) for entry in entries if self.name in entry)
        # A resumed run writes its log anew, from its checkpoint on with the values that were there before.
        for place in range(len(self.curve), len(found)):
            step, value = found[place]
            if self.weak_at is not None or self.diverged is not None:
                break
            if not isinstance(value, int | float) or not math.isfinite(value):
                self.diverged = f"diverged: {self.name.removeprefix('eval_')} on dev was {value} at step {step}"
                break
            self.curve = (*self.curve, (step, float(value)))
            if self.weak is not None and self.weak(self.curve):
                self.weak_at = step
        return self.weak_at is not None or self.diverged is not None


def read_log(path: Path) -> list[dict[str, Any]]:
    """The entries of a ``train_log.jsonl`` that another process may be writing; a line that is not whole is left."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return []
    entries = []
    for line in text[: text.rfind("\n") + 1].splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            continue
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("step"), int)]


def _follow(child: subprocess.Popen[bytes], watch: Watch, start: float, timeout: float | None) -> str | None:
    """Wait until the process has ended or need not go on; why, if it was too slow."""
    while child.poll() is None:
        if watch.stop():
            _end(child)
            return None
        if timeout is not None and time.monotonic() - start > timeout:
            _end(child)
            return f"took longer than {timeout / 60:g} minutes"
        try:
            child.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    return None


def _ended_badly(child: subprocess.Popen[bytes], log: Path) -> str | None:
    status = child.returncode
    if status == 0:
        return None
    said = _last_words(log)
    if status > 0:
        return said or f"ended with status {status}"
    name = signal.Signals(-status).name
    memory = ", probably for lack of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}{': ' if said else ''}{said}"


def _last_words(log: Path) -> str:
    """The error message of a process, or else the last lines that it wrote."""
    text = log.read_text(encoding="utf-8", errors="replace").strip()
    place = text.rfind("error: ")
    if place >= 0 and (place == 0 or text[place - 1] == "\n"):
        return text[place + len("error: ") :][:LAST_CHARACTERS]
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-LAST_LINES:])[-LAST_CHARACTERS:]


def _outcome(run: RunDirectory, watch: Watch, reason: str | None, seconds: float) -> Outcome:
    # What was written after the last look.
    watch.stop()
    curve = watch.curve
    if watch.diverged is not None:
        return Outcome("failed", None, seconds, watch.diverged, curve)
    if watch.weak_at is not None:
        at = f"after {len(curve)} dev evaluations (step {watch.weak_at}) below the median of the trials before"
        return Outcome("pruned", curve[-1][1], seconds, at, curve)
    if reason is not None:
        return Outcome("failed", None, seconds, reason, curve)
    value = number(run.read()["best"]["value"])
    if not math.isfinite(value):
        return Outcome("failed", None, seconds, f"diverged: the best value is {value}", curve)
    return Outcome("complete", value, seconds, None, curve)
