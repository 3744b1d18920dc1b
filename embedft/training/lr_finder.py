"""The learning-rate finder: train with a rate that grows step by step, and see where the loss falls and where it flies.

Smith 2017, arXiv:1506.01186, section 3.3, with the exponential sweep that became usual after it. The steps are those
of the run: its batches, loss, optimizer and precision, on weights that are thrown away. Losses with in-batch negatives
depend on the batch size, so the rate found is that of the configuration's.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from transformers import TrainerCallback

from embedft.config import RunConfig
from embedft.errors import ConfigError, TrainingError
from embedft.progress import Advance, progress
from embedft.training.rundir import RunDirectory

FEWEST_STEPS = 20
# Around the default rate of the encoder's size, 300 times each way: a sweep that begins where nothing moves and ends
# where training cannot hold.
REACH = 300.0
# The weight of the past in the smoothed loss, over a twentieth of the sweep: batches differ more than steps do.
SMOOTHED_SHARE = 0.05
# Training has diverged when the smoothed loss has lost this multiple of all that it had gained, and is above its start.
LOST = 1.0
# A fall by less than this share of the loss may be the batches' doing.
LEAST_FALL = 0.02
# The suggested rate over that at which the loss has fallen half its way.
TIMES_HALVED = 3.0


@dataclass(frozen=True)
class Point:
    """One step of the sweep: its rate, the loss of its batch before the step, and the smoothed loss."""

    rate: float
    loss: float
    smoothed: float


@dataclass(frozen=True)
class Sweep:
    """What the finder found.

    Attributes:
        points: of each step.
        suggested: a peak rate for ``training.learning_rate``; None if the loss never fell.
        halved: where the smoothed loss has come half the way from its beginning to its lowest; None likewise.
        steepest: where it falls fastest over the logarithm of the rate; None likewise.
        lowest: where it is lowest.
        diverged: the rate at which the sweep was stopped; None if it ran to its end.
        batch_size: of the sweep.
        configured: the rate that a run would use as things stand.
    """

    points: list[Point]
    suggested: float | None
    halved: float | None
    steepest: float | None
    lowest: float
    diverged: float | None
    batch_size: int
    configured: float

    @property
    def verdict(self) -> str:
        """What follows, in a sentence or two."""
        ends = f"at {self.diverged:.2g} it diverged" if self.diverged else "it did not diverge"
        if self.suggested is None:
            return f"The loss never fell; {ends}. The configured rate is {self.configured:.2g}."
        factor = self.configured / self.suggested
        said = (
            "about the same"
            if 0.4 < factor < 2.5
            else f"{max(factor, 1 / factor):.1f} times {'that' if factor > 1 else 'smaller'}"
        )
        return (
            f"Suggested for batches of {self.batch_size}: training.learning_rate={self.suggested:.1e}. The loss is "
            f"half down at {self.halved:.2g}, lowest at {self.lowest:.2g}; {ends}. The configured rate, "
            f"{self.configured:.2g}, is {said}."
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "suggested": self.suggested,
            "configured": self.configured,
            "halved": self.halved,
            "steepest": self.steepest,
            "lowest": self.lowest,
            "diverged": self.diverged,
            "batch_size": self.batch_size,
            "points": [{"rate": p.rate, "loss": p.loss, "smoothed": p.smoothed} for p in self.points],
        }


def find_learning_rate(config: RunConfig, *, steps: int = 100, show_progress: bool = False) -> Sweep:
    """The sweep of a configuration, and the rate that it suggests.

    Args:
        config: of the run; its ``training.learning_rate`` is where the sweep is centred.
        steps: of the sweep.
        show_progress: on standard error.

    Raises:
        ConfigError: too few steps.
        EmbedftError: whatever training would raise before its first step.
    """
    from embedft.training.probe import silent_trainer
    from embedft.training.run import check, open_job

    if steps < FEWEST_STEPS:
        raise ConfigError(f"--steps is {steps}.", hint=f"use at least {FEWEST_STEPS}.")
    check(config)
    with tempfile.TemporaryDirectory() as folder:
        job = open_job(config, RunDirectory(Path(folder)), show_progress=False)
        trainer = silent_trainer(job, steps)
        configured = float(trainer.args.learning_rate)
        with progress("sweeping", steps, "steps", enabled=show_progress) as advance:
            recorder = Recorder(configured / REACH, REACH ** (2 / (steps - 1)), steps, advance)
            recorder.run(trainer)
    return summarise(recorder.rates, recorder.losses, recorder.diverged, config.training.batch_size, configured)


@dataclass
class Recorder(TrainerCallback):  # type: ignore[misc]
    """Gives a trainer its growing rate, and keeps the loss of each step.

    Attributes:
        first: the rate of the first step.
        growth: of the rate from step to step.
        steps: of the whole sweep.
        advance: told of each step.
    """

    first: float
    growth: float
    steps: int
    advance: Advance
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    diverged: float | None = None
    _sum: float = 0.0

    def run(self, trainer: Any) -> None:
        """Train, without evaluations and checkpoints, until the loss flies or the sweep ends."""
        from torch.optim.lr_scheduler import LambdaLR

        optimizer = trainer.create_optimizer()
        for group in optimizer.param_groups:
            # Layers keep the ratios of their rates.
            group["lr"] *= self.first / trainer.args.learning_rate
        trainer.lr_scheduler = LambdaLR(optimizer, lambda step: self.growth**step)
        step = trainer.training_step

        def recorded(*args: Any, **options: Any) -> Any:
            loss = step(*args, **options)
            self._sum += float(loss)
            return loss

        trainer.training_step = recorded
        trainer.add_callback(self)
        try:
            trainer.train()
        except TrainingError:
            # The alarms of training: a loss that is no number, or vectors that have all become one.
            self.diverged = self.first * self.growth ** len(self.losses)

    def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """A new sum over the batches of the step."""
        self._sum = 0.0

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Keep the loss; stop if it has flown."""
        self.rates.append(self.first * self.growth ** len(self.losses))
        self.losses.append(self._sum)
        self.advance(1)
        if has_diverged(smooth(self.losses, self.steps)):
            self.diverged = self.rates[-1]
            control.should_training_stop = True


