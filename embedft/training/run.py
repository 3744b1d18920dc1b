"""One training run, from a configuration to a directory that proves what it achieved."""

from __future__ import annotations

import logging
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedft.artifacts import atomic_directory, disk_errors, write_json
from embedft.config import RunConfig
from embedft.data import Leak
from embedft.encoder import Encoder, fast_bfloat16, write_folder
from embedft.errors import ConfigError
from embedft.evaluation import Comparison, Evaluation, compare
from embedft.progress import progress
from embedft.tasks import Task, get_task, require_split
from embedft.training.losses import LOSSES, build_loss, check_loss, rows_for
from embedft.training.rundir import RunDirectory, environment

logger = logging.getLogger("embedft")

# Peak learning rate times hidden size: small models bear larger steps than the 2e-5 to 8e-5 that are usual at 768 and
# 1024. The figures of the README were measured with it (2.1e-4 at hidden 384); other rates were not compared.
LEARNING_RATE_TIMES_HIDDEN = 0.08
DEV_EVALUATIONS = 8
# Where the number of epochs is not set. On medquad (148 steps an epoch) dev is best after 0.6 of one.
FEWEST_STEPS, MOST_EPOCHS = 100, 10


@dataclass(frozen=True)
class TrainResult:
    """What a run came to.

    Attributes:
        run: its directory; the encoder is in ``run / "model"``.
        best_step: the step whose weights were kept; 0 if no step beat the base model on dev.
        metric, best_value, base_value: the dev metric that chose it, its value there and for the base model.
        seconds: wall time of this call.
        evaluation, against: scores of the new and of the base model on the judged split.
        comparison: metric name -> difference, interval, p-value, verdict.
        leakage: what training and the other splits share.
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

    def as_dict(self) -> dict[str, Any]:
        """For JSON; ``evaluation`` has the shape that ``embedft evaluate --json`` prints."""
        return {
            "run": str(self.run),
            "best": {"step": self.best_step, "metric": self.metric, "value": self.best_value, "base": self.base_value},
            "seconds": round(self.seconds, 1),
            "leakage": [leak.as_dict() for leak in self.leakage],
            "evaluation": comparison_dict(self.evaluation, self.against, self.comparison),
        }


def comparison_dict(
    evaluation: Evaluation, against: Evaluation | None, comparison: dict[str, Comparison]
) -> dict[str, Any]:
    """The JSON shape of an evaluation with what it was compared against, if anything."""
    answer = evaluation.as_dict()
    if against is not None:
        answer["against"] = {"model": against.model, "metrics": against.metrics}
        answer["comparison"] = {name: value.as_dict() for name, value in comparison.items()}
    return answer


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
        ConfigError: a setting does not fit the task, the model or the run to be resumed.
        DataError: the data is missing, broken, or has no usable training pairs.
        ModelError: the base model cannot be opened.
        ArtifactError: the directory is in the way.
        DiskFullError: the disk ran full; the last complete checkpoint is kept.
    """
    start = time.monotonic()
    task = get_task(config.task)
    metric = config.evaluation.metric or task.metric
    metrics = list(dict.fromkeys([metric, *(config.evaluation.metrics or task.metrics)]))
    task.check_metrics(metrics)
    loss = config.training.loss or task.losses[0]
    options = config.training.loss_options
    check_loss(loss, options, tuple(task.losses), gradient_cache=config.training.gradient_cache)
    directory = RunDirectory(Path(output))
    if Path(config.model.name).resolve() == directory.model.resolve():
        raise ConfigError(
            f"model.name is {config.model.name}, the model of the run that would be replaced.", hint="name another -o."
        )
    if resume:
        directory.read()
    with disk_errors(directory.path), directory.locked():
        if not resume:
            directory.require_startable(force=force)
        settings = config.model_dump(mode="json")
        read = task.read(config.data)
        leakage = task.leakage(read)
        data = task.prepare(read, config.data, config.training.seed)
        rows_for(loss, task.training_rows(data))
        split = judged_split(config, task, data)
        base = open_base(config)
        if resume:
            directory.check_resumable(settings, dict(data.files), base.fingerprint)
            _warn_of_other_threads(directory)
        else:
            record = {
                "base_fingerprint": base.fingerprint,
                "data": data.manifest(),
                "leakage": [leak.as_dict() for leak in leakage],
                "environment": environment(),
            }
            directory.start(settings, record, force=force)
        _report(leakage)
        if split == "dev":
            logger.warning("no test split: dev judges the run and also chose its best step, so the gain is optimistic")
        if directory.read()["status"] == "training":
            _fit(config, task, data, base, directory, metric, show_progress)
        return _judge(config, task, data, directory, metrics, split, leakage, start, show_progress)


def _warn_of_other_threads(directory: RunDirectory) -> None:
    began, now = directory.read().get("environment", {}).get("threads"), environment()["threads"]
    if began not in (None, now):
        logger.warning(
            "the run began on %s threads and goes on with %s: its weights will differ in rounding", began, now
        )


def open_base(config: RunConfig) -> Encoder:
    """The encoder that ``config.model`` describes."""
    model = config.model
    return Encoder.load(
        model.name,
        prompts=model.prompts,
        max_length=model.max_length,
        truncate_dim=model.truncate_dim,
        precision=model.precision,
        device=model.device,
    )


def judged_split(config: RunConfig, task: Task, data: Any) -> str:
    """The split that proves the run: the one named, else test if there is one, else dev; raises DataError."""
    split = config.evaluation.split or ("test" if "test" in task.splits(data) else "dev")
    require_split(task, data, split)
    if split == "train":
        raise ConfigError("evaluation.split is 'train'.", hint="judge on a split that was not trained on: dev or test.")
    return split


