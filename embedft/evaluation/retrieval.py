"""Score an encoder on retrieval data: encode, rank exactly, judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embedft.data import RetrievalData
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.evaluation.comparison import Comparison, compare_scores
from embedft.evaluation.digest import digest_of_retrieval
from embedft.evaluation.evaluation import heading
from embedft.evaluation.judgments import Judgments
from embedft.evaluation.metrics import DEFAULT_METRICS, parse_metrics
from embedft.evaluation.ranking import Ranking, rank
from embedft.evaluation.significance import ROUNDS, bootstrap_interval
from embedft.evaluation.vectors import Vectors


@dataclass(frozen=True)
class RetrievalEvaluation:
    """The scores of one model on one split.

    Attributes:
        model, data, split: what was scored on what.
        query_ids: the judged queries.
        per_query: metric name -> (queries,) scores.
        ranking: what the scores were computed from, in the order of ``query_ids``.
        queries: the texts of the queries.
        data_sha256: of what was judged (`embedft.evaluation.digest`); None if that is not known.
        fingerprint: of the encoder; None where none was asked.
        vectors: in the order of the queries and of the corpus, if they were kept.
    """

    model: str
    data: str
    split: str
    query_ids: list[str]
    per_query: dict[str, npt.NDArray[np.float64]]
    ranking: Ranking
    queries: list[str] = field(default_factory=list)
    data_sha256: str | None = None
    fingerprint: str | None = None
    vectors: Vectors | None = field(default=None, repr=False)
    task: str = "retrieval"
    unit: str = "queries"

    @property
    def count(self) -> int:
        """How many queries were judged."""
        return len(self.query_ids)

    @property
    def metrics(self) -> dict[str, float]:
        """Metric name -> mean over the queries."""
        return {name: float(scores.mean()) for name, scores in self.per_query.items()}

    def intervals(self, *, seed: int = 0) -> dict[str, tuple[float, float]]:
        """Metric name -> 95 % bootstrap interval; no numbers of one query, or where a score is none."""
        nothing = float("nan"), float("nan")
        return {
            name: nothing if len(scores) < 2 or np.isnan(scores).any() else bootstrap_interval(scores, seed=seed)
            for name, scores in self.per_query.items()
        }

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what was scored on what (`embedft.evaluation.evaluation.heading`), metrics, intervals, queries."""
        return {
            **heading(self),
            "metrics": self.metrics,
            "intervals": {name: list(ends) for name, ends in self.intervals().items()},
            "queries": len(self.query_ids),
        }

    def write_per_query(self, file: Any, against: RetrievalEvaluation | None = None) -> None:
        """Write query_id, query and a column a metric as Parquet, and ``against:<metric>`` for the other model."""
        texts = pa.array(self.queries, pa.string()) if self.queries else pa.nulls(self.count, pa.string())
        columns: dict[str, Any] = {"query_id": self.query_ids, "query": texts, **self.per_query}
        if against is not None:
            columns |= {f"against:{name}": scores for name, scores in against.per_query.items()}
        pq.write_table(pa.table(columns), file)

    def compare(self, against: RetrievalEvaluation, *, rounds: int = ROUNDS) -> dict[str, Comparison]:
        """Metric name -> how this model differs from another on the same queries.

        Args:
            against: the other.
            rounds: of the test; with many comparisons to be corrected it takes more, see `randomization_p_value`.

        Raises:
            DataError: the two did not score the same queries of the same data, or have no metric in common.
        """
        if self.query_ids != against.query_ids:
            raise DataError(
                f"{self.model} was scored on {len(self.query_ids)} queries of {self.data}, "
                f"{against.model} on {len(against.query_ids)} other queries of {against.data}.",
                hint="evaluate both on the same data and split.",
            )
        shared = [name for name in self.per_query if name in against.per_query]
        if not shared:
            raise DataError(
                "the two evaluations have no metric in common.", hint="evaluate both with the same metrics."
            )
        return {
            name: compare_scores(self.per_query[name], against.per_query[name], names=self.query_ids, rounds=rounds)
            for name in shared
        }


def evaluate_retrieval(
    encoder: Encoder,
    data: RetrievalData,
    split: str = "test",
    *,
    metrics: Sequence[str] = DEFAULT_METRICS,
    show_progress: bool = False,
    keep_vectors: bool = False,
) -> RetrievalEvaluation:
    """The scores of ``encoder`` on the judged queries of ``split``, over the whole corpus.

    Queries without a relevant document are left out. All metrics come from one exact ranking.

    Args:
        encoder: encodes queries and documents with its own prompts.
        data: corpus, queries, qrels.
        split: which qrels.
        metrics: names like ``ndcg@10``; kinds ndcg, mrr, recall, precision, map.
        show_progress: on standard error.
        keep_vectors: with the evaluation.

    Raises:
        ConfigError: an unknown metric.
        DataError: the split is missing or has no judged query.
    """
    wanted = parse_metrics(metrics)
    query_ids, query_texts = data.judged_queries(split)
    if not query_ids:
        raise DataError(f"{data.path}: no query of split {split!r} has a relevant document.", hint="check the grades.")
    documents = encoder.encode_documents(data.document_texts(), show_progress=show_progress)
    queries = encoder.encode_queries(query_texts, show_progress=show_progress)
    depth = max(metric.k for metric in wanted)
    ranking = rank(query_ids, queries, data.corpus["id"].to_pylist(), documents, depth)
    return RetrievalEvaluation(
        encoder.name,
        str(data.path),
        split,
        query_ids,
        score_ranking(ranking, data.split(split), metrics),
        ranking,
        queries=query_texts,
        data_sha256=digest_of_retrieval(data, split),
        fingerprint=encoder.fingerprint,
        vectors=Vectors(documents, queries) if keep_vectors else None,
    )


def score_ranking(
    ranking: Ranking, qrels: pa.Table | Judgments, metrics: Sequence[str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Metric name -> (queries,) scores of any ranking.

    Args:
        ranking: of judged queries.
        qrels: of the ranked queries; or their `Judgments`, looked up once for many rankings.
        metrics: names like ``ndcg@10``.

    Raises:
        ConfigError: an unknown metric.
        DataError: a ranked query has no relevant document.
    """
    judged = ranking.judge(qrels)
    return {metric.name: metric(judged) for metric in parse_metrics(metrics)}
