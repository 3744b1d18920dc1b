"""What a run costs, measured: some of its own steps, some of its encoding, all of its bookkeeping once.

The steps are the trainer's, on the run's batches, first the largest of them, which decides the memory. Judging is
measured in two parts: `StandIn` counts the texts that a task has encoded and answers with random vectors, so that
search, metrics and bootstraps take the time they take; the encoder's own speed comes from a sample of those texts.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from transformers import TrainerCallback

from embedft.artifacts import sync_tree
from embedft.config import RunConfig
from embedft.encoder import Encoder, Vectors, write_folder
from embedft.errors import ConfigError
from embedft.evaluation import Evaluation, compare, comparison_dict
from embedft.heads.frozen import quick_head
from embedft.tasks import Looked
from embedft.training import headed
from embedft.training.fit import CROSS_ENTROPY, make_trainer
from embedft.training.job import Job, open_base
from embedft.training.judging import analysis
from embedft.training.mining.mined import RefreshedNegatives
from embedft.training.planning.workload import Batch
from embedft.training.queries.query_only import is_query_only
from embedft.training.run import check, open_job
from embedft.training.rundir import RunDirectory
from embedft.training.trainer import RunCallback

if TYPE_CHECKING:
    from embedft.training.heads import CrossEntropy
    from embedft.training.trainer import PairTrainer

# The first step prepares kernels and allocates; it is not timed.
FEWEST_TIMED, MOST_TIMED = 3, 16
SECONDS_FOR_STEPS = 15.0
ENCODED_TEXTS = 384
COUNTED_TEXTS = 2048
# A checkpoint holds the weights and two moments of each.
CHECKPOINT_TIMES_WEIGHTS = 3


@dataclass(frozen=True)
class Judging:
    """What one evaluation takes: texts and tokens to encode, and seconds of everything but encoding."""

    texts: int
    tokens: float
    seconds: float


@dataclass(frozen=True)
class Probe:
    """Measured on this machine.

    Attributes:
        step_seconds, step_tokens: of each timed step.
        encoded_tokens_per_second: of the encoder in its precision.
        dev, final: one evaluation on dev, and the two at the end with their comparison.
        checkpoint_seconds: to write one.
        before_steps, peak: bytes held by the process before the first step and at most; None where the system does
            not tell.
        gpu_peak: the same of the GPU; None without one.
    """

    step_seconds: list[float]
    step_tokens: list[int]
    encoded_tokens_per_second: float
    dev: Judging
    final: Judging
    checkpoint_seconds: float
    before_steps: int | None
    peak: int | None
    gpu_peak: int | None


class StandIn:
    """An encoder that counts what it is given and answers with random vectors; all else is the encoder's.

    Args:
        encoder: whose prompts, tokenizer and dimension count.
        seed: of the vectors.
    """

    def __init__(self, encoder: Encoder, seed: int = 0) -> None:
        self._encoder = encoder
        self._rng = np.random.default_rng(seed)
        self.texts = 0
        self.tokens = 0.0
        self.sample: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_queries(self, texts: Iterable[str], **_: Any) -> Vectors:
        """Random unit vectors, (n, dim)."""
        return self.encode(texts, prompt=self._encoder.prompts["query"])

    def encode_documents(self, texts: Iterable[str], **_: Any) -> Vectors:
        """Random unit vectors, (n, dim)."""
        return self.encode(texts, prompt=self._encoder.prompts["document"])

    def encode(self, texts: Iterable[str], *, prompt: str = "", **_: Any) -> Vectors:
        """Random unit vectors, (n, dim); equal texts are counted once, as they are encoded once."""
        given = list(texts)
        distinct = list(dict.fromkeys(given))
        looked_at = self._some(distinct, COUNTED_TEXTS)
        lengths = [len(ids) for ids in self._encoder.tokenize(looked_at, prompt)] if looked_at else [0]
        self.texts += len(distinct)
        self.tokens += len(distinct) * float(np.mean(lengths))
        self.sample += [prompt + text for text in self._some(looked_at, ENCODED_TEXTS)]
        vectors = self._rng.standard_normal((len(given), self._encoder.dim), dtype=np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors

    @staticmethod
    def _some(texts: Sequence[str], most: int) -> list[str]:
        if len(texts) <= most:
            return list(texts)
        places = np.random.default_rng(0).choice(len(texts), most, replace=False)
        return [texts[place] for place in sorted(places.tolist())]


@dataclass
class Steps(TrainerCallback):
    """Times the steps of a trainer and stops it when there are enough; the first steps can be given batches.

    Attributes:
        first: batches that take the place of those of the first step.
        most: timed steps.
        seconds: timed steps that last longer in all end it too.
    """

    first: list[Batch]
    most: int = MOST_TIMED
    seconds: float = SECONDS_FOR_STEPS
    step_seconds: list[float] = field(default_factory=list)
    step_tokens: list[int] = field(default_factory=list)
    _begun: float = 0.0
    _tokens: int = 0

    def around(self, step: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """The trainer's ``training_step``, with the batches replaced and their tokens counted."""

        def counted(model: Any, inputs: dict[str, Any], *rest: Any, **options: Any) -> torch.Tensor:
            if self.first:
                inputs = dict(self.first.pop())
            self._tokens += sum(int(value.sum()) for key, value in inputs.items() if key.endswith("_attention_mask"))
            return step(model, inputs, *rest, **options)

        return counted

    def on_step_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Start the clock."""
        self._begun, self._tokens = time.perf_counter(), 0

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop it."""
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        if state.global_step > 1:
            self.step_seconds.append(time.perf_counter() - self._begun)
            self.step_tokens.append(self._tokens)
        timed = len(self.step_seconds)
        enough = timed >= self.most or (timed >= FEWEST_TIMED and sum(self.step_seconds) > self.seconds)
        control.should_training_stop = control.should_training_stop or enough


