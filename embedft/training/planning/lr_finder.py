"""The learning-rate finder: train with a rate that grows step by step, and see where the loss falls and where it flies.

Smith 2017, arXiv:1506.01186, section 3.3, with the exponential sweep that became usual after it. The steps are those
of the run: its batches, loss, optimizer and precision, on weights that are thrown away. Losses with in-batch negatives
depend on the batch size, so the rate found is that of the configuration's.

Two things are added. The losses of batches differ more than training changes them, so each batch is also given to the
weights that the sweep began with, and the difference counts. And a loss can fall while training fails: CoSENT of the
bundled encoder is about 10 a batch on STS-B, that of vectors that are all alike 7.5. So the sweep ends where vectors
collapse, too.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import TrainerCallback

from embedft.config import RunConfig
from embedft.errors import ConfigError, TrainingError
from embedft.progress import Advance, progress
from embedft.training.alarms import WATCHED
from embedft.training.fit import LEARNING_RATE_TIMES_HIDDEN

if TYPE_CHECKING:
    from embedft.training.trainer import PairTrainer

FEWEST_STEPS = 20
# Around the default rate of the encoder's size, 300 times each way: a sweep that begins where nothing moves and ends
# where training cannot hold.
REACH = 300.0
# The weight of the past in the smoothed gain, over a twentieth of the sweep.
SMOOTHED_SHARE = 0.05
# The share of its beginning that the spread of the vectors may shrink to.
COLLAPSED = 0.5
# A fall by less than this share of the loss is none.
LEAST_FALL = 0.02
# The suggested rate over that at which the loss has fallen half its way. On STS-B (CoSENT, bundled encoder, one sweep
# of 60 steps) that is 2.5e-4, and vectors collapse at 8.9e-4; trained for 60 steps, dev's Spearman is 0.864 at 2e-4,
# 0.876 at 5e-4 and 0.859 at 1e-3. Checked on no other data.
TIMES_HALVED = 2.0


@dataclass(frozen=True)
class Point:
    """One step of the sweep.

    Attributes:
        rate: of the step.
        loss: of its batch, before the weights change.
        untrained: of the same batch with the weights that the sweep began with.
        smoothed: the smoothed difference of the two, from the mean of ``untrained``.
        spread: 1 - the mean cosine of the batch's different documents, over what it was with the first weights; None
            where a batch has no two of them.
    """

    rate: float
    loss: float
    untrained: float
    smoothed: float
    spread: float | None


@dataclass(frozen=True)
class Sweep:
    """What the finder found.

    Attributes:
        points: of each step.
        suggested: a peak rate for ``training.learning_rate``; None if the loss never fell.
        halved: where the smoothed loss has come half the way from its beginning to its lowest; None likewise.
        lowest: where it is lowest.
        ended: the rate at which training failed; None if the sweep ran to its end.
        why: how it failed: ``"diverged"`` or ``"collapsed"``.
        batch_size: of the sweep.
        configured: the rate that a run would use as things stand.
    """

    points: list[Point]
    suggested: float | None
    halved: float | None
    lowest: float
    ended: float | None
    why: str | None
    batch_size: int
    configured: float

    @property
    def verdict(self) -> str:
        """What follows, in a sentence or two."""
        ends = f"at {self.ended:.2g} it {self.why}" if self.ended else "it held to the end"
        if self.suggested is None:
            return f"The loss never fell; {ends}. The configured rate is {self.configured:.2g}."
        factor = self.configured / self.suggested
        said = f"{factor:.1f} times that" if factor > 1 else f"{1 / factor:.1f} times smaller"
        return (
            f"Suggested for batches of {self.batch_size}: training.learning_rate={self.suggested:.1e}. The loss is "
            f"half down at {self.halved:.2g}, lowest at {self.lowest:.2g}; {ends}. The configured rate, "
            f"{self.configured:.2g}, is {'about the same' if 0.5 < factor < 2 else said}."
        )

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def find_learning_rate(config: RunConfig, *, steps: int = 100, show_progress: bool = False) -> Sweep:
    """The sweep of a configuration, and the rate that it suggests.

    Args:
        config: of the run; the rate that it sets plays no part.
        steps: of the sweep.
        show_progress: on standard error.

    Raises:
        ConfigError: too few steps.
        EmbedftError: whatever training would raise before its first step.
    """
    from embedft.training.mining.mined import with_negatives
    from embedft.training.planning.probe import objective_of, open_stepped, silent_trainer

    if steps < FEWEST_STEPS:
        raise ConfigError(f"--steps is {steps}.", hint=f"use at least {FEWEST_STEPS}.")
    with tempfile.TemporaryDirectory() as folder:
        job = with_negatives(open_stepped(config, Path(folder)))
        trainer = silent_trainer(job, steps, objective_of(job))
        configured = float(trainer.args.learning_rate)
        with progress("sweeping", steps, "steps", enabled=show_progress) as advance:
            centre = LEARNING_RATE_TIMES_HIDDEN / int(job.base.sentence_transformer[0].config.hidden_size)
            recorder = Recorder(centre / REACH, REACH ** (2 / (steps - 1)), steps, advance)
            recorder.run(trainer)
    return summarise(recorder.steps_done, recorder.why, config.training.batch_size, configured)


@dataclass(frozen=True)
class Step:
    """What a step of the sweep showed; the attributes are those of `Point`."""

    rate: float
    loss: float
    untrained: float
    spread: float | None


class Recorder(TrainerCallback):
    """Gives a trainer its growing rate, and keeps what each step shows.

    Args:
        first: the rate of the first step.
        growth: of the rate from step to step.
        steps: of the whole sweep.
        advance: told of each step.
    """

    def __init__(self, first: float, growth: float, steps: int, advance: Advance) -> None:
        self.first, self.growth, self.steps, self.advance = first, growth, steps, advance
        self.steps_done: list[Step] = []
        self.why: str | None = None
        self._batches: list[tuple[float, float, float | None]] = []

    def run(self, trainer: PairTrainer) -> None:
        """Train until training fails or the sweep ends."""
        from torch.optim.lr_scheduler import LambdaLR

        optimizer: Any = trainer.create_optimizer()
        for group in optimizer.param_groups:
            # Layers keep the ratios of their rates.
            group["lr"] *= self.first / trainer.args.learning_rate
        trainer.lr_scheduler = LambdaLR(optimizer, lambda step: self.growth**step)
        begun = Begun(trainer, [value for group in optimizer.param_groups for value in group["params"]])
        step = trainer.training_step

        def recorded(model: Any, inputs: Any, *args: Any, **options: Any) -> Any:
            untrained, spread = begun.loss(model, inputs)
            loss = step(model, inputs, *args, **options)
            now = spread_of(trainer)
            share = None if now is None or not spread else now / spread
            # A step of several batches has the mean of their losses; each comes divided already.
            self._batches.append((float(loss), untrained / trainer.current_gradient_accumulation_steps, share))
            return loss

        trainer.training_step = recorded  # type: ignore[method-assign]
        trainer.add_callback(self)
        try:
            trainer.train()
        except TrainingError:
            # The alarms of training: something is no number, or the vectors have all become one.
            self.why = "diverged"

    def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Forget the batches of the step before."""
        self._batches.clear()

    def on_step_end(self, _args: Any, _state: Any, control: Any, **_: Any) -> None:
        """Keep what the step showed; stop if training has failed."""
        losses, untrained, spreads = zip(*self._batches, strict=True)
        spread = None if None in spreads else min(spreads)
        self.steps_done.append(
            Step(self.first * self.growth ** len(self.steps_done), sum(losses), sum(untrained), spread)
        )
        self.advance(1)
        self.why = failed(self.steps_done, self.steps)
        control.should_training_stop = control.should_training_stop or self.why is not None


