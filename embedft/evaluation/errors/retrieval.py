"""Where a retrieval score comes from: queries lost and won, what came instead, hubs, slices, words, holes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from embedft.data import RetrievalData
from embedft.errors import ConfigError
from embedft.evaluation.errors.fields import by_fields
from embedft.evaluation.errors.hubs import hubs_of, hubs_reading
from embedft.evaluation.errors.judged import NOT_FOUND, Case, Ranked, Rows
from embedft.evaluation.errors.language import SAMPLED, language_of
from embedft.evaluation.errors.lengths import length_of, relevant_lengths
from embedft.evaluation.errors.overlap import Vocabulary, judged_shares, overlap_of
from embedft.evaluation.errors.slices import Slicing, by_amount, by_kind, counted, percent, sliced_means, telling
from embedft.evaluation.errors.to_label import to_label
from embedft.evaluation.errors.unjudged import condensed, holes
from embedft.evaluation.metrics import parse_metrics
from embedft.evaluation.retrieval import RetrievalEvaluation
from embedft.evaluation.significance import ROUNDING
from embedft.evaluation.texts import shown
from embedft.index.lexical.words import surfaces

Floats = npt.NDArray[np.float64]
SHOWN_QUERIES = 20
SHOWN_DOCUMENTS = 5
OPENING = 2


def retrieval_errors(
    evaluation: RetrievalEvaluation,
    against: RetrievalEvaluation | None,
    data: RetrievalData,
    *,
    metric: str | None = None,
    k: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Where the scores of a ranking come from, as plain JSON of bounded size.

    Args:
        evaluation: of the model in question.
        against: of the other model on the same queries, or None.
        data: what both were judged on.
        metric: by which queries are told apart; by default the first that was scored.
        k: how many documents are looked at; by default the cut-off of the metric.
        seed: of the resamples.

    Returns:
        - ``task``, ``metric``, ``k``, ``queries``, ``score``, ``against`` (the other model's score or null)
        - ``counts``: how many queries are lost, won, failed
        - ``lost``, ``won``: the 20 queries whose score fell or rose most; ``failed``: 20 with a score of 0, those with
          nothing relevant in the whole ranking first. Each has query_id, query, score, against, ``relevant`` (id,
          title, text, grade, rank, against_rank; null where not found) and ``relevant_count``, ``instead``: the
          documents of the top k that are not relevant (id, title, text, rank, score, grade; null where not judged)
        - ``hubs``: `hubs.hubs_of`
        - ``slices``: by, label, count, score, against, difference, with intervals; ``left_out``: what was not sliced,
          and why
        - ``overlap``: `overlap.overlap_of`; ``length``: `lengths.length_of`; ``unjudged``: `unjudged.holes`, and in it
          ``condensed``: `unjudged.condensed`, null where no document is judged irrelevant; ``to_label``:
          `to_label.to_label`
        - ``reading``: what stands out, in sentences

    Raises:
        ConfigError: the metric was not scored.
        DataError: the two ranked other queries, or ``data`` has not their queries or split.
    """
    name = metric or next(iter(evaluation.per_query))
    _require_scored(name, evaluation, against)
    k = k or parse_metrics([name])[0].k
    case = Case.of(evaluation, against, data)
    scores = evaluation.per_query[name]
    others = against.per_query[name] if against is not None else None
    words = Vocabulary(case, language_of(_sample(case)))
    held = judged_shares(case, words)
    shares = case.judgments.relevant.mean(held)
    sizes = relevant_lengths(case)
    slicings = _slicings(case, shares, sizes)
    slices = sliced_means(slicings, scores, others, seed=seed)
    hubs = hubs_of(case, k)
    unjudged = holes(case, k, seed=seed)
    qrels = data.split(evaluation.split)
    judged = condensed(evaluation, against, case, qrels, name, seed=seed) if unjudged["judged_irrelevant"] else None
    unjudged["condensed"] = judged
    answer: dict[str, Any] = {
        "task": "retrieval",
        "metric": name,
        "k": k,
        "queries": len(scores),
        "score": float(scores.mean()),
        "against": float(others.mean()) if others is not None else None,
        **_told_apart(case, scores, others, k),
        "hubs": hubs,
        "slices": slices,
        "left_out": [one.why for one in slicings if one.why],
        "overlap": overlap_of(case, words, held, scores, others, seed=seed),
        "length": length_of(case, seed=seed),
        "unjudged": unjudged,
        "to_label": to_label(case, words, k),
    }
    answer["reading"] = _reading(answer, slicings, scores, others)
    return answer


def _sample(case: Case) -> list[str]:
    """Texts to tell the language by: some documents, and the queries in case that these have no text."""
    known = case.documents.known
    rows = np.unique(np.linspace(0, known - 1, min(known, SAMPLED)).astype(np.int64))
    return case.documents.texts(rows) + case.queries[:SAMPLED]


def _require_scored(name: str, *evaluations: RetrievalEvaluation | None) -> None:
    for one in evaluations:
        if one is not None and name not in one.per_query:
            raise ConfigError(
                f"{one.model} was not scored by {name}, but by {', '.join(one.per_query)}.",
                hint="name one of these, or score it with that metric.",
            )


