"""A run's model against the one that it began from: their scores, and what lies behind these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

from embedft.encoder import Encoder
from embedft.evaluation import Evaluation
from embedft.tasks import Looked
from embedft.training import headed
from embedft.training.job import Job
from embedft.training.processes import is_main


def judged(job: Job, tuned: Encoder, base: Encoder) -> Looked:
    """What the new and the base model score on the judged split."""
    # Of several processes the first one alone looks into them.
    keep = job.config.evaluation.report and is_main()
    evaluations: tuple[Evaluation, Evaluation]
    options: tuple[dict[str, Any], dict[str, Any]] = {}, {}
    if job.task.headed:
        evaluations, (head, other) = headed.judge(job, tuned, base, keep_vectors=keep)
        options = {"head": head}, {"head": other}
    else:
        after, before = (
            job.task.evaluate(
                encoder, job.data, job.split, job.metrics, show_progress=job.show_progress, keep_vectors=keep
            )
            for encoder in (tuned, base)
        )
        evaluations = after, before
    return Looked(job.task, job.data, job.metric, (tuned, base), evaluations, options, job.show_progress)


def analysis(job: Job, looked: Looked) -> dict[str, Any]:
    """What lies behind the scores, as far as the settings ask for it."""
    wanted = job.config.evaluation
    return looked.analysis(
        guard=wanted.guard or "bundled",
        unknown_ids=job.config.data.unknown_ids,
        ladder=wanted.ladder,
        stress=wanted.stress,
        trained_dims=job.config.training.matryoshka or None,
    )


def without_vectors(looked: Looked) -> tuple[Evaluation, Evaluation]:
    """Both evaluations, without the vectors that only `analysis` needs: a result outlives it."""
    after, before = (replace(cast(Any, evaluation), vectors=None) for evaluation in looked.evaluations)
    return after, before
