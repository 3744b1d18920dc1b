"""One training run, from a configuration to a directory that proves what it achieved."""

from __future__ import annotations

import logging
import shutil
import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from embedft.artifacts import disk_errors, is_disk_full
from embedft.config import HeadConfig, RunConfig, TrainingConfig
from embedft.data import Leak
from embedft.data.general import read_general
from embedft.encoder import Encoder, find_folder
from embedft.errors import ConfigError
from embedft.evaluation import Comparison, Evaluation, compare, comparison_dict
from embedft.evaluation.analysis import write_analysis
from embedft.evaluation.forgetting import check_guard
from embedft.evaluation.records import write_record
from embedft.tasks import Looked, Task, get_task
from embedft.training import headed
from embedft.training.fit import fit
from embedft.training.job import Job, judged_split, open_base
from embedft.training.judging import analysis, judged, without_vectors
from embedft.training.losses.crossencoder import is_cross_encoder, open_cross_encoder
from embedft.training.losses.registry import check_loss, is_guided
from embedft.training.mining.mined import check_mining, with_negatives
from embedft.training.prepare import check_preparation, prepare_model
from embedft.training.processes import check_device, is_main, join, wait
from embedft.training.queries.query_only import (
    check_query_only,
    check_trainable,
    fit_queries,
    is_adapter,
    is_query_only,
)
from embedft.training.rundir import RunDirectory, environment, number
from embedft.training.sets import FROZEN, further_sets, loss_name, own_set

logger = logging.getLogger("embedft")


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        run: its directory; the encoder is in ``run / "model"``.
        best_step: the step whose weights were kept; 0 if no step beat the base model on dev.
        metric, best_value, base_value: the dev metric that chose it, its value there and for the base model.
        seconds: wall time of this call.
        evaluation, against: scores of the new and of the base model on the judged split.
        comparison: metric name -> difference, interval, p-value, verdict; empty in all but the first of several
            processes.
        leakage: what training and the other splits share.
        dropped: how many training rows were left out because another split has them too (``data.leakage: drop``).
        anchor: with ``training.anchor``, the sweep over shares of the new weights (`embedft.training.anchor`).
    """

    run: Path
    best_step: int
    metric: str
    best_value: float
    base_value: float
    seconds: float
    evaluation: Evaluation
    against: Evaluation
    comparison: dict[str, Comparison]
    leakage: list[Leak]
    dropped: int = 0
    anchor: dict[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``evaluation`` has the shape that ``embedft evaluate --json`` prints."""
        return {
            "run": str(self.run),
            "best": {"step": self.best_step, "metric": self.metric, "value": self.best_value, "base": self.base_value},
            "seconds": round(self.seconds, 1),
            "leakage": [leak.as_dict() for leak in self.leakage],
            **({"leakage_dropped": self.dropped} if self.dropped else {}),
            **({"anchor": self.anchor} if self.anchor else {}),
            "evaluation": self._judged,
        }

    @cached_property
    def _judged(self) -> dict[str, Any]:
        # Once: its intervals take long where much was judged.
        return comparison_dict(self.evaluation, self.against, self.comparison)


def train(
    config: RunConfig, output: str | Path, *, resume: bool = False, force: bool = False, show_progress: bool = False
) -> TrainResult:
    """Fine-tune an encoder, keep the weights of its best step on dev, and judge them against the base model.

    Everything that can be wrong with the settings is checked before the first step.

    Args:
        config: the settings.
        output: the run's directory.
        resume: go on from the last complete checkpoint; the weights end as in an uninterrupted run.
        force: replace a run that is there.
        show_progress: on standard error.

    Raises:
        ConfigError: a setting does not fit the task, the model or the run to be resumed, or names what lies in
            ``output``.
        DataError: the data is missing, broken, or has no usable training pairs.
        ModelError: the base model cannot be opened.
        ArtifactError: the directory is in the way.
        DiskFullError: the disk ran full; the last complete checkpoint is kept.
    """
    start = time.monotonic()
    directory = RunDirectory(Path(output))
    if not resume:
        check_outside(config, directory.path)
    check(config)
    # Before anything is put on a GPU: each process has one of its own.
    join(config.model.device)
    if resume:
        directory.read()
    # Of several processes the first one alone holds and writes the directory.
    with disk_errors(directory.path), directory.locked() if is_main() else nullcontext():
        if not resume and is_main():
            directory.require_startable(force=force)
        job = open_job(config, directory, show_progress=show_progress and is_main())
        if is_main():
            _begin(job, resume=resume, force=force)
        wait()
        if directory.read()["status"] == "training":
            _train(job)
        return _judge(job, start)


