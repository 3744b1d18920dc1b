"""Holes: documents in the top k that nobody judged. They count as irrelevant, which may be wrong.

A model that finds what earlier systems did not is punished for it, since only what these found was judged. So the share
of unjudged documents stands beside the scores, and the scores of the judged documents alone.

Source: Buckley and Voorhees 2004, Retrieval evaluation with incomplete information, SIGIR (what bpref is for); Sakai
2007, Alternatives to bpref, SIGIR (a ranking without its unjudged documents, "condensed").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from embedft.evaluation.errors.judged import Case, Ranked
from embedft.evaluation.errors.slices import is_apart, mean_interval, percent
from embedft.evaluation.ranking import Ranking
from embedft.evaluation.retrieval import RetrievalEvaluation, score_ranking

Floats = npt.NDArray[np.float64]


def holes(case: Case, k: int, *, seed: int = 0) -> dict[str, Any]:
    """How many of the first k documents nobody judged.

    Returns:
        ``k``; ``share``, ``ci_low``, ``ci_high``: the mean over queries of the share of unjudged documents;
        ``against_share`` and ``difference`` with ``difference_ci_low``, ``difference_ci_high``; ``judged_irrelevant``,
        how many judgments say that a document is not relevant; ``reading``.
    """
    own = _shares(case.own, k)
    interval = mean_interval(own, seed=seed)
    irrelevant = int((case.judgments.grades <= 0).sum())
    answer: dict[str, Any] = {
        "k": k,
        "share": interval["mean"],
        "ci_low": interval["ci_low"],
        "ci_high": interval["ci_high"],
        **dict.fromkeys(("against_share", "difference", "difference_ci_low", "difference_ci_high")),
        "judged_irrelevant": irrelevant,
    }
    if case.other is not None:
        other = _shares(case.other, k)
        apart = mean_interval(own - other, seed=seed)
        answer["against_share"] = float(other.mean())
        answer["difference"] = apart["mean"]
        answer["difference_ci_low"], answer["difference_ci_high"] = apart["ci_low"], apart["ci_high"]
    answer["reading"] = _reading(answer)
    return answer


def _shares(ranked: Ranked, k: int) -> Floats:
    """The share of unjudged documents among the first k of each query, (queries,); 0 where there are none."""
    there = ranked.filled[:, :k]
    unjudged = (there & ~ranked.judged[:, :k]).sum(1)
    return np.asarray(unjudged / np.maximum(there.sum(1), 1), np.float64)


def condensed(
    evaluation: RetrievalEvaluation,
    against: RetrievalEvaluation | None,
    case: Case,
    qrels: pa.Table,
    metric: str,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """The mean of a metric without the unjudged documents: score, against, difference with ci_low and ci_high, reading.

    Only as deep as the rankings go. It flatters both, since what nobody found is seldom judged irrelevant: what counts
    is whether the two models stand as they do with these documents.
    """
    own = _condensed_scores(evaluation, case.own, qrels, metric)
    answer: dict[str, Any] = {"score": float(own.mean()), **dict.fromkeys(("against", "difference"))}
    answer |= dict.fromkeys(("ci_low", "ci_high"))
    text = f"On judged documents alone the {metric} is {answer['score']:.3f}"
    if case.other is not None and against is not None:
        other = _condensed_scores(against, case.other, qrels, metric)
        interval = mean_interval(own - other, seed=seed)
        answer |= {"against": float(other.mean()), "difference": interval["mean"]}
        answer |= {"ci_low": interval["ci_low"], "ci_high": interval["ci_high"]}
        text += f", the other model's {answer['against']:.3f}"
        before = mean_interval(evaluation.per_query[metric] - against.per_query[metric], seed=seed)
        if changed := _changed(before, interval):
            with_all = f"({evaluation.metrics[metric]:.3f}, {against.metrics[metric]:.3f})"
            text += f", {changed.format(with_all=f'with all of them {with_all}')}"
    return {**answer, "reading": f"{text}."}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> str:
    """What the unjudged documents change in how two models differ, in words with a place for their scores; or ""."""
    was, now = (is_apart(one["ci_low"], one["ci_high"]) for one in (before, after))
    if was and now:
        return "the other way round than {with_all}" if before["mean"] * after["mean"] < 0 else ""
    if now:
        return "which differ, where {with_all} no difference is shown"
    return "which do not differ for certain, where {with_all} they do" if was else ""


def _condensed_scores(evaluation: RetrievalEvaluation, ranked: Ranked, qrels: pa.Table, metric: str) -> Floats:
    order = np.argsort(~ranked.judged, axis=1, kind="stable")
    ranking = evaluation.ranking
    rows = np.take_along_axis(ranking.rows, order, axis=1)
    # Scores are out of order where rows were moved; nothing that judges looks at them.
    moved = Ranking(ranking.query_ids, ranking.document_ids, rows, ranking.scores)
    return score_ranking(moved, qrels, [metric])[metric]


def _reading(answer: dict[str, Any]) -> str:
    text = f"{percent(answer['share'])} of the first {answer['k']} documents are not judged, and count as irrelevant."
    if not answer["judged_irrelevant"]:
        text += " The qrels name relevant documents alone, so this is every document that is not among them."
    low, high = answer["difference_ci_low"], answer["difference_ci_high"]
    if is_apart(low, high):
        few, whom = ("fewer", "it") if low > 0 else ("more", "this one")
        text += (
            f" The other model has {few} of them ({percent(answer['against_share'])}): the judgments may favour {whom}."
        )
    return text
