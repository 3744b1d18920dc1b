"""Retrieval under stress: queries change, documents stay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embedft.data import RetrievalData
from embedft.data.thesaurus import Thesaurus
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.evaluation.comparison import compare_scores
from embedft.evaluation.judgments import Judgments
from embedft.evaluation.metrics import parse_metrics
from embedft.evaluation.ranking import Ranking, rank
from embedft.evaluation.retrieval import score_ranking
from embedft.evaluation.sampling import drawn_by_hash
from embedft.evaluation.stress.conditions import MOST, Condition, Pool, Prompts, Rows, Vectors, conditions_of
from embedft.evaluation.stress.contrast import nearness, negations_of
from embedft.evaluation.stress.table import Outcome, StressTable, stress_table


def stress_retrieval(
    encoder: Encoder,
    data: RetrievalData,
    split: str = "test",
    *,
    metric: str = "ndcg@10",
    documents: Vectors | None = None,
    thesaurus: Thesaurus | None = None,
    most: int = MOST,
    seed: int = 0,
    show_progress: bool = False,
) -> StressTable:
    """What each stress on the queries takes from a metric of retrieval.

    The documents and their vectors stay as they are, so about 25 times the queries are encoded and nothing else.

    Args:
        encoder: of queries and documents.
        data: corpus, queries, qrels.
        split: which qrels.
        metric: a name like ``ndcg@10``.
        documents: (documents, dim), vectors of ``data.document_texts()``; encoded here if not given.
        thesaurus: for synonyms; they are left out without one.
        most: queries that are judged, drawn by hash if there are more.
        seed: of the sample and the stresses.
        show_progress: on standard error.

    Raises:
        ConfigError: an unknown metric.
        DataError: the split is missing or has no judged query, or ``documents`` are of another corpus.
    """
    (wanted,) = parse_metrics([metric])
    every_id, every_text = data.judged_queries(split)
    if not every_id:
        raise DataError(f"{data.path}: no query of split {split!r} has a relevant document.", hint="check the grades.")
    drawn = drawn_by_hash(every_text, most, seed)
    ids, texts = [every_id[row] for row in drawn], [every_text[row] for row in drawn]
    documents = _of_corpus(documents, encoder, data, show_progress=show_progress)
    prompts = Prompts(encoder.prompts["query"], encoder.prompts["document"])
    side = encoder.query_side
    pool = Pool(lambda texts, prompt: side.encode(texts, prompt=prompt, show_progress=show_progress))
    base = pool.rows_of(texts, prompts.own)
    conditions, left_out = conditions_of(texts, "retrieval", pool, prompts, thesaurus=thesaurus, seed=seed)
    negations = negations_of(texts, pool, prompts.own)
    vectors = pool.vectors()
    # All conditions are ranked at once; what they share is ranked once.
    every = rank([""] * len(vectors), vectors, data.corpus["id"].to_pylist(), documents, wanted.k)
    judgments = Judgments.of(data.split(split), ids, every.document_ids)

    def scores(rows: Rows) -> npt.NDArray[np.float64]:
        ranking = Ranking(ids, every.document_ids, every.rows[rows], every.scores[rows])
        return score_ranking(ranking, judgments, [metric])[metric]

    plain = scores(base)

    def outcome(condition: Condition) -> Outcome:
        stressed = scores(condition.rows)
        return float(stressed.mean()), compare_scores(stressed, plain, seed=seed), plain - stressed

    return stress_table(
        conditions, vectors, base, outcome,
        model=encoder.name, data=str(data.path), split=split, task="retrieval", metric=metric, unit="queries",
        count=len(ids), of=len(every_id), score=float(plain.mean()), encoded=len(pool), left_out=left_out,
        negation=nearness(negations, base, vectors, lambda rows: every.rows[rows, 0], "the first document is the same"),
    )  # fmt: skip


def _of_corpus(documents: Vectors | None, encoder: Encoder, data: RetrievalData, *, show_progress: bool) -> Vectors:
    if documents is None:
        return encoder.encode_documents(data.document_texts(), show_progress=show_progress)
    if len(documents) != data.corpus.num_rows:
        raise DataError(
            f"{len(documents)} vectors were given for {data.corpus.num_rows} documents of {data.path}.",
            hint="give one a document, in the order of the corpus.",
        )
    return documents