def _train(job: Job) -> None:
    """Write the model of the run, and its head if the task has one."""
    job = with_negatives(job)
    if is_query_only(job.config):
        fit_queries(job)
    elif job.trains_encoder:
        fit(job)
    else:
        if is_main():
            headed.keep_frozen(job)
        wait()


def check_outside(config: RunConfig, output: Path) -> None:
    """Raise ConfigError if something that is read lies in the directory that is written, where it would be removed."""
    training, evaluation = config.training, config.evaluation
    mining, anchor = training.hard_negatives, training.anchor
    given: dict[str, str | Path | None] = {
        "model.name": config.model.name,
        "data.path": config.data.path,
        **{f"data.also[{place}].path": entry.path for place, entry in enumerate(config.data.also)},
        "training.guide": training.guide,
        "training.hard_negatives.guide": mining.guide if mining else None,
        "training.hard_negatives.cross_encoder": mining.cross_encoder if mining else None,
        "training.anchor.general": anchor.general if anchor else None,
        "evaluation.guard": evaluation.guard,
    }
    for name, value in given.items():
        # The name of a hub is no path, though it looks like one.
        if value is not None and Path(value).exists() and Path(value).resolve().is_relative_to(output.resolve()):
            raise ConfigError(
                f"{name} is {value}, which lies in {output}, whose content would be replaced.",
                hint="name another -o.",
            )


def check(config: RunConfig) -> None:
    """Raise ConfigError if the settings contradict each other or the task, as far as this shows without the data."""
    task = get_task(config.task)
    metrics = wanted_metrics(config, task)
    task.check_metrics(metrics)
    if metrics[0] in task.lower_is_better:
        raise ConfigError(
            f"evaluation.metric is {metrics[0]}, of which less is better; the best step is the highest on dev.",
            hint=f"choose by {task.metric}, and name {metrics[0]} in evaluation.metrics.",
        )
    training = config.training
    check_preparation(training)
    loss = loss_name(config, task)
    check_device(config.model.device, stepped=loss != FROZEN and not is_adapter(config))
    if task.headed:
        headed.check_head(config, loss, task.losses)
        if loss == FROZEN:
            return
    elif config.head != HeadConfig():
        raise ConfigError(f"head is set, and the task {task.name} has none.", hint="leave it out.")
    if is_query_only(config):
        check_query_only(config)
    elif training.query_side != "adapter":
        raise ConfigError(
            f"training.query_side is {training.query_side}, and documents are trained as well.",
            hint="add training.freeze: [documents], or leave it out.",
        )
    if training.mixing_temperature != TrainingConfig().mixing_temperature and not config.data.also:
        raise ConfigError(
            f"training.mixing_temperature is {training.mixing_temperature:g}, and there is no data.also to mix with.",
            hint="leave it out, or name further sets in data.also.",
        )
    _check_own_loss(config, task)
    check_mining(config, loss)


def _check_own_loss(config: RunConfig, task: Task, dim: int | None = None) -> None:
    training, loss = config.training, loss_name(config, task)
    # A guide that a set of data.also alone asks for is none of the own loss.
    of_others = not is_guided(loss) and any(is_guided(entry.loss) for entry in config.data.also)
    check_loss(
        loss,
        training.loss_options,
        tuple(name for name in task.losses if name != FROZEN),
        gradient_cache=training.gradient_cache,
        gradient_checkpointing=training.gradient_checkpointing,
        matryoshka=training.matryoshka,
        guide=None if of_others else training.guide,
        dim=dim,
    )


def wanted_metrics(config: RunConfig, task: Task) -> list[str]:
    """The metrics of a run, the one that chooses the best step first."""
    metric = config.evaluation.metric or task.metric
    return list(dict.fromkeys([metric, *(config.evaluation.metrics or task.metrics)]))


def open_job(config: RunConfig, directory: RunDirectory, *, show_progress: bool) -> Job:
    """The data and the model of a run, opened and checked.

    Raises:
        ConfigError: a setting does not fit the task or the data.
        DataError: the data is missing, broken, or has no usable training rows.
        ModelError: the base model cannot be opened, or a guide is nowhere.
    """
    task = get_task(config.task)
    metrics = wanted_metrics(config, task)
    prepared = task.prepare(task.read(config.data), config.data, config.training.seed)
    data = prepared.data
    base = open_base(config)
    check_trainable(config, base)
    if loss_name(config, task) != FROZEN:
        _check_own_loss(config, task, base.dim)
    own = own_set(config, task, data)
    if own.loss != FROZEN and not is_query_only(config):
        # Here, so that layers or targets that the model does not have are refused before anything is written.
        prepare_model(base.sentence_transformer, config.training)
    if config.training.anchor is not None:
        read_general(config.training.anchor.general)
    if config.evaluation.guard is not None and config.evaluation.report:
        check_guard(config.evaluation.guard, unknown_ids=config.data.unknown_ids)
    _find_guides(config)
    further = further_sets(config, data, base.dim)
    return Job(
        config=config,
        task=task,
        data=data,
        sets=[own, *further],
        split=judged_split(config, task, data),
        base=base,
        directory=directory,
        metric=metrics[0],
        metrics=metrics,
        leakage=[*prepared.leakage, *(leak for part in further for leak in part.leakage)],
        dropped=prepared.dropped,
        show_progress=show_progress,
    )


