"""Mined negatives in a run: found before training, kept beside it, and found anew with the encoder in training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from transformers import TrainerCallback, TrainerState

from embedft.artifacts import atomic_file
from embedft.config import HardNegativesConfig, RunConfig
from embedft.encoder import Encoder
from embedft.errors import ConfigError
from embedft.training.job import Job
from embedft.training.losses.needs import COLUMNS
from embedft.training.losses.registry import needs_of, rows_for
from embedft.training.mining.mine import Mined, mine_negatives, require_found
from embedft.training.mining.negatives import check_negatives
from embedft.training.processes import is_main, wait

logger = logging.getLogger("embedft")

AUDITED = 3
SHOWN = 100


def check_mining(config: RunConfig, loss: str) -> None:
    """Raise ConfigError if negatives cannot be mined for a task and its loss, or not with these limits."""
    settings = config.training.hard_negatives
    if settings is None:
        return
    needs = needs_of(loss, config.training.loss_options)
    if "anchor" not in COLUMNS[needs]:
        raise ConfigError(
            f"training.hard_negatives is set, and the loss {loss} takes {needs}.", hint="leave it out for this task."
        )
    if settings.refresh_every is not None and needs != "pairs":
        raise ConfigError(
            f"training.hard_negatives.refresh_every is set, and the loss {loss} takes {needs}: which rows there are "
            "depends on the negatives.",
            hint="leave it out, or use mnrl.",
        )
    check_negatives(settings)


def with_negatives(job: Job) -> Job:
    """The job with mined negatives in its own rows; what was mined stands in ``negatives.parquet``.

    A resumed run takes what it mined when it began.

    Raises:
        DataError: nothing was found; it says what took the candidates.
        ModelError: the guide or cross-encoder of the settings cannot be opened.
    """
    settings = job.config.training.hard_negatives
    if settings is None:
        return job
    path = job.directory.negatives
    if is_main() and not path.is_file():
        mined = mine(job, job.base, settings)
        require_found(mined, str(job.data.path))
        job.directory.update(negatives=mined.report.as_dict())
        _tell(mined)
        with atomic_file(path) as file:
            pq.write_table(mined.rows, file)
    wait()
    own = job.sets[0]
    rows = rows_for(own.loss, pq.read_table(path), options=own.options, source=str(path))
    return replace(job, sets=[replace(own, rows=rows), *job.sets[1:]])


def mine(job: Job, encoder: Encoder, settings: HardNegativesConfig) -> Mined:
    """What an encoder finds for the task's own rows."""
    rows = job.task.training_rows(job.data)
    return mine_negatives(
        encoder, job.data, rows, settings, seed=job.config.training.seed, show_progress=job.show_progress
    )


class RefreshedNegatives(TrainerCallback):
    """Mines again every so many steps; the batch of a step takes the newest negatives mined before the last step.

    One step late, because its batch is made while the step before is computed: so a resumed run, whose batches are made
    at another time, takes the same negatives. What was mined for those steps at which a checkpoint is kept stays beside
    the checkpoints.

    Args:
        job: with negatives mined by the base.
        encoder_now: the encoder as it is judged at this moment.
        mined: called with the rows that were mined, before they are used.
    """

    def __init__(self, job: Job, encoder_now: Callable[[], Encoder], mined: Callable[[pa.Table], None]) -> None:
        settings = job.config.training.hard_negatives
        if settings is None or settings.refresh_every is None:
            raise ValueError("the run does not refresh its negatives")
        self.job, self.encoder_now, self.mined = job, encoder_now, mined
        self.settings, self.every = settings, settings.refresh_every
        self.folder = job.directory.checkpoints
        self.found: dict[int, pa.ChunkedArray] = {-1: job.sets[0].rows["negatives"]}

    def of(self, rows: Sequence[int], step: int) -> list[list[str]]:
        """The negatives of rows for a batch of that step, from 0."""
        table = self.found[max(at for at in self.found if at < step or at < 0)]
        return [table[row].as_py() for row in rows]

    def on_train_begin(self, _args: Any, state: TrainerState, _control: Any, **_: Any) -> None:
        """Take up what was mined up to the checkpoint that training goes on from."""
        for step in self._in_use(state.global_step):
            self._take(step, pq.read_table(self._path(step)))

    def on_step_end(self, _args: Any, state: TrainerState, _control: Any, **_: Any) -> None:
        """Mine with the weights as they are now."""
        step = state.global_step
        if step % self.every or step >= state.max_steps:
            return
        if is_main():
            found = mine(self.job, self.encoder_now(), self.settings)
            logger.info("step %d: mined %d negatives for %d rows", step, found.report.found, found.report.rows)
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._path(step)) as file:
                pq.write_table(found.rows, file)
            self._drop(step)
        wait()
        self._take(step, pq.read_table(self._path(step)))

    def _take(self, step: int, rows: pa.Table) -> None:
        self.mined(rows)
        # Two generations are in use at most.
        newest = max(self.found)
        self.found = {newest: self.found[newest], step: rows["negatives"]}

    def _in_use(self, step: int) -> range:
        """The steps of the two newest generations after so many steps; fewer at the beginning."""
        newest = step // self.every * self.every
        return range(max(self.every, newest - self.every), newest + 1, self.every)

    def _drop(self, step: int) -> None:
        """Remove what is in use neither now nor where a checkpoint goes on."""
        kept_at = [step, *(int(folder.name.rpartition("-")[2]) for folder in self.folder.glob("checkpoint-*"))]
        kept = {self._path(mined) for at in kept_at for mined in self._in_use(at)}
        for path in self.folder.glob("negatives-*.parquet"):
            if path not in kept:
                path.unlink()

    def _path(self, step: int) -> Path:
        return self.folder / f"negatives-{step}.parquet"


def _tell(mined: Mined) -> None:
    report = mined.report
    logger.info(
        "mined %d negatives for %d rows (%d asked for; %d rows have fewer, %d none)",
        report.found, report.rows, report.asked, report.short_rows, report.empty_rows,
    )  # fmt: skip
    for suspect in mined.audit(AUDITED):
        logger.info(
            "look at: %r -> negative %r (%.3f; its positive %.3f: %r)",
            suspect.anchor[:SHOWN], suspect.negative[:SHOWN], suspect.negative_score, suspect.positive_score,
            suspect.positive[:SHOWN],
        )  # fmt: skip
