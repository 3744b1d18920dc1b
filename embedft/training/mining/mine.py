"""Hard negatives for the training rows of a data set: documents that an encoder takes for relevant and that are not.

The corpus is searched exactly (`embedft.index.nearest`), and of the nearest documents those are taken
that limits, margins and ranks leave (`embedft.training.mining.negatives`). Never taken are the known positives of an
anchor, near duplicates of them, texts equal to the anchor, and negatives that are given already. Nothing is filled up:
where fewer are left than asked for, the row gets fewer, and the report says so.

Source: Xiong et al. 2021, ANCE, arXiv:2007.00808; Moreira et al. 2024, NV-Retriever, arXiv:2407.15831 (margins).
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from embedft.config import HardNegativesConfig
from embedft.data import RetrievalData
from embedft.data.retrieval import PAIRS_SCHEMA
from embedft.encoder import Encoder
from embedft.errors import DataError
from embedft.index.nearest import NONE, Floats, Rows, paired_scores
from embedft.training.mining.near_positives import NearPositives
from embedft.training.mining.negatives import KNOWN_TEXTS, Chosen, RowLists, Scorer, check_negatives, choose_negatives
from embedft.training.mining.rescoring import CrossEncoderScores

logger = logging.getLogger("embedft")

QUANTILES = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}


@dataclass(frozen=True)
class MiningReport:
    """What came of mining.

    Attributes:
        anchors, documents: distinct texts on either side.
        rows: training rows; those of one anchor get the same negatives.
        asked, found: negatives of all rows.
        short_rows, empty_rows: rows that got fewer than asked for, and of these the ones that got none.
        candidates: documents looked at, without known positives.
        rejected: reason -> candidates that it took.
        scores: ``positive``, ``negative`` and ``margin`` (the least similar positive minus the negative) -> quantiles.
    """

    anchors: int
    documents: int
    rows: int
    asked: int
    found: int
    short_rows: int
    empty_rows: int
    candidates: int
    rejected: dict[str, int]
    scores: dict[str, dict[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Suspect:
    """A negative that may be relevant: its score is near that of the least similar positive, or above it."""

    anchor: str
    positive: str
    negative: str
    positive_score: float
    negative_score: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Mined:
    """Training rows with hard negatives.

    Attributes:
        rows: anchor, positive, negatives: those given, then those mined, the nearest first.
        report: counts and scores.
    """

    rows: pa.Table
    report: MiningReport
    _texts: _Texts
    _chosen: Chosen

    def audit(self, count: int) -> list[Suspect]:
        """The ``count`` negatives nearest to the score of their anchor's least similar positive, or the most above it.

        Each anchor's most similar negative comes before any anchor's second, so that few anchors do not fill the list.
        """
        weakest = _weakest(self._texts.positives, self._chosen.positive_scores)
        least = self._chosen.positive_scores[weakest]
        query, place = np.nonzero(self._chosen.rows != NONE)
        above = self._chosen.scores[query, place] - least[query]
        documents = self._texts.documents
        return [
            Suspect(
                self._texts.anchors[query[at]],
                documents[self._texts.positives.rows[weakest[query[at]]]],
                documents[self._chosen.rows[query[at], place[at]]],
                float(least[query[at]]),
                float(self._chosen.scores[query[at], place[at]]),
            )
            for at in np.lexsort((-above, place))[:count].tolist()
        ]


def mine_negatives(
    encoder: Encoder,
    data: RetrievalData,
    rows: pa.Table,
    config: HardNegativesConfig,
    *,
    seed: int = 0,
    show_progress: bool = False,
) -> Mined:
    """``rows`` with hard negatives out of the corpus; the same for the same encoder, data, rows and seed.

    Args:
        encoder: embeds each distinct anchor as a query and each distinct document once.
        data: its documents are the corpus; where it was given as pairs, the positives of ``rows`` are.
        rows: columns anchor, positive, negatives (`RetrievalData.training_pairs`); a row's positive is known to be
            one for all rows of its anchor.
        config: what is taken.
        seed: of ``sampling_strategy: random``.
        show_progress: on standard error.

    Raises:
        ConfigError: the settings leave nothing to be chosen; see `check_negatives`.
        DataError: there are no rows.
        ModelError: the guide or the cross-encoder cannot be opened.
    """
    check_negatives(config)
    if not rows.num_rows:
        raise DataError(f"{data.path}: there are no rows to mine negatives for.", hint="give pairs of train.")
    texts = _Texts.of(data, rows)
    scorer = _scorer(encoder, texts, config, show_progress=show_progress)
    queries = encoder.encode_queries(texts.anchors, show_progress=show_progress)
    documents = encoder.encode_documents(texts.documents, show_progress=show_progress)
    near = None
    if config.near_duplicates is not None:
        near = NearPositives(texts.documents, texts.positives, config.near_duplicates)
    chosen = choose_negatives(
        queries,
        documents,
        texts.positives,
        config,
        excluded=texts.excluded,
        scorer=scorer,
        refused=near,
        seed=seed,
        # A cross-encoder shows progress of its own, being what takes the time.
        show_progress=show_progress and not config.cross_encoder,
    )
    mined = Mined(*_joined(rows, texts, chosen, config), texts, chosen)
    if mined.report.short_rows and mined.report.found:
        logger.warning(
            "hard negatives: %d of %d rows got fewer than %d, %d of them none",
            mined.report.short_rows, rows.num_rows, config.num_negatives, mined.report.empty_rows,
        )  # fmt: skip
    return mined


def require_found(mined: Mined, source: object) -> None:
    """Raise DataError if not one negative was found, naming the setting that took most of the candidates."""
    report = mined.report
    if report.found:
        return
    taken = {reason: count for reason, count in report.rejected.items() if count}
    if not report.candidates or not taken:
        raise DataError(
            f"{source}: no negative was found: its {report.documents:,} documents are positives of their anchors.",
            hint="mine in a larger corpus.",
        )
    counts = ", ".join(f"{reason} took {count:,}" for reason, count in taken.items())
    settings = [reason for reason in taken if reason != KNOWN_TEXTS]
    worst = max(settings, key=lambda reason: taken[reason], default=None)
    raise DataError(
        f"{source}: no negative was found among {report.candidates:,} candidates: {counts}.",
        hint=f"loosen {worst}, or look deeper with range_max." if worst else "mine in a larger corpus.",
    )


@dataclass(frozen=True)
class _Texts:
    """Distinct texts on either side, and how they belong together.

    Attributes:
        anchors: in the order of the rows.
        documents: the corpus.
        anchor_of: anchor of each row, (rows,).
        positives: documents of each anchor, as often as rows name them.
        excluded: documents equal to the anchor, or given as its negatives.
    """

    anchors: list[str]
    documents: list[str]
    anchor_of: Rows
    positives: RowLists
    excluded: RowLists

    @classmethod
    def of(cls, data: RetrievalData, rows: pa.Table) -> _Texts:
        anchors, positives = rows["anchor"].to_pylist(), rows["positive"].to_pylist()
        corpus = [] if data.pairs else [text for text in data.document_texts() if text.strip()]
        row_of = {text: row for row, text in enumerate(dict.fromkeys([*corpus, *positives]))}
        number_of = {text: number for number, text in enumerate(dict.fromkeys(anchors))}
        known: list[list[int]] = [[] for _ in number_of]
        excluded = [[row_of[anchor]] if anchor in row_of else [] for anchor in number_of]
        for anchor, positive, negatives in zip(anchors, positives, rows["negatives"].to_pylist(), strict=True):
            known[number_of[anchor]].append(row_of[positive])
            excluded[number_of[anchor]] += [row_of[text] for text in negatives if text in row_of]
        anchor_of = np.array([number_of[anchor] for anchor in anchors], np.int64)
        return cls(list(number_of), list(row_of), anchor_of, RowLists.of(known), RowLists.of(excluded))


def _scorer(encoder: Encoder, texts: _Texts, config: HardNegativesConfig, *, show_progress: bool) -> Scorer | None:
    if config.cross_encoder:
        return CrossEncoderScores.load(
            config.cross_encoder, texts.anchors, texts.documents, device=encoder.device, show_progress=show_progress
        )
    if not config.guide:
        return None
    guide = Encoder.load(config.guide, device=encoder.device)
    queries = guide.encode_queries(texts.anchors, show_progress=show_progress)
    documents = guide.encode_documents(texts.documents, show_progress=show_progress)
    return lambda numbers, rows: paired_scores(queries[numbers], documents, rows)


def _joined(
    rows: pa.Table, texts: _Texts, chosen: Chosen, config: HardNegativesConfig
) -> tuple[pa.Table, MiningReport]:
    """The rows with the negatives of their anchors, and what is to be said of them."""
    mined = [[texts.documents[row] for row in found if row != NONE] for found in chosen.rows.tolist()]
    negatives = [
        [*given, *mined[anchor]]
        for given, anchor in zip(rows["negatives"].to_pylist(), texts.anchor_of.tolist(), strict=True)
    ]
    table = pa.table([rows["anchor"], rows["positive"], pa.array(negatives)], schema=PAIRS_SCHEMA)
    counts = (chosen.rows != NONE).sum(1)[texts.anchor_of]
    there = chosen.rows != NONE
    least = chosen.positive_scores[_weakest(texts.positives, chosen.positive_scores)]
    report = MiningReport(
        anchors=len(texts.anchors),
        documents=len(texts.documents),
        rows=rows.num_rows,
        asked=rows.num_rows * config.num_negatives,
        found=int(counts.sum()),
        short_rows=int((counts < config.num_negatives).sum()),
        empty_rows=int((counts == 0).sum()),
        candidates=chosen.candidates,
        rejected=chosen.rejected,
        scores={
            "positive": _quantiles(chosen.positive_scores),
            "negative": _quantiles(chosen.scores[there]),
            "margin": _quantiles((least[:, None] - chosen.scores)[there]),
        },
    )
    return table, report


def _weakest(positives: RowLists, scores: Floats) -> Rows:
    """Which entry of ``positives.rows`` is the least similar of each anchor, (anchors,)."""
    owner = np.repeat(np.arange(len(positives.counts)), positives.counts)
    order = np.lexsort((scores, owner))
    return np.asarray(order[positives.starts[:-1]])


def _quantiles(scores: Floats) -> dict[str, float]:
    if not len(scores):
        return {}
    values = np.quantile(scores, list(QUANTILES.values()))
    return {name: round(float(value), 4) for name, value in zip(QUANTILES, values, strict=True)}