def _find_guides(config: RunConfig) -> None:
    """Raise ModelError if a second model cannot be had: before an older run is removed for one that cannot begin."""
    mining = config.training.hard_negatives
    for name in (config.training.guide, mining.guide if mining else None):
        if name is not None and not is_cross_encoder(name):
            find_folder(name)
    if mining and mining.cross_encoder:
        open_cross_encoder(mining.cross_encoder, "cpu")


def _begin(job: Job, *, resume: bool, force: bool) -> None:
    """Write the record of a new run, or see whether an old one can go on with these settings."""
    settings = job.config.model_dump(mode="json")
    files = dict(job.data.files)
    for part in job.sets[1:]:
        files |= {f"{part.name}/{name}": digest for name, digest in part.files.items()}
    if resume:
        job.directory.check_resumable(settings, files, job.base.fingerprint)
        job.directory.go_on()
        _warn_of_other_threads(job.directory)
    else:
        record = {
            "base_fingerprint": job.base.fingerprint,
            "data": {**job.data.manifest(), "files": files},
            # From another folder it does not show whether a name like a/b is of a folder or of a hub.
            "local": {"model": Path(job.config.model.name).exists(), "data": job.config.data.path.exists()},
            "leakage": [leak.as_dict() for leak in job.leakage],
            "leakage_dropped": job.dropped,
            "environment": environment(),
        }
        job.directory.start(settings, record, force=force)
    _report(job.leakage)
    if job.split == "dev":
        logger.warning("no test split: dev judges the run and also chose its best step, so the gain is optimistic")


def _warn_of_other_threads(directory: RunDirectory) -> None:
    began, now = directory.read().get("environment", {}).get("threads"), environment()["threads"]
    if began not in (None, now):
        logger.warning(
            "the run began on %s threads and goes on with %s: its weights will differ in rounding", began, now
        )


def _report(leakage: list[Leak]) -> None:
    for leak in leakage:
        level = logging.WARNING if leak.severe else logging.INFO
        logger.log(
            level,
            "leakage: %d (%.1f %%) of split %s stand in train as well (%s), e.g. %r",
            leak.count,
            100 * leak.share,
            leak.split,
            leak.kind,
            leak.examples[0][:60],
        )


def _judge(job: Job, start: float) -> TrainResult:
    """Score the new and the base model; the first process writes the evidence, and closes the run."""
    directory, config = job.directory, job.config
    tuned = Encoder.load(directory.model, precision=config.model.precision, device=config.model.device)
    base = open_base(config)
    looked = judged(job, tuned, base)
    evaluation, against = without_vectors(looked)
    record = directory.read()
    best = record["best"]
    result = TrainResult(
        run=directory.path,
        best_step=best["step"],
        metric=best["metric"],
        best_value=number(best["value"]),
        base_value=number(best["base"]),
        seconds=time.monotonic() - start,
        evaluation=evaluation,
        against=against,
        comparison=compare(evaluation, against) if is_main() else {},
        leakage=job.leakage,
        dropped=job.dropped,
        anchor=record.get("anchor"),
    )
    wait()
    if is_main():
        if job.task.headed:
            headed.write_confusion(evaluation, directory.confusion)
        answer = result.as_dict()
        write_record(directory.path, answer["evaluation"], evaluation, against)
        directory.update(status="finished", seconds=directory.seconds(), fingerprint=tuned.fingerprint)
        shutil.rmtree(directory.checkpoints, ignore_errors=True)
        if config.evaluation.report:
            _look_behind(job, looked)
    return result


def _look_behind(job: Job, looked: Looked) -> None:
    """Write the analysis of a run that is finished already: whatever happens here, its model and scores stand."""
    folder = job.directory.path
    try:
        write_analysis(folder, analysis(job, looked))
    except Exception as error:  # a fault of ours; those of the data are told part by part
        if is_disk_full(error, folder):
            raise
        logger.exception(
            "analysis: left out, by a fault of embedft; the run stands. Please report it. "
            "'embedft train -o %s --resume' tries again.",
            folder,
        )