def open_stepped(config: RunConfig, folder: Path) -> Job:
    """The job of a configuration, checked as a run checks it, its negatives not yet mined; ``folder`` is for its files.

    Raises:
        ConfigError: the run takes no steps through the encoder.
        EmbedftError: whatever training would raise before its first step.
    """
    check(config)
    job = open_job(config, RunDirectory(folder), show_progress=False)
    if is_query_only(config) or not job.trains_encoder:
        raise ConfigError(
            "this run takes no steps through the whole encoder: it encodes the texts once and trains "
            + ("what is behind the queries." if is_query_only(config) else "a head on their vectors."),
            hint="start it; a plan is for training.loss: cross_entropy or supcon, and for other tasks."
            if job.task.headed
            else "start it, or leave documents out of training.freeze.",
        )
    job.directory.start(config.model_dump(mode="json"), {}, force=False)
    return job


def silent_trainer(job: Job, steps: int, objective: CrossEntropy | None = None) -> PairTrainer:
    """The trainer of a job, which writes nothing and only steps: no log, evaluation, checkpoint, tracker, mining.

    Args:
        job: of `open_stepped`, its negatives mined.
        steps: of the training.
        objective: with the head of an end-to-end run, see `objective_of`.
    """
    settings = job.config.training.model_copy(update={"report_to": []})
    silent = replace(job, config=job.config.model_copy(update={"training": settings}))
    trainer = make_trainer(silent, steps, lambda _: {}, lambda *_, **__: None, objective=objective)
    for callback in (RunCallback, RefreshedNegatives):
        trainer.remove_callback(callback)
    trainer.args.eval_strategy = trainer.args.save_strategy = "no"
    return trainer


def objective_of(job: Job) -> CrossEntropy | None:
    """The head that is trained with the encoder, if there is one."""
    return headed.make_objective(job) if job.loss == CROSS_ENTROPY else None


def measure(job: Job, trainer: PairTrainer, largest: list[Batch]) -> Probe:
    """Train some steps with ``trainer`` (whose weights they change), encode, judge, and write a checkpoint.

    Args:
        job: of the run.
        trainer: a `silent_trainer` of it.
        largest: the batches of the first step: those with most tokens.

    Raises:
        TrainingError: the first steps diverge.
    """
    before = resident_memory()
    clock = Steps(list(largest))
    run_steps(trainer, clock)
    dev, texts = _dev(job)
    final = final_judging(job, compared=True)
    rate = _encoding_rate(job, texts)
    return Probe(
        step_seconds=clock.step_seconds,
        step_tokens=clock.step_tokens,
        encoded_tokens_per_second=rate,
        dev=dev,
        final=final,
        checkpoint_seconds=_checkpoint_seconds(job),
        before_steps=before,
        peak=peak_memory(),
        gpu_peak=int(torch.cuda.max_memory_allocated()) if job.base.device.startswith("cuda") else None,
    )


