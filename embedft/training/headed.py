"""Runs of tasks that have a head on the vectors: how a step is scored, what is kept, and what it is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from embedft.artifacts import atomic_directory, write_json
from embedft.config import HeadConfig, RunConfig
from embedft.encoder import Encoder
from embedft.errors import ConfigError
from embedft.evaluation import Evaluation
from embedft.heads.frozen import centroid_head, quick_head
from embedft.heads.head import Head
from embedft.training.heads import CrossEntropy, cross_entropy, fit_head, head_of
from embedft.training.job import Job, open_base
from embedft.training.sets import FROZEN

# What has no meaning where the encoder stays as it is.
ENCODER_SETTINGS = (
    "loss_options", "matryoshka", "guide", "hard_negatives", "gradient_cache", "gradient_checkpointing", "lora",
    "freeze", "query_side", "anchor", "layer_decay", "ema", "report_to", "epochs", "max_steps", "batch_size",
    "max_length", "learning_rate", "weight_decay", "warmup", "max_grad_norm", "eval_every", "patience",
    "gradient_accumulation", "mixing_temperature",
)  # fmt: skip


def check_head(config: RunConfig, loss: str, losses: Sequence[str]) -> None:
    """Raise ConfigError if the kind of head and the loss do not go together."""
    kind = config.head.kind
    if loss not in losses:
        raise ConfigError(f"training.loss is {loss!r}.", hint=f"this task can use {', '.join(losses)}.")
    end_to_end = loss == "cross_entropy"
    if end_to_end and kind == "logistic":
        raise ConfigError(
            "training.loss is cross_entropy, and head.kind is logistic, which is fitted on vectors that stay.",
            hint="use head.kind: linear or mlp, or leave training.loss out.",
        )
    if not end_to_end and kind != "logistic":
        raise ConfigError(
            f"head.kind is {kind}, which is trained with the encoder, and training.loss is {loss}.",
            hint="use training.loss: cross_entropy, or head.kind: logistic.",
        )
    if kind != "mlp" and (config.head.hidden, config.head.dropout) != (HeadConfig().hidden, HeadConfig().dropout):
        raise ConfigError(
            f"head.hidden or head.dropout is set, and head.kind is {kind}, which has no hidden layer.",
            hint="leave them out, or use head.kind: mlp.",
        )
    if kind == "mlp" and config.head.regularisation is not None:
        raise ConfigError(
            "head.regularisation is set, and head.kind is mlp, which has no C.",
            hint="leave it out, or use head.kind: logistic or linear.",
        )
    if end_to_end and config.training.anchor is not None:
        raise ConfigError(
            "training.anchor is set, and training.loss is cross_entropy: the head fits the new encoder alone.",
            hint="leave anchor out, or use training.loss: supcon.",
        )
    if loss == FROZEN:
        _refuse_training(config)


def _refuse_training(config: RunConfig) -> None:
    """Raise ConfigError if a setting of the encoder's training is set, and it is not trained."""
    training = config.training
    asked = [
        name
        for name in ENCODER_SETTINGS
        if getattr(training, name) != type(training).model_fields[name].get_default(call_default_factory=True)
    ]
    asked = [f"training.{name}" for name in asked] + (["data.also"] if config.data.also else [])
    if asked:
        raise ConfigError(
            f"{asked[0]} is set, and nothing is trained but the head.",
            hint="leave it out, or train the encoder: training.loss: supcon, or head.kind: linear.",
        )


def keep_frozen(job: Job) -> None:
    """Write a run whose encoder is not trained: the base as its model, and the head that is fitted on it.

    Its step is 0; its value on dev is the head's, the one of the base that of the nearest class centroid.
    """
    encoder = open_base(job.config)
    encoder.save(job.directory.model, force=True)
    tuned = _kept(job)
    head = fit_head(tuned, job.data, job.config, show_progress=job.show_progress)
    save(head, job.directory.head)
    value, base = (_dev(job, tuned, chosen) for chosen in (head, _centroids(job, tuned, head)))
    best = {"step": 0, "metric": job.metric, "value": value, "base": base}
    job.directory.update(status="trained", base_value=base, best=best)


def judge_dev(job: Job, encoder: Encoder, dev: Any, objective: CrossEntropy | None) -> Evaluation:
    """The scores on dev of an encoder in training: with the head that is trained with it, else with a quick one."""
    head = objective.head if objective is not None else quick_head(encoder, dev, seed=job.config.training.seed)
    return job.task.evaluate(encoder, dev, "dev", [job.metric], show_progress=False, head=_free(head))


def make_objective(job: Job) -> CrossEntropy:
    """The objective of an end-to-end run, its head begun on the base's vectors."""
    return cross_entropy(job.base, job.data, job.config)


def keep_head(job: Job, objective: CrossEntropy | None, *, base: bool) -> None:
    """Fit or take over the head of the encoder that was kept, and write it beside it.

    Args:
        job: whose model is written.
        objective: with the head of the kept step, in an end-to-end run.
        base: whether no step was better than the base.
    """
    encoder = _kept(job)
    if objective is None:
        head = fit_head(encoder, job.data, job.config, show_progress=job.show_progress)
    else:
        head = head_of(make_objective(job) if base else objective, encoder, job.data, job.config)
    save(head, job.directory.head)


def judge(
    job: Job, tuned: Encoder, base: Encoder, *, keep_vectors: bool = False
) -> tuple[tuple[Evaluation, Evaluation], tuple[Head, Head]]:
    """The scores of a run and of what it is compared with, and their heads.

    A trained encoder with its head is compared with a logistic head on the base; a head on a frozen encoder with the
    nearest class centroid on the same.
    """
    head = Head.load(job.directory.head)
    if not job.trains_encoder:
        simple, name = _centroids(job, base, head), f"{base.name}, nearest centroid"
    else:
        # Not a head that stands beside the base: it may know other labels, and fit other lengths or prompts.
        simple, name = fit_head(base, job.data, job.config), f"{base.name}, logistic head"
    options = {"show_progress": job.show_progress, "keep_vectors": keep_vectors}
    evaluation = job.task.evaluate(tuned, job.data, job.split, job.metrics, head=head, **options)
    against: Any = job.task.evaluate(base, job.data, job.split, job.metrics, head=simple, **options)
    return (evaluation, replace(against, model=name)), (head, simple)


def write_confusion(evaluation: Any, path: Path) -> None:
    """Write the classes and the confusion matrix of an evaluation as JSON."""
    write_json(path, evaluation.confusion_dict(), strict=True)


def save(head: Head, folder: Path) -> None:
    """Write a head in place of the one that is there, atomically."""
    with atomic_directory(folder, force=True) as staged:
        head.save(staged)


def _free(head: Head) -> Head:
    """The head, bound to no encoder: weights in training have a new fingerprint at each step."""
    return replace(head, encoder="")


def _kept(job: Job) -> Encoder:
    return Encoder.load(job.directory.model, precision=job.config.model.precision, device=job.config.model.device)


def _centroids(job: Job, encoder: Encoder, fitted: Head) -> Head:
    """The nearest class centroid on the vectors that a head of the same encoder keeps of its texts."""
    known = fitted.examples.vectors.astype(np.float32) if fitted.examples else None
    return centroid_head(encoder, job.data, job.config.head, vectors=known)


def _dev(job: Job, encoder: Encoder, head: Head) -> float:
    dev = job.task.dev_view(job.data, job.config.evaluation.dev_documents, job.config.training.seed)
    found = job.task.evaluate(encoder, dev, "dev", [job.metric], show_progress=False, head=head)
    return found.metrics[job.metric]
