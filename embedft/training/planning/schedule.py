"""How often a run does what: updates, evaluations on dev, checkpoints; and what that comes to in seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from embedft.config import TrainingConfig
    from embedft.training.trainer import PairTrainer


@dataclass(frozen=True)
class Schedule:
    """The course of a run that dev does not stop.

    Attributes:
        steps: updates of the weights.
        an_epoch: updates an epoch.
        accumulation: batches an update.
        eval_every: updates between two evaluations; each comes with a checkpoint, and the last update has one too.
        patience: evaluations without a gain that end it.
        mixtures: of old and new weights that are judged on dev at the end, the old ones alone among them.
        refresh_every: updates between two minings of negatives; None where they are mined once, before the first.
        setup: seconds to read the data, open the model and mine negatives for the first time.
        mining: seconds that this mining took of them.
    """

    steps: int
    an_epoch: float
    accumulation: int
    eval_every: int
    patience: int
    mixtures: int
    refresh_every: int | None
    setup: float
    mining: float

    @classmethod
    def of(cls, trainer: PairTrainer, settings: TrainingConfig, *, setup: float, mining: float) -> Schedule:
        """The schedule of a trainer that is ready to begin."""
        arguments = trainer.args
        accumulation = int(arguments.gradient_accumulation_steps)
        an_epoch = len(trainer.get_train_dataloader()) / accumulation
        return cls(
            steps=arguments.max_steps,
            an_epoch=an_epoch,
            accumulation=accumulation,
            eval_every=int(arguments.eval_steps),
            patience=settings.patience,
            mixtures=0 if settings.anchor is None else len({0.0, *settings.anchor.shares}),
            refresh_every=None if settings.hard_negatives is None else settings.hard_negatives.refresh_every,
            setup=setup,
            mining=mining,
        )

    def evaluations(self, steps: int) -> int:
        """How often dev is judged in so many steps, the judging of the base model left out."""
        return -(-steps // self.eval_every)

    @property
    def refreshes(self) -> int:
        """How often negatives are mined anew; after the last update no more."""
        return 0 if self.refresh_every is None else (self.steps - 1) // self.refresh_every

    def seconds(self, step: float, dev: float, final: float, checkpoint: float) -> dict[str, float]:
        """Seconds of the parts of a run, and of all: setup, step, steps, mining, dev, checkpoints, final, total.

        Args:
            step: seconds of one update.
            dev: of one evaluation on dev.
            final: of judging both models at the end.
            checkpoint: to write one.
        """
        times = self.evaluations(self.steps)
        # The base model is judged on dev too, before the first step.
        parts = {
            "setup": self.setup,
            "steps": self.steps * step,
            "mining": self.refreshes * self.mining,
            "dev": (times + 1 + self.mixtures) * dev,
            "checkpoints": times * checkpoint,
            "final": final,
        }
        parts["total"] = sum(parts.values())
        return {"step": round(step, 4)} | {name: round(value, 2) for name, value in parts.items()}