def run_steps(trainer: PairTrainer, clock: Steps) -> None:
    """Train with the clock, until it has seen enough."""
    trainer.training_step = clock.around(trainer.training_step)  # type: ignore[method-assign]
    trainer.add_callback(clock)
    trainer.train()


def count_judging(job: Job) -> tuple[Judging, Judging]:
    """One evaluation on dev and the two at the end; what is told of these, which takes longest of it, is left out."""
    return _dev(job)[0], final_judging(job, compared=False)


def _dev(job: Job) -> tuple[Judging, list[str]]:
    """One evaluation on dev, and some of the texts that it encodes."""
    settings = job.config
    view = job.task.dev_view(job.data, settings.evaluation.dev_documents, settings.training.seed)
    model = StandIn(job.base)
    start = time.perf_counter()
    if job.task.headed:
        # A head that is trained with the encoder takes no time of its own: the quick one is the upper bound.
        headed.judge_dev(job, cast(Encoder, model), view, None)
    else:
        job.task.evaluate(cast(Encoder, model), view, "dev", [job.metric], show_progress=False)
    return Judging(model.texts, model.tokens, time.perf_counter() - start), model.sample


def final_judging(job: Job, *, compared: bool) -> Judging:
    """Both evaluations at the end and, if ``compared``, what is told of their difference and lies behind it."""
    models = [StandIn(job.base, seed) for seed in (1, 2)]
    start = time.perf_counter()
    (after, head), (before, other) = (_evaluated(job, model) for model in models)
    if compared:
        comparison_dict(after, before, compare(after, before))
        if job.config.evaluation.report:
            encoders = cast("tuple[Encoder, Encoder]", tuple(models))
            analysis(job, Looked(job.task, job.data, job.metric, encoders, (after, before), (head, other)))
    seconds = time.perf_counter() - start
    return Judging(sum(model.texts for model in models), sum(model.tokens for model in models), seconds)


def _evaluated(job: Job, model: StandIn) -> tuple[Evaluation, dict[str, Any]]:
    """An evaluation at the end and its options; of a task with a head also its fit, on as many texts as it takes."""
    encoder = cast(Encoder, model)
    options: dict[str, Any] = {"head": quick_head(encoder, job.data, seed=0)} if job.task.headed else {}
    if job.task.headed:
        model.encode_documents(job.sets[0].rows["text"].to_pylist())
    keep = job.config.evaluation.report
    evaluation: Evaluation = job.task.evaluate(
        encoder, job.data, job.split, job.metrics, show_progress=False, keep_vectors=keep, **options
    )
    return evaluation, options


def _encoding_rate(job: Job, texts: list[str]) -> float:
    """Tokens a second of the encoder, opened as at the end of a run."""
    encoder = open_base(job.config)
    encoder.encode(texts[:8])
    start = time.perf_counter()
    encoder.encode(texts)
    seconds = time.perf_counter() - start
    return sum(len(ids) for ids in encoder.tokenize(list(dict.fromkeys(texts)))) / seconds


def _checkpoint_seconds(job: Job) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        write_folder(
            job.base.sentence_transformer, Path(folder) / "checkpoint",
            max_length=job.base.max_length, truncate_dim=job.base.truncate_dim,
        )  # fmt: skip
        sync_tree(Path(folder) / "checkpoint")
        return CHECKPOINT_TIMES_WEIGHTS * (time.perf_counter() - start)


def peak_memory() -> int | None:
    """The most memory this process has held, in bytes; None where the system does not tell.

    From Linux's account of it where there is one: ``getrusage`` counts the peak of the parent too.
    """
    return _of_status("VmHWM:") or _peak_by_getrusage()


def resident_memory() -> int | None:
    """The memory this process holds now, in bytes; None where the system does not tell."""
    return _of_status("VmRSS:")


def free_memory() -> int | None:
    """Bytes that programs can still have on this machine; None where the system does not tell."""
    return _of_status("MemAvailable:", Path("/proc/meminfo"))


def _of_status(name: str, file: Path = Path("/proc/self/status")) -> int | None:
    try:
        text = file.read_text()
    except OSError:
        return None
    return int(text.partition(name)[2].split()[0]) * 1024 if name in text else None


def _peak_by_getrusage() -> int | None:
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
