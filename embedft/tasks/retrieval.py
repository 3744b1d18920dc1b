"""Retrieval: find the documents that answer a query. Question answering over passages is the same task."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from embedft.config import DataConfig, RunConfig
from embedft.data import Leak, RetrievalData, drop_leaking_queries, find_leakage, hold_out, read_retrieval
from embedft.data.roles import named_columns
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.evaluation import DEFAULT_METRICS, RetrievalEvaluation, evaluate_retrieval, parse_metrics
from embedft.evaluation.analysis import installed_thesaurus
from embedft.evaluation.errors import retrieval_errors
from embedft.evaluation.stress import StressTable, stress_retrieval
from embedft.tasks.task import Prepared, refuse_scale, without_leaks


class Retrieval:
    """Trained on (query, relevant document) pairs, chosen by nDCG@10."""

    name = "retrieval"
    losses = ("mnrl", "gist", "triplet", "distil_margin_mse", "distil_kl")
    metric = "ndcg@10"
    metrics = DEFAULT_METRICS

    lower_is_better: Collection[str] = ()
    headed = False

    def default_loss(self, _config: RunConfig) -> str:
        """The first of ``losses``."""
        return self.losses[0]

    def read(self, config: DataConfig) -> RetrievalData:
        """BEIR folder or pairs; raises ConfigError and DataError."""
        refuse_scale(config)
        return read_retrieval(
            config.path,
            columns=named_columns(config.columns),
            unknown_ids=config.unknown_ids,
            max_bad=config.max_bad,
        )

    def check_metrics(self, names: Sequence[str]) -> None:
        """Raise ConfigError if one of the names is not a ranking metric."""
        parse_metrics(names)

    def leakage(self, data: RetrievalData) -> list[Leak]:
        """What the training split shares with the others."""
        return find_leakage(data)

    def prepare(self, data: RetrievalData, config: DataConfig, seed: int) -> Prepared:
        """The data with a dev split, and without the training rows that leak if they are to be dropped.

        Raises:
            DataError: there is no training split or no dev split can be made, or training queries are judged
                elsewhere and ``config.leakage`` is "fail".
        """
        data.split("train")
        found = without_leaks(data, config, self.leakage, drop_leaking_queries)
        data = found.data
        if "dev" not in data.qrels:
            data = hold_out(data, "dev", share=config.dev_share, seed=seed)
        if self.training_rows(data).num_rows < 2:
            raise DataError(f"{data.path}: fewer than 2 training pairs are left.", hint="add pairs.")
        return replace(found, data=data)

    def splits(self, data: RetrievalData) -> Sequence[str]:
        """Those with qrels."""
        return list(data.qrels)

    def size(self, data: RetrievalData, split: str) -> str:
        """Queries and documents."""
        return f"{len(data.judged_queries(split)[0])} queries, {data.corpus.num_rows} documents"

    def training_rows(self, data: RetrievalData) -> pa.Table:
        """Columns anchor, positive, negatives."""
        return data.training_pairs("train")

    def dev_view(self, data: RetrievalData, documents: int, seed: int) -> RetrievalData:
        """Dev queries over a part of the corpus: their relevant documents, and others drawn by a hash of their id."""
        qrels = data.split("dev")
        relevant = set(qrels.filter(pc.greater(qrels["grade"], 0))["corpus_id"].to_pylist())
        salt = seed.to_bytes(16, "little")
        others = [document for document in data.corpus["id"].to_pylist() if document not in relevant]
        others.sort(key=lambda document: hashlib.blake2b(document.encode(), digest_size=8, salt=salt).digest())
        kept = relevant.union(others[: max(documents - len(relevant), 0)])
        corpus = data.corpus.filter(pc.is_in(data.corpus["id"], value_set=pa.array(sorted(kept))))
        return replace(data, corpus=corpus, qrels={"dev": qrels}, pairs={})

    def evaluate(
        self,
        encoder: Encoder,
        data: RetrievalData,
        split: str,
        metrics: Sequence[str],
        *,
        show_progress: bool,
        keep_vectors: bool = False,
    ) -> RetrievalEvaluation:
        """The scores of an encoder on a split, over the whole corpus."""
        return evaluate_retrieval(
            encoder, data, split, metrics=metrics, show_progress=show_progress, keep_vectors=keep_vectors
        )

    def options(self, encoder: Encoder, data: RetrievalData, *, show_progress: bool) -> dict[str, Any]:  # noqa: ARG002
        """Nothing."""
        return {}

    def errors(
        self, evaluation: RetrievalEvaluation, against: RetrievalEvaluation | None, data: RetrievalData
    ) -> dict[str, Any]:
        """Queries lost and won, what came instead, hubs, slices."""
        return retrieval_errors(evaluation, against, data)

    def stress(
        self,
        encoder: Encoder,
        data: RetrievalData,
        evaluation: RetrievalEvaluation,
        metric: str,
        *,
        show_progress: bool,
    ) -> StressTable:
        """What stress on the queries takes from a metric."""
        return stress_retrieval(
            encoder,
            data,
            evaluation.split,
            metric=metric,
            documents=evaluation.vectors.documents if evaluation.vectors is not None else None,
            thesaurus=installed_thesaurus(),
            show_progress=show_progress,
        )


TASK = Retrieval()
