"""Query-only tuning: queries are encoded in a better way, documents as they were.

The vectors of an index that is there stay valid, bit by bit, so that a large corpus is searched better without being
embedded again. What is trained is either an adapter, a linear layer behind the query vectors, or a tower, a copy of the
transformer for queries alone. In both cases the vectors of documents are computed once, and a query is compared with
those of all training documents instead of a batch's.
"""

from __future__ import annotations

import copy
import logging
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch

from embedft.config import RunConfig, TrainingConfig
from embedft.encoder import Encoder, Vectors, with_layer
from embedft.errors import ConfigError
from embedft.evaluation import parse_metrics, rank, score_ranking
from embedft.progress import progress
from embedft.training.fit import make_trainer, total_steps
from embedft.training.job import Job
from embedft.training.losses.masks import negatives_of
from embedft.training.losses.vectorloss import VectorLoss
from embedft.training.prepare import prepare_model
from embedft.training.processes import is_main, wait
from embedft.training.queries.adapter import train_adapter
from embedft.training.queries.stored import Candidates, StoredRanking, StoredVectors
from embedft.training.trackers import tracked_in

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger("embedft")

DOCUMENTS = "documents"
# Steeper than mnrl's 20: a query has thousands of negatives here, not a batch's. On medquad's dev queries an adapter
# reaches nDCG@10 0.844 at 20, 0.870 at 40, 0.871 at 60, 0.866 at 80 and 0.859 at 100.
SCALE = 50.0
# Files of vectors beside the checkpoints; both are gone when the run is finished.
DOCUMENT_VECTORS, QUERY_VECTORS = "documents.npy", "queries.npy"


def is_query_only(config: RunConfig) -> bool:
    """Whether documents are frozen."""
    return DOCUMENTS in config.training.freeze


def is_adapter(config: RunConfig) -> bool:
    """Whether documents are frozen, and all that is trained is a layer behind the query vectors."""
    return is_query_only(config) and config.training.query_side == "adapter"


def check_query_only(config: RunConfig) -> None:
    """Raise ConfigError if a setting does not go with frozen documents."""
    training = config.training
    adapter = training.query_side == "adapter"
    negatives = training.hard_negatives
    odd_options = sorted(set(training.loss_options) - {"scale"})
    whole = "an adapter has no layers: set training.query_side: tower, or leave it out."
    faults = [
        (config.task != "retrieval", f"task is {config.task}", "freeze documents for retrieval only."),
        (len(training.freeze) > 1, f"training.freeze is {', '.join(training.freeze)}", "freeze documents alone."),
        (training.loss not in (None, "mnrl"), f"training.loss is {training.loss}", "use mnrl."),
        (bool(odd_options), f"training.loss_options has {', '.join(odd_options)}", "only scale can be set here."),
        (bool(training.matryoshka), "training.matryoshka is set", "leave it out: documents keep their vectors."),
        (bool(config.data.also), "data.also is set", "leave it out."),
        (training.gradient_cache, "training.gradient_cache is on", "leave it out: no document is embedded in a step."),
        (training.anchor is not None, "training.anchor is set", "leave it out: documents are not changed at all."),
        (training.lora is not None, "training.lora is set", "leave it out."),
        (
            negatives is not None and negatives.refresh_every is not None,
            "training.hard_negatives.refresh_every is set",
            "leave it out: each query is compared with all training documents.",
        ),
        (adapter and training.layer_decay is not None, "training.layer_decay is set", whole),
        (adapter and training.ema is not None, "training.ema is set", whole),
        (adapter and training.gradient_checkpointing, "training.gradient_checkpointing is on", whole),
        (adapter and training.gradient_accumulation > 1, "training.gradient_accumulation is set", "use batch_size."),
        (
            adapter and training.max_length != TrainingConfig().max_length,
            "training.max_length is set",
            "queries are embedded once, as they are searched: use model.max_length, or training.query_side: tower.",
        ),
        (adapter and bool(training.report_to), "training.report_to is set", "read train_log.jsonl instead."),
    ]
    for wrong, found, hint in faults:
        if wrong:
            raise ConfigError(f"{found}, and training.freeze has documents: they do not go together.", hint=hint)