def _slicings(case: Case, shares: Floats, sizes: Floats) -> list[Slicing]:
    wanted = case.judgments.relevant
    words = [surfaces(text) for text in case.queries]
    # What is asked stands at the beginning: who is, how many, what causes.
    openings = [" ".join(found[:OPENING]).lower() or None for found in words]
    return [
        by_amount("query length", np.array([len(found) for found in words], np.float64), "words"),
        by_kind("beginning of the query", openings),
        by_amount("length of the relevant documents", sizes.round(), "words"),
        by_amount("query words that the relevant documents hold", shares, write=percent),
        by_amount("number of relevant documents", np.diff(wanted.starts).astype(np.float64), "documents"),
        *by_fields("query", case.query_metadata),
        *by_fields("document", case.documents.metadata(wanted.documents[_first_by_grade(case)])),
    ]


def _first_by_grade(case: Case) -> Rows:
    """Of each query the relevant document of the highest grade, as a place in the relevant judgments, (queries,)."""
    wanted = case.judgments.relevant
    order = np.lexsort((-wanted.grades, wanted.queries))
    return order[wanted.starts[:-1]]


def _told_apart(case: Case, scores: Floats, others: Floats | None, k: int) -> dict[str, Any]:
    """The counts and examples of queries lost, won and failed."""
    change = scores - others if others is not None else np.zeros(len(scores))
    lost, won = np.flatnonzero(change < -ROUNDING), np.flatnonzero(change > ROUNDING)
    failed = np.flatnonzero(scores == 0)
    first = case.own.first_relevant[failed]
    depth = case.own.rows.shape[1] + 1
    chosen = {
        "lost": lost[np.argsort(change[lost], kind="stable")],
        "won": won[np.argsort(-change[won], kind="stable")],
        "failed": failed[np.argsort(-np.where(first == NOT_FOUND, depth, first), kind="stable")],
    }
    examples = {
        kind: [_example(case, query, scores, others, k) for query in rows[:SHOWN_QUERIES].tolist()]
        for kind, rows in chosen.items()
    }
    return {"counts": {kind: len(rows) for kind, rows in chosen.items()}, **examples}


def _example(case: Case, query: int, scores: Floats, others: Floats | None, k: int) -> dict[str, Any]:
    return {
        "query_id": case.query_ids[query],
        "query": shown(case.queries[query]),
        "score": float(scores[query]),
        "against": float(others[query]) if others is not None else None,
        "relevant_count": int(np.diff(case.judgments.relevant.starts)[query]),
        "relevant": _relevant(case, query),
        "instead": _instead(case, query, k),
    }


def _relevant(case: Case, query: int) -> list[dict[str, Any]]:
    wanted = case.judgments.relevant
    part = wanted.of(query)
    grades, ranks = wanted.grades[part], case.own.ranks[part]
    order = np.lexsort((np.where(ranks == NOT_FOUND, np.iinfo(np.int64).max, ranks), -grades))[:SHOWN_DOCUMENTS]
    return [
        {
            **case.documents.describe(int(wanted.documents[part][place])),
            "grade": int(grades[place]),
            "rank": _rank(case.own, part.start + place),
            "against_rank": _rank(case.other, part.start + place) if case.other is not None else None,
        }
        for place in order.tolist()
    ]


def _rank(ranked: Ranked, place: int) -> int | None:
    return int(ranked.ranks[place]) or None


def _instead(case: Case, query: int, k: int) -> list[dict[str, Any]]:
    own = case.own
    places = np.flatnonzero(own.filled[query, :k] & (own.grades[query, :k] <= 0))[:SHOWN_DOCUMENTS]
    return [
        {
            **case.documents.describe(int(own.rows[query, place])),
            "rank": place + 1,
            "score": float(own.scores[query, place]),
            "grade": int(own.grades[query, place]) if own.judged[query, place] else None,
        }
        for place in places.tolist()
    ]


def _reading(answer: dict[str, Any], slicings: list[Slicing], scores: Floats, others: Floats | None) -> list[str]:
    counts, count = answer["counts"], answer["queries"]
    found: list[str | None] = [
        f"{counted(counts['failed'], 'query fails', 'queries fail')} outright, of {count}: {answer['metric']} is 0."
    ]
    if others is not None:
        found.append(
            f"{counted(counts['won'], 'query scores', 'queries score')} higher than with the other model, "
            f"{counts['lost']} lower."
        )
    found += telling(slicings, answer["slices"], scores, "score", answer["metric"])
    if others is not None:
        found += telling(slicings, answer["slices"], scores - others, "difference", answer["metric"])
    found.append(hubs_reading(answer["hubs"], count))
    judged = answer["unjudged"]["condensed"]
    found += [answer["overlap"]["reading"], answer["length"]["reading"], answer["unjudged"]["reading"]]
    found += [judged["reading"]] if judged else []
    return [sentence for sentence in found if sentence]