class Begun:
    """The weights that a sweep began with, to be asked for the loss of a batch.

    Args:
        trainer: whose loss it is.
        weights: that it trains.
    """

    def __init__(self, trainer: PairTrainer, weights: list[torch.Tensor]) -> None:
        self.trainer, self.weights = trainer, weights
        self.first = [value.detach().clone() for value in weights]

    def loss(self, model: Any, inputs: Any) -> tuple[float, float | None]:
        """The loss of a batch with these weights, and the spread of its vectors."""
        now = [value.detach().clone() for value in self.weights]
        self._put(self.first)
        try:
            with torch.no_grad(), self.trainer.compute_loss_context_manager():
                loss = float(self.trainer.compute_loss(model, self.trainer._prepare_inputs(inputs)))
            return loss, spread_of(self.trainer)
        finally:
            self._put(now)

    def _put(self, values: list[torch.Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self.weights, values, strict=True):
                weight.copy_(value)


def spread_of(trainer: PairTrainer) -> float | None:
    """1 - the mean cosine of the different documents of the last batch, as the alarms saw it."""
    cosine = trainer.alarms.figures().get(WATCHED)
    return None if cosine is None else 1 - cosine


def smooth(values: Sequence[float], steps: int) -> np.ndarray:
    """The exponential mean of values, corrected for its beginning, (n,); its reach is a twentieth of ``steps``."""
    keep = 1 - 1 / max(SMOOTHED_SHARE * steps, 2.0)
    mean, smoothed = 0.0, []
    for number, value in enumerate(values, start=1):
        mean = keep * mean + (1 - keep) * value
        smoothed.append(mean / (1 - keep**number))
    return np.asarray(smoothed)


def failed(done: Sequence[Step], steps: int) -> str | None:
    """How training has failed: the loss has lost more than it had ever gained, or the vectors become one."""
    gains = smooth([step.untrained - step.loss for step in done], steps)
    if not math.isfinite(gains[-1]):
        return "diverged"
    spread = done[-1].spread
    if spread is not None and spread < COLLAPSED:
        return "collapsed"
    lost = max(float(gains.max()), LEAST_FALL * abs(done[-1].untrained))
    return "diverged" if gains[-1] < -lost else None


def summarise(done: Sequence[Step], why: str | None, batch_size: int, configured: float) -> Sweep:
    """The sweep of some steps, and the rate that it suggests.

    Raises:
        TrainingError: training failed before its fifth step, at any rate.
    """
    if len(done) < 5:
        raise TrainingError(
            f"training {why} in the first steps of the sweep, where the rate moves nothing.",
            hint="look at the data, or compute with model.precision: float32.",
        )
    rates = [step.rate for step in done]
    level = float(np.mean([step.untrained for step in done]))
    gains = smooth([step.untrained - step.loss for step in done], len(done))
    points = [
        Point(step.rate, step.loss, step.untrained, level - gain, step.spread)
        for step, gain in zip(done, gains.tolist(), strict=True)
    ]
    best = int(gains.argmax())
    halved = None
    if best and gains[best] > LEAST_FALL * abs(level):
        halved = _crossing(rates, gains[: best + 1], float(gains[best]) / 2)
    suggested = None if halved is None else TIMES_HALVED * halved
    ended = rates[-1] if why else None
    return Sweep(points, suggested, halved, rates[best], ended, why, batch_size, configured)


def _crossing(rates: Sequence[float], gains: np.ndarray, half: float) -> float:
    """The rate at which the gain comes above ``half`` for good, between two steps by the logarithm."""
    last = int(np.flatnonzero(gains < half)[-1]) if (gains < half).any() else 0
    part = float((half - gains[last]) / (gains[last + 1] - gains[last]))
    low, high = math.log(rates[last]), math.log(rates[last + 1])
    return math.exp(low + min(max(part, 0.0), 1.0) * (high - low))