def _report(leakage: list[Leak]) -> None:
    for leak in leakage:
        level = logging.WARNING if leak.severe else logging.INFO
        logger.log(
            level,
            "leakage: %d (%.1f %%) of split %s share a %s with train, e.g. %r",
            leak.count,
            100 * leak.share,
            leak.split,
            leak.kind,
            leak.examples[0][:60],
        )


def _fit(
    config: RunConfig,
    task: Task,
    data: Any,
    encoder: Encoder,
    directory: RunDirectory,
    metric: str,
    show_progress: bool,
) -> None:
    """Train, and write the model of the best step."""
    from datasets import Dataset

    from embedft.training.batches import number_of_batches
    from embedft.training.trainer import (
        DevEvaluator,
        PairTrainer,
        RunCallback,
        ended_state,
        load_weights,
        newest_checkpoint,
        training_arguments,
    )

    settings = config.training
    loss = settings.loss or task.losses[0]
    pairs = rows_for(loss, task.training_rows(data))
    dev = task.dev_view(data, config.evaluation.dev_documents, settings.seed)

    def score(candidate: Encoder) -> dict[str, float]:
        return task.evaluate(candidate, dev, "dev", [metric], show_progress=False).metrics

    steps = settings.max_steps or _steps(settings.epochs, number_of_batches(pairs.num_rows, settings.batch_size))
    eval_every = settings.eval_every or max(steps // DEV_EVALUATIONS, 1)
    model = encoder.sentence_transformer
    device = model.device.type
    use_bf16 = config.model.precision != "float32" and (config.model.precision == "bfloat16" or fast_bfloat16(device))
    checkpoint = newest_checkpoint(directory.checkpoints)
    base_value = directory.read().get("base_value")
    if base_value is None:
        base_value = score(encoder)[metric]
        directory.update(base_value=base_value)
    hidden = int(model[0].config.hidden_size)
    logger.info(
        "training on %d pairs, %d steps of %d, dev: %s, %s of the base model %.4f",
        pairs.num_rows, steps, settings.batch_size, task.size(dev, "dev"), metric, base_value,
    )  # fmt: skip
    arguments = training_arguments(
        folder=directory.checkpoints,
        steps=steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate or LEARNING_RATE_TIMES_HIDDEN / hidden,
        weight_decay=settings.weight_decay,
        warmup=settings.warmup,
        max_grad_norm=settings.max_grad_norm,
        eval_every=eval_every,
        metric=metric,
        seed=settings.seed,
        bf16=use_bf16,
        use_cpu=device == "cpu",
    )
    with progress("training", steps, "steps", enabled=show_progress) as advance:
        callback = RunCallback(log=directory.log, metric=metric, patience=settings.patience, advance=advance)
        trainer = PairTrainer(
            encoder=encoder,
            max_length=settings.max_length,
            scored=LOSSES[loss].needs.startswith("scored"),
            args=arguments,
            train_dataset=Dataset(pairs),
            loss=build_loss(
                loss,
                settings.loss_options,
                model,
                encoder.truncate_dim,
                gradient_cache=settings.gradient_cache,
            ),
            evaluator=DevEvaluator(score, encoder, config.model.precision),
            callbacks=[callback],
        )
        # A run that was killed between its last checkpoint and its model has nothing left to train.
        state = ended_state(checkpoint, metric, settings.patience, steps) if checkpoint else None
        if state is None:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            state = trainer.state
    best_step, best_value = int(state.best_global_step or 0), state.best_metric
    if best_value is not None and best_value > base_value:
        load_weights(model, directory.checkpoints / f"checkpoint-{best_step}")
    else:
        best_step, best_value = 0, base_value
        logger.warning(
            "no step was better on dev than the base model (%s %.4f): its weights are kept", metric, base_value
        )
        model = open_base(config).sentence_transformer
    with atomic_directory(directory.model, force=True) as staged:
        write_folder(model, staged, max_length=encoder.max_length, truncate_dim=encoder.truncate_dim)
    best = {"step": best_step, "metric": metric, "value": float(best_value), "base": base_value}
    directory.update(status="trained", best=best)


def _steps(epochs: float | None, batches: int) -> int:
    """How many steps a run has, given how many batches an epoch has."""
    if epochs is None:
        epochs = min(max(1, math.ceil(FEWEST_STEPS / batches)), MOST_EPOCHS)
    return max(math.ceil(epochs * batches), 1)


def _judge(
    config: RunConfig,
    task: Task,
    data: Any,
    directory: RunDirectory,
    metrics: list[str],
    split: str,
    leakage: list[Leak],
    start: float,
    show_progress: bool,
) -> TrainResult:
    """Score the new and the base model, write the evidence, and close the run."""
    tuned = Encoder.load(directory.model, precision=config.model.precision, device=config.model.device)
    evaluation = task.evaluate(tuned, data, split, metrics, show_progress=show_progress)
    against = task.evaluate(open_base(config), data, split, metrics, show_progress=show_progress)
    comparison = compare(evaluation, against)
    best = directory.read()["best"]
    result = TrainResult(
        run=directory.path,
        best_step=best["step"],
        metric=best["metric"],
        best_value=best["value"],
        base_value=best["base"],
        seconds=time.monotonic() - start,
        evaluation=evaluation,
        against=against,
        comparison=comparison,
        leakage=leakage,
    )
    evaluation.write_per_query(directory.per_query, against)
    answer = result.as_dict()
    write_json(directory.metrics, answer["evaluation"])
    directory.update(status="finished", seconds=answer["seconds"], fingerprint=tuned.fingerprint)
    shutil.rmtree(directory.checkpoints, ignore_errors=True)
    return result