def check_trainable(config: RunConfig, base: Encoder) -> None:
    """Raise ConfigError if the encoder has a query side of its own, and both sides were to be trained as one."""
    if base.query_side is not base and not is_query_only(config):
        raise ConfigError(
            f"model.name is {base.name}, which encodes queries by modules of their own.",
            hint="train the encoder that it was made from, or freeze documents: training.freeze: [documents].",
        )


def fit_queries(job: Job) -> None:
    """Train the side of the queries, and write the model of the best step; in place of `embedft.training.fit.fit`.

    Raises:
        DataError: there are fewer batches than processes.
        DiskFullError: the disk ran full; vectors and checkpoints that are complete are kept.
    """
    stored = Frozen(job)
    dev_queries = job.base.encode_queries(stored.dev_queries)
    base_value = stored.dev_value(dev_queries)
    if is_main():
        job.directory.update(base_value=base_value)
    logger.info(
        "training the queries of %d rows against %d documents, dev: %s, %s of the base model %.4f",
        stored.rows.num_rows, len(stored.training_documents.ids), job.task.size(stored.dev, "dev"), job.metric,
        base_value,
    )  # fmt: skip
    if is_adapter(job.config):
        if is_main():
            _keep(job, *_adapter(job, stored, dev_queries, base_value), base_value)
    else:
        step, value, modules = _tower(job, stored, base_value)
        if is_main():
            _keep(job, step, value, modules, base_value)
    wait()


class Frozen:
    """What does not change while queries are trained: the vectors of documents, and how dev is judged by them.

    Attributes:
        rows: of training.
        dev: the data of dev.
        dev_queries: the texts of its judged queries.
        training_documents: vectors of the positives and negatives of the rows.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        rows = self.rows = job.sets[0].rows
        self.dev = job.task.dev_view(job.data, job.config.evaluation.dev_documents, job.config.training.seed)
        self._dev_ids, self.dev_queries = self.dev.judged_queries("dev")
        trained = training_texts(rows)
        texts = [*trained, *self.dev.document_texts()]
        self.folder = job.directory.checkpoints
        # The first process embeds them; the others then read what it wrote.
        if is_main():
            self.folder.mkdir(parents=True, exist_ok=True)
            documents = self._write(texts)
        wait()
        if not is_main():
            documents = self._write(texts)
        self.training_documents = documents.first(len(trained))
        self._dev_vectors = documents.of(self.dev.document_texts())

    def dev_value(self, queries: Vectors) -> float:
        """The metric of the run for vectors of dev's queries, (queries, dim), over the documents of dev."""
        ids, metric = self.dev.corpus["id"].to_pylist(), self.job.metric
        ranking = rank(self._dev_ids, queries, ids, self._dev_vectors, parse_metrics([metric])[0].k)
        return float(score_ranking(ranking, self.dev.split("dev"), [metric])[metric].mean())

    @cached_property
    def candidates(self) -> Candidates:
        """The training documents, batch by batch."""
        base, seed = self.job.base, self.job.config.training.seed
        return Candidates(self.rows, self.training_documents, device=base.device, seed=seed)

    @property
    def scale(self) -> float:
        """Of the loss."""
        return float(self.job.config.training.loss_options.get("scale", SCALE))

    def _write(self, texts: list[str]) -> StoredVectors:
        base = self.job.base
        path, prompt = self.folder / DOCUMENT_VECTORS, base.prompts["document"]
        return StoredVectors.write(path, base, texts, prompt, show_progress=self.job.show_progress)


def training_texts(rows: pa.Table) -> list[str]:
    """The distinct positives and negatives of training rows, in the order in which their vectors are stored."""
    negatives, _ = negatives_of(rows)
    return list(dict.fromkeys([*rows["positive"].to_pylist(), *negatives.to_pylist()]))