def smooth(losses: Sequence[float], steps: int) -> np.ndarray:
    """The exponential mean of losses, corrected for its beginning, (n,); its reach is a twentieth of ``steps``."""
    keep = 1 - 1 / max(SMOOTHED_SHARE * steps, 2.0)
    mean, smoothed = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = keep * mean + (1 - keep) * loss
        smoothed.append(mean / (1 - keep**number))
    return np.asarray(smoothed)


def has_diverged(smoothed: np.ndarray) -> bool:
    """Whether the loss has flown: it is no number, or has lost again what it had gained, and more.

    Measured from its beginning, the first tenth of a sweep, where the rate is too small to move anything.
    """
    if not math.isfinite(smoothed[-1]):
        return True
    if len(smoothed) < FEWEST_STEPS // 2:
        return False
    start = smoothed[: FEWEST_STEPS // 2]
    gained = max(float(start.mean() - smoothed.min()), float(start.max() - start.min()))
    return bool(smoothed[-1] > start.max() + LOST * gained)


def summarise(
    rates: Sequence[float], losses: Sequence[float], diverged: float | None, batch_size: int, configured: float
) -> Sweep:
    """The sweep of rates and losses, and the rate that it suggests.

    Raises:
        TrainingError: training diverged before its fifth step, at any rate.
    """
    if len(losses) < 5:
        raise TrainingError(
            f"training diverged at a learning rate of {diverged:.2g}, where nothing should move.",
            hint="look at the data, or compute with model.precision: float32.",
        )
    smoothed = smooth(losses, len(losses))
    points = [Point(*values) for values in zip(rates, losses, smoothed.tolist(), strict=True)]
    end = int(smoothed.argmin())
    level = float(smoothed[: max(len(smoothed) // 10, 2)].mean())
    fall = level - float(smoothed[end])
    noise = float(np.std(np.diff(smoothed[: max(len(smoothed) // 4, 3)])))
    lowest, halved, steepest = float(rates[end]), None, None
    if end > 1 and fall > max(LEAST_FALL * abs(level), 3 * noise):
        halved = _crossing(rates, smoothed[: end + 1], level - fall / 2)
        steepest = _steepest(rates, smoothed[: end + 1], max(len(smoothed) // 10, 2))
    suggested = TIMES_HALVED * halved if halved is not None else None
    return Sweep(points, suggested, halved, steepest, lowest, diverged, batch_size, configured)


def _crossing(rates: Sequence[float], smoothed: np.ndarray, level: float) -> float:
    """The rate at which the loss comes below ``level`` for good, between two steps by the logarithm."""
    last = int(np.flatnonzero(smoothed > level)[-1])
    part = (smoothed[last] - level) / (smoothed[last] - smoothed[last + 1])
    low, high = math.log(rates[last]), math.log(rates[last + 1])
    return math.exp(low + float(part) * (high - low))


def _steepest(rates: Sequence[float], smoothed: np.ndarray, width: int) -> float:
    """The middle of the ``width`` steps over which the loss falls most."""
    width = min(width, len(smoothed) - 1)
    start = int(np.argmin(smoothed[width:] - smoothed[:-width]))
    return math.sqrt(rates[start] * rates[start + width])
