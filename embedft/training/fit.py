"""The training of a run: from its job to the weights of the step that is best on dev."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from embedft.artifacts import atomic_directory
from embedft.config import AnchorConfig, TrainingConfig
from embedft.data.general import read_general
from embedft.encoder import Encoder, fast_bfloat16, open_modules, write_folder
from embedft.errors import DataError
from embedft.evaluation import Evaluation
from embedft.progress import Advance, progress
from embedft.training import headed
from embedft.training.job import Job, open_base
from embedft.training.losses.guide import Guide, open_guide
from embedft.training.losses.masks import PairSet
from embedft.training.losses.needs import MIN_ROWS
from embedft.training.losses.registry import LOSSES, build_loss
from embedft.training.mining.mined import RefreshedNegatives
from embedft.training.processes import is_main, wait, world_size
from embedft.training.rundir import number
from embedft.training.trackers import tracked_in

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import TrainerState

    from embedft.training.checkpoint import TrainedWeights
    from embedft.training.heads import CrossEntropy
    from embedft.training.losses.vectorloss import VectorLoss
    from embedft.training.sets import TrainingSet
    from embedft.training.trainer import PairTrainer

logger = logging.getLogger("embedft")

# Peak learning rate times hidden size: small models bear larger steps than the 2e-5 to 8e-5 that are usual at 768 and
# 1024. The figures of the README were measured with it (2.1e-4 at hidden 384); other rates were not compared.
LEARNING_RATE_TIMES_HIDDEN = 0.08
DEV_EVALUATIONS = 8
CROSS_ENTROPY = "cross_entropy"
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

    objective = headed.make_objective(job) if job.loss == CROSS_ENTROPY else None

    def judged(candidate: Encoder) -> Evaluation:
        if job.task.headed:
            return headed.judge_dev(job, candidate, dev, objective)
        return job.task.evaluate(candidate, dev, "dev", [metric], show_progress=False)

    def score(candidate: Encoder) -> dict[str, float]:
        return judged(candidate).metrics

    steps = total_steps(job)
    if is_main():
        # Those that were cut off are gone before the other processes look.
        newest_checkpoint(directory.checkpoints)
        if directory.read().get("base_value") is None:
            directory.update(base_value=score(job.base)[metric])
    wait()
    checkpoint = newest_checkpoint(directory.checkpoints)
    base_value = number(directory.read()["base_value"])
    logger.info(
        "training on %d rows, %d steps of %d, dev: %s, %s of the base model %.4f",
        sum(part.rows.num_rows for part in job.sets), steps, rows_a_step(job), job.task.size(dev, "dev"), metric,
        base_value,
    )  # fmt: skip
    with (
        tracked_in(directory.path / "trackers", settings.report_to),
        progress("training", steps, "steps", enabled=job.show_progress) as advance,
    ):
        trainer = make_trainer(job, steps, score, advance, objective=objective)
        # A run that was killed between its last checkpoint and its model has nothing left to train.
        state = ended_state(checkpoint, metric, settings.patience, steps) if checkpoint else None
        if state is None:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            state = trainer.state
    if is_main():
        best_step = _keep_best(job, state, base_value, judged)
        if job.task.headed:
            if best_step:
                trainer.trained.read(directory.checkpoints / f"checkpoint-{best_step}")
            with trainer.trained.judged():
                headed.keep_head(job, objective, base=best_step == 0)
        directory.update(status="trained")
    wait()


def rows_a_step(job: Job) -> int:
    """How many rows one update of the weights sees, over all processes."""
    settings = job.config.training
    return settings.batch_size * settings.gradient_accumulation * world_size()


def total_steps(job: Job) -> int:
    """How many updates of the weights the run has, if dev does not stop it early.

    Raises:
        DataError: a set has a single row, or there are fewer batches than processes.
    """
    settings = job.config.training
    rows = [part.rows.num_rows for part in job.sets]
    for part in job.sets:
        _require_batches(part, settings.batch_size)
    if settings.max_steps is not None:
        return settings.max_steps
    updates = updates_an_epoch(settings, rows)
    return max(math.ceil((settings.epochs or usual_epochs(updates)) * updates), 1)


def _require_batches(part: TrainingSet, batch_size: int) -> None:
    from embedft.training.batches import number_of_batches

    rows = part.rows.num_rows
    if rows < MIN_ROWS:
        raise DataError(
            f"{part.name}: has {rows} row to train on; a batch holds at least {MIN_ROWS}.",
            hint="give it more rows, or leave it out of data.also.",
        )
    if number_of_batches(rows, batch_size) == 0:
        raise DataError(
            f"{part.name}: {rows} rows are fewer than a batch for each of {world_size()} processes.",
            hint="use fewer processes, or a smaller training.batch_size.",
        )


def updates_an_epoch(settings: TrainingConfig, rows: Sequence[int]) -> int:
    """How many updates of the weights an epoch has, for sets of so many rows; at least 1."""
    from embedft.training.batches import number_of_batches, shares

    rounds = [number_of_batches(count, settings.batch_size) // world_size() for count in rows]
    return math.ceil(sum(shares(rounds, rows, settings.mixing_temperature)) / settings.gradient_accumulation)


def usual_epochs(updates: int) -> int:
    """The epochs of a run that names none, with so many updates in each."""
    return min(max(1, math.ceil(FEWEST_STEPS / updates)), MOST_EPOCHS)


def peak_learning_rate(job: Job) -> float:
    """The rate that is set, else the default for the size of the encoder."""
    hidden = int(job.base.sentence_transformer[0].config.hidden_size)
    return job.config.training.learning_rate or LEARNING_RATE_TIMES_HIDDEN / hidden


def make_trainer(
    job: Job,
    steps: int,
    score: Callable[[Encoder], dict[str, float]],
    advance: Advance,
    *,
    objective: CrossEntropy | None = None,
) -> PairTrainer:
    """The trainer of a job, ready to begin.

    Args:
        job: what is trained.
        steps: how many.
        score: the dev metrics of the encoder in training.
        advance: called with the steps done.
        objective: with the head of an end-to-end run.
    """
    from datasets import Dataset, DatasetDict

    from embedft.training.alarms import Alarms
    from embedft.training.batches import SeededBatchSampler, SetCollator
    from embedft.training.checkpoint import TrainedWeights
    from embedft.training.labelled import ClassBatchSampler
    from embedft.training.parameters import require_trainable
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
        eval_every=settings.eval_every or -(-steps // DEV_EVALUATIONS),
        metric=job.metric,
        bf16=precision != "float32" and (precision == "bfloat16" or fast_bfloat16(device)),
        use_cpu=device == "cpu",
    )
    losses = {part.name: _loss_of(part, job, objective) for part in job.sets}
    alone = len(job.sets) == 1
    loss = losses[job.sets[0].name] if alone else losses
    require_trainable(model, loss)
    trained = TrainedWeights(model, loss, settings.ema)
    refreshed = _refreshed(job, trained, losses)
    collators = {part.name: _collator(part, job, refreshed if part is job.sets[0] else None) for part in job.sets}
    # Contrastive losses on labels need several texts of a class in a batch.
    by_class = LOSSES[job.loss].needs == "labelled texts" and job.loss != CROSS_ENTROPY
    datasets = {part.name: Dataset(_numbered(part.rows)) for part in job.sets}
    return PairTrainer(
        encoder=base,
        settings=settings,
        trained=trained,
        alarms=Alarms(model, _text_of(job)),
        args=arguments,
        data_collator=SetCollator(collators, settings.gradient_accumulation * world_size()),
        train_dataset=datasets[job.sets[0].name] if alone else DatasetDict(datasets),
        loss=loss,
        evaluator=DevEvaluator(score, base, trained, precision),
        sampler_class=ClassBatchSampler if by_class else SeededBatchSampler,
        callbacks=[
            RunCallback(job.directory, metric=job.metric, patience=settings.patience, advance=advance),
            *([refreshed] if refreshed else []),
        ],
    )


def _collator(part: TrainingSet, job: Job, negatives: RefreshedNegatives | None) -> Any:
    from embedft.training.batches import PairCollator, ScoredCollator
    from embedft.training.labelled import LabelledCollator

    needs, length = LOSSES[part.loss].needs, job.config.training.max_length
    if needs == "labelled texts":
        return LabelledCollator(job.base, length)
    return ScoredCollator(job.base, length) if needs.startswith("scored") else PairCollator(job.base, length, negatives)


def _refreshed(job: Job, trained: TrainedWeights, losses: Mapping[str, VectorLoss]) -> RefreshedNegatives | None:
    """What mines negatives in training, if the settings ask for it."""
    settings = job.config.training
    if settings.hard_negatives is None or settings.hard_negatives.refresh_every is None:
        return None
    own = job.sets[0]

    def encoder_now() -> Encoder:
        with trained.judged() as model:
            return job.base.of(model, job.config.model.precision)

    def mined(rows: pa.Table) -> None:
        if LOSSES[own.loss].guided:
            objective: Any = losses[own.name].objective
            objective.guide = _guide_of(replace(own, rows=rows), job)

    return RefreshedNegatives(job, encoder_now, mined)


def _guide_of(part: TrainingSet, job: Job) -> Guide | None:
    """What the guide says of the texts of a set, if its loss asks one."""
    name, model = job.config.training.guide, job.config.model
    if name is None or not LOSSES[part.loss].guided:
        return None
    folder = job.directory.checkpoints / "guide" / part.name
    return open_guide(
        name, part.rows, folder, device=model.device, precision=model.precision, show_progress=job.show_progress
    )


def _loss_of(part: TrainingSet, job: Job, objective: CrossEntropy | None) -> VectorLoss:
    """The loss of a set of rows, with its guide and the positives that are known."""
    settings, base = job.config.training, job.base
    entry = LOSSES[part.loss]
    return build_loss(
        part.loss,
        part.options,
        base.sentence_transformer,
        base.truncate_dim,
        gradient_cache=settings.gradient_cache and entry.cached,
        matryoshka=settings.matryoshka,
        guide=_guide_of(part, job),
        objective=objective if part.loss == CROSS_ENTROPY else None,
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


def _keep_best(job: Job, state: TrainerState, base_value: float, judged: Callable[[Encoder], Evaluation]) -> int:
    """Write the weights of the step that was best on dev; the base model's where none was better, which is step 0."""
    base, metric = job.base, job.metric
    best_step, best_value = int(state.best_global_step or 0), state.best_metric
    if best_value is not None and best_value > base_value:
        checkpoint = job.directory.checkpoints / f"checkpoint-{best_step}"
        if job.config.training.anchor is None:
            model = open_modules(checkpoint, "cpu")
        else:
            model, best_value = _anchored(job, checkpoint, judged)
    else:
        best_step, best_value = 0, base_value
        logger.warning(
            "no step was better on dev than the base model (%s %.4f): its weights are kept", metric, base_value
        )
        model = open_base(job.config).sentence_transformer
    with atomic_directory(job.directory.model, force=True) as staged:
        write_folder(model, staged, max_length=base.max_length, truncate_dim=base.truncate_dim)
    best = {"step": best_step, "metric": metric, "value": float(best_value), "base": base_value}
    job.directory.update(best=best)
    return best_step


def _anchored(job: Job, checkpoint: Path, judged: Callable[[Encoder], Evaluation]) -> tuple[SentenceTransformer, float]:
    """The mixture of old and new weights that is best on dev and forgets little, and its value on dev."""
    from embedft.training.anchor import FolderState, anchor, general_score

    settings = job.config.training.anchor or AnchorConfig()
    general = read_general(settings.general)
    model = open_base(job.config).sentence_transformer

    def now() -> Encoder:
        return job.base.of(model, job.config.model.precision)

    found = anchor(
        model,
        {name: tensor.clone() for name, tensor in model.state_dict().items()},
        FolderState(checkpoint),
        score_dev=lambda: judged(now()),
        score_general=lambda: general_score(now(), general),
        metric=job.metric,
        config=settings,
    )
    job.directory.update(anchor=found.as_dict())
    return model, found.chosen.dev
