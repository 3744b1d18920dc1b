"""The training of a run: from its job to the weights of the step that is best on dev."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from embedft.artifacts import atomic_directory
from embedft.encoder import Encoder, fast_bfloat16, open_modules, write_folder
from embedft.errors import DataError
from embedft.progress import Advance, progress
from embedft.training.guide import open_guide
from embedft.training.job import Job, open_base
from embedft.training.losses import LOSSES, build_loss
from embedft.training.masks import PairSet
from embedft.training.processes import is_main, wait, world_size
from embedft.training.trackers import tracked_in

if TYPE_CHECKING:
    from transformers import TrainerState

    from embedft.training.sets import TrainingSet
    from embedft.training.trainer import PairTrainer
    from embedft.training.vectorloss import VectorLoss

logger = logging.getLogger("embedft")

# Peak learning rate times hidden size: small models bear larger steps than the 2e-5 to 8e-5 that are usual at 768 and
# 1024. The figures of the README were measured with it (2.1e-4 at hidden 384); other rates were not compared.
LEARNING_RATE_TIMES_HIDDEN = 0.08
DEV_EVALUATIONS = 8
# Where the number of epochs is not set. On medquad (148 steps an epoch) dev is best after 0.6 of one.
FEWEST_STEPS, MOST_EPOCHS = 100, 10


def fit(job: Job) -> None:
    """Train, and write the model of the best step.

    Raises:
        ConfigError: the settings do not fit the model.
        DataError: there are fewer batches than processes.
        DiskFullError: the disk ran full; the last complete checkpoint is kept.
    """
    from embedft.training.trainer import ended_state, newest_checkpoint

    settings, metric, directory = job.config.training, job.metric, job.directory
    dev = job.task.dev_view(job.data, job.config.evaluation.dev_documents, settings.seed)

    def score(candidate: Encoder) -> dict[str, float]:
        return job.task.evaluate(candidate, dev, "dev", [metric], show_progress=False).metrics

    steps = total_steps(job)
    if is_main():
        # Those that were cut off are gone before the other processes look.
        newest_checkpoint(directory.checkpoints)
        if directory.read().get("base_value") is None:
            directory.update(base_value=score(job.base)[metric])
    wait()
    checkpoint = newest_checkpoint(directory.checkpoints)
    base_value = float(directory.read()["base_value"])
    logger.info(
        "training on %d rows, %d steps of %d, dev: %s, %s of the base model %.4f",
        sum(part.rows.num_rows for part in job.sets), steps, rows_a_step(job), job.task.size(dev, "dev"), metric,
        base_value,
    )  # fmt: skip
    with (
        tracked_in(directory.path / "trackers", settings.report_to),
        progress("training", steps, "steps", enabled=job.show_progress) as advance,
    ):
        trainer = make_trainer(job, steps, score, advance)
        # A run that was killed between its last checkpoint and its model has nothing left to train.
        state = ended_state(checkpoint, metric, settings.patience, steps) if checkpoint else None
        if state is None:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            state = trainer.state
    if is_main():
        _keep_best(job, state, base_value)
    wait()


def rows_a_step(job: Job) -> int:
    """How many rows one update of the weights sees, over all processes."""
    settings = job.config.training
    return settings.batch_size * settings.gradient_accumulation * world_size()


def total_steps(job: Job) -> int:
    """How many updates of the weights the run has, if dev does not stop it early.

    Raises:
        DataError: there are fewer batches than processes.
    """
    from embedft.training.batches import number_of_batches, shares

    settings = job.config.training
    rows = [part.rows.num_rows for part in job.sets]
    batches = [number_of_batches(count, settings.batch_size) for count in rows]
    if 0 in batches:
        raise DataError(
            f"{job.sets[batches.index(0)].name}: {rows[batches.index(0)]} rows are fewer than a batch for each of "
            f"{world_size()} processes.",
            hint="use fewer processes, or a smaller training.batch_size.",
        )
    if settings.max_steps is not None:
        return settings.max_steps
    epoch = math.ceil(sum(shares(batches, rows, settings.mixing_temperature)) / world_size())
    updates = math.ceil(epoch / settings.gradient_accumulation)
    epochs = settings.epochs or min(max(1, math.ceil(FEWEST_STEPS / updates)), MOST_EPOCHS)
    return max(math.ceil(epochs * updates), 1)


def peak_learning_rate(job: Job) -> float:
    """The rate that is set, else the default for the size of the encoder."""
    hidden = int(job.base.sentence_transformer[0].config.hidden_size)
    return job.config.training.learning_rate or LEARNING_RATE_TIMES_HIDDEN / hidden


def make_trainer(job: Job, steps: int, score: Callable[[Encoder], dict[str, float]], advance: Advance) -> PairTrainer:
    """The trainer of a job, ready to begin."""
    from datasets import Dataset, DatasetDict

    from embedft.training.alarms import Alarms
    from embedft.training.batches import PairCollator, ScoredCollator, SetCollator
    from embedft.training.checkpoint import TrainedWeights
    from embedft.training.parameters import require_trainable
    from embedft.training.prepare import prepare_model
    from embedft.training.trainer import DevEvaluator, PairTrainer, RunCallback, training_arguments

    settings, base = job.config.training, job.base
    model = base.sentence_transformer
    device = model.device.type
    precision = job.config.model.precision
    arguments = training_arguments(
        settings,
        folder=job.directory.checkpoints,
        steps=steps,
        learning_rate=peak_learning_rate(job),
        eval_every=settings.eval_every or max(steps // DEV_EVALUATIONS, 1),
        metric=job.metric,
        bf16=precision != "float32" and (precision == "bfloat16" or fast_bfloat16(device)),
        use_cpu=device == "cpu",
    )
    prepare_model(model, settings)
    losses = {part.name: _loss_of(part, job) for part in job.sets}
    alone = len(job.sets) == 1
    loss = losses[job.sets[0].name] if alone else losses
    require_trainable(model, loss)
    trained = TrainedWeights(model, loss, settings.ema)
    collators = {
        part.name: (ScoredCollator if part.scored else PairCollator)(base, settings.max_length) for part in job.sets
    }
    datasets = {part.name: Dataset(_numbered(part.rows)) for part in job.sets}
    return PairTrainer(
        encoder=base,
        settings=settings,
        trained=trained,
        alarms=Alarms(model, _text_of(job)),
        args=arguments,
        data_collator=SetCollator(collators),
        train_dataset=datasets[job.sets[0].name] if alone else DatasetDict(datasets),
        loss=loss,
        evaluator=DevEvaluator(score, base, trained, precision),
        callbacks=[RunCallback(log=job.directory.log, metric=job.metric, patience=settings.patience, advance=advance)],
    )


def _loss_of(part: TrainingSet, job: Job) -> VectorLoss:
    """The loss of a set of rows, with its guide and the positives that are known."""
    settings, base = job.config.training, job.base
    entry = LOSSES[part.loss]
    guide = None
    if entry.guided and settings.guide is not None:
        guide = open_guide(
            settings.guide,
            part.rows,
            job.directory.checkpoints / "guide" / part.name,
            device=job.config.model.device,
            precision=job.config.model.precision,
            show_progress=job.show_progress,
        )
    return build_loss(
        part.loss,
        part.options,
        base.sentence_transformer,
        base.truncate_dim,
        gradient_cache=settings.gradient_cache and entry.cached,
        matryoshka=settings.matryoshka,
        guide=guide,
        known=PairSet.positives(part.rows) if entry.masked else None,
    )


def _numbered(rows: pa.Table) -> pa.Table:
    """The rows with their numbers, so that a batch can say which they are."""
    return rows.append_column("row", pa.array(np.arange(rows.num_rows)))


def _text_of(job: Job) -> Callable[[str | None, int], str]:
    """From the name of a set and the number of a row to its first text."""
    firsts = {part.name: part.rows.column(0) for part in job.sets}
    own = job.sets[0].name
    return lambda name, row: str(firsts[name or own][row].as_py())


def _keep_best(job: Job, state: TrainerState, base_value: float) -> None:
    """Write the weights of the step that was best on dev; the base model's where none was better."""
    base, metric = job.base, job.metric
    best_step, best_value = int(state.best_global_step or 0), state.best_metric
    if best_value is not None and best_value > base_value:
        model = open_modules(job.directory.checkpoints / f"checkpoint-{best_step}", "cpu")
    else:
        best_step, best_value = 0, base_value
        logger.warning(
            "no step was better on dev than the base model (%s %.4f): its weights are kept", metric, base_value
        )
        model = open_base(job.config).sentence_transformer
    with atomic_directory(job.directory.model, force=True) as staged:
        write_folder(model, staged, max_length=base.max_length, truncate_dim=base.truncate_dim)
    best = {"step": best_step, "metric": metric, "value": float(best_value), "base": base_value}
    job.directory.update(status="trained", best=best)