class QueryCollator:
    """Training rows into the features of their anchors, and the numbers of the rows as the label."""

    valid_label_columns = ("label",)

    def __init__(self, encoder: Encoder, max_length: int) -> None:
        self.encoder = encoder
        self.max_length = max_length

    def __call__(self, rows: list[dict[str, Any]], _step: int = 0) -> dict[str, Any]:
        """Keys ``anchor_input_ids``, ``anchor_attention_mask`` and ``label``."""
        from embedft.training.batches import features_of

        texts, prompt = [row["anchor"] for row in rows], self.encoder.prompts["query"]
        features = features_of("anchor", texts, prompt, self.encoder, self.max_length)
        return features | {"label": torch.tensor([row["row"] for row in rows])}


def _adapter(
    job: Job, stored: Frozen, dev_queries: Vectors, base_value: float
) -> tuple[int, float, SentenceTransformer | None]:
    """Step, value on dev and modules of the best adapter; no modules where the base is best."""
    side, device = job.base.query_side, job.base.device
    anchors = stored.rows["anchor"].to_pylist()
    path, prompt = stored.folder / QUERY_VECTORS, job.base.prompts["query"]
    distinct = StoredVectors.write(path, side, anchors, prompt, show_progress=job.show_progress)
    queries = torch.from_numpy(distinct.of(anchors)).to(device)
    dev = torch.from_numpy(dev_queries).to(device)

    def score(weight: torch.Tensor) -> float:
        adapted = torch.nn.functional.normalize(dev @ weight.T, dim=1)
        return stored.dev_value(adapted.cpu().numpy())

    with progress("training", None, "steps", enabled=job.show_progress) as advance:
        best = train_adapter(
            queries, stored.candidates, score, settings=job.config.training, scale=stored.scale,
            base_value=base_value, metric=job.metric, log=job.directory.log, advance=advance,
        )  # fmt: skip
    if best.step == 0:
        return 0, base_value, None
    modules = side.sentence_transformer
    whole = torch.eye(int(modules.get_embedding_dimension() or job.base.dim))
    # Where vectors are cut to their first dimensions, the others are not touched.
    whole[: job.base.dim, : job.base.dim] = best.weight.cpu()
    return best.step, best.value, with_layer(modules, whole.to(device))


def _tower(job: Job, stored: Frozen, base_value: float) -> tuple[int, float, SentenceTransformer | None]:
    """Step, value on dev and modules of the best tower; no modules where the base is best."""
    from embedft.training.batches import SetCollator
    from embedft.training.trainer import ended_state, load_weights, newest_checkpoint

    settings = job.config.training
    modules = copy.deepcopy(job.base.query_side.sentence_transformer)
    prepare_model(modules, settings)
    tower = job.base.query_side.of(modules, job.config.model.precision)

    def score(candidate: Encoder) -> dict[str, float]:
        return {job.metric: stored.dev_value(candidate.encode_queries(stored.dev_queries))}

    steps = total_steps(job)
    checkpoint = newest_checkpoint(stored.folder)
    with (
        tracked_in(job.directory.path / "trackers", settings.report_to),
        progress("training", steps, "steps", enabled=job.show_progress) as advance,
    ):
        trainer = make_trainer(replace(job, base=tower), steps, score, advance)
        objective = StoredRanking(stored.candidates, scale=stored.scale)
        trainer.loss = VectorLoss(objective, modules, dims=[job.base.truncate_dim])
        trainer.data_collator = SetCollator({job.sets[0].name: QueryCollator(tower, settings.max_length)})
        state = ended_state(checkpoint, job.metric, settings.patience, steps) if checkpoint else None
        if state is None:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            state = trainer.state
    if state.best_metric is None or state.best_metric <= base_value:
        return 0, base_value, None
    load_weights(modules, stored.folder / f"checkpoint-{state.best_global_step}")
    return int(state.best_global_step), float(state.best_metric), modules


def _keep(job: Job, step: int, value: float, modules: SentenceTransformer | None, base_value: float) -> None:
    """Write the encoder with the new query side, or the base where there is none."""
    if modules is None:
        logger.warning("nothing was better on dev than the base model (%s %.4f): it is kept", job.metric, base_value)
    encoder = job.base if modules is None else job.base.with_query_side(modules)
    encoder.save(job.directory.model, force=True)
    best = {"step": step, "metric": job.metric, "value": value, "base": base_value}
    job.directory.update(status="trained", best=best)
